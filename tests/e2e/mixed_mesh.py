"""One mesh of which each workload exists twice: behind a real Envoy, and in our SDK.

The server `reviews` has a STRICT and a PERMISSIVE port, the clients are `frontend`, which policy
allows, and `batch`, which it does not. One control plane serves all six processes' nodes.
"""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal, TypeAlias

import httpx

from meshsdk.config.bootstrap import Credentials, Node
from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot
from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
)
from meshsdk.control_plane.shapes import clusters, inbound, listeners, rbac, routes
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.control_plane.shapes.vanilla_envoy import Credentials as EnvoyCredentials
from meshsdk.control_plane.shapes.vanilla_envoy import Ports, vanilla_envoy
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from meshsdk.testing import FakeCa, chain_pem, private_key_pem
from tests.e2e.envoy import envoy, envoy_binary
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of

Kind: TypeAlias = Literal["envoy", "sdk"]
Mode: TypeAlias = Literal["STRICT", "PERMISSIVE"]
Caller: TypeAlias = Literal["frontend", "batch"]

KINDS: Final[tuple[Kind, ...]] = ("envoy", "sdk")
MODES: Final[tuple[Mode, ...]] = ("STRICT", "PERMISSIVE")
CALLERS: Final[tuple[Caller, ...]] = ("frontend", "batch")
TRUST_DOMAIN: Final = "cluster.local"
_SERVICE_PORT: Final = 80
_ALLOWED: Final = ("GET", "POST")


def spiffe_id(account: str) -> str:
    """Of a workload of the namespace shop."""
    return f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/{account}"


def host(kind: Kind, mode: Mode) -> str:
    """The service that leads to one port of one server."""
    return f"{kind}-{mode.lower()}.shop.svc.{TRUST_DOMAIN}"


def node(name: str) -> Node:
    """Of a workload of the namespace shop."""
    return Node(f"sidecar~127.0.0.1~{name}.shop~shop.svc.{TRUST_DOMAIN}", f"{name}.shop")


@dataclass(frozen=True, slots=True)
class MixedMesh:
    """Both servers and all four clients."""

    ports: dict[tuple[Kind, Mode], int]
    """Of the servers."""
    apps: dict[Kind, Echo]
    egress: dict[Caller, int]
    """Where the clients' Envoys listen."""
    clients: dict[Caller, Mesh]

    def call(
        self,
        caller: Caller,
        client: Kind,
        url_host: str,
        method: str = "GET",
        path: str = "/ratings",
        headers: dict[str, str] | None = None,
        content: bytes = b"",
    ) -> httpx.Response:
        """What the application of a caller gets, by its own Envoy or by the SDK."""
        headers = headers or {}
        if client == "envoy":
            url = f"http://127.0.0.1:{self.egress[caller]}{path}"
            with httpx.Client(trust_env=False) as plain:
                return plain.request(
                    method, url, headers={"host": url_host, **headers}, content=content
                )
        with httpx.Client(transport=MeshTransport(self.clients[caller])) as meshed:
            return meshed.request(
                method, f"http://{url_host}{path}", headers=headers, content=content
            )


def server_resources(ports: dict[Mode, int], kind: Kind) -> NodeSnapshot:
    """For `reviews`: only the frontend, and only some methods under /ratings."""
    rule = rbac.rule(principals=[spiffe_id("frontend")], methods=_ALLOWED, paths=["/ratings"])
    policy = rbac.allow({rbac.policy_key("shop", "reviews"): rule})
    own = [
        inbound.InboundPort(ports[mode], _SERVICE_PORT, host(kind, mode), mode, (policy,))
        for mode in MODES
    ]
    return {
        LISTENER: {"virtualInbound": inbound.virtual_inbound(own, trust_domain=TRUST_DOMAIN)},
        CLUSTER: _named(
            *(clusters.inbound_cluster(each.port, each.host) for each in own),
            clusters.inbound_passthrough_cluster(),
            clusters.black_hole_cluster(),
        ),
        NAME_TABLE: {"": {"table": {}}},
    }


def client_resources(ports: dict[tuple[Kind, Mode], int]) -> NodeSnapshot:
    """For a caller: four services of one endpoint each."""
    hosts = {host(kind, mode): port for (kind, mode), port in ports.items()}
    names = {each: clusters.cluster_name(each, _SERVICE_PORT) for each in hosts}
    virtual_hosts = [
        routes.virtual_host(
            each,
            _SERVICE_PORT,
            f"240.240.0.{number}",
            [routes.route(names[each], operation=f"{each}:80/*")],
            caller_namespace="shop",
        )
        for number, each in enumerate(hosts, 1)
    ]
    table = {each: {"ips": [f"240.240.0.{number}"]} for number, each in enumerate(hosts, 1)}
    name = str(_SERVICE_PORT)
    return {
        LISTENER: {
            f"0.0.0.0_{name}": listeners.outbound_listener(_SERVICE_PORT, allow_any=False),
            "virtualOutbound": listeners.virtual_outbound(allow_any=False),
        },
        ROUTE_CONFIGURATION: {
            name: routes.route_configuration(name, virtual_hosts, allow_any=False)
        },
        CLUSTER: _named(
            *(
                clusters.eds_cluster(each, _SERVICE_PORT, accounts=[spiffe_id("reviews")])
                for each in hosts
            ),
            clusters.passthrough_cluster(),
            clusters.black_hole_cluster(),
        ),
        LOAD_ASSIGNMENT: {
            names[each]: clusters.load_assignment(names[each], [("127.0.0.1", port)])
            for each, port in hosts.items()
        },
        NAME_TABLE: {"": {"table": table}},
    }


@contextmanager
def running(directory: Path) -> Generator[MixedMesh]:
    """All of it, on ephemeral ports."""
    envoy_binary()
    ca, server = FakeCa(TRUST_DOMAIN), AdsServer()
    apps: dict[Kind, Echo] = {kind: Echo(kind) for kind in KINDS}
    with ExitStack() as stack:
        ads_port = server.listen()
        sockets = {mode: stack.enter_context(bound_socket()) for mode in MODES}
        behind = stack.enter_context(bound_socket())
        taken = _free_ports(len(MODES) + len(CALLERS))
        ports: dict[tuple[Kind, Mode], int] = {
            **{("sdk", mode): port_of(sockets[mode]) for mode in MODES},
            **{("envoy", mode): taken.pop() for mode in MODES},
        }
        own: dict[Kind, dict[Mode, int]] = {
            kind: {mode: ports[kind, mode] for mode in MODES} for kind in KINDS
        }
        to_app = dict.fromkeys(own["envoy"].values(), port_of(behind))
        egress: dict[Caller, int] = {caller: taken.pop() for caller in CALLERS}

        def vanilla(account: str, resources: NodeSnapshot, bound: Ports) -> None:
            svid = ca.svid(f"shop/{account}")
            pem = (chain_pem(svid), private_key_pem(svid), ca.root_pem)
            secrets = EnvoyCredentials(*(each.decode() for each in pem))
            name = node(f"{account}-envoy").id
            server.set(name, vanilla_envoy(resources, bound, secrets))

        def member(account: str, resources: NodeSnapshot) -> Mesh:
            server.set(node(account).id, resources)
            return Mesh.connect(
                server=f"127.0.0.1:{ads_port}",
                node=node(account),
                credentials=Credentials(tls=False),
                identity=ca.context(f"shop/{account}"),
                options=Options(emit=silent),
            )

        vanilla("reviews", server_resources(own["envoy"], "envoy"), Ports({}, to_app))
        reviews = member("reviews", server_resources(own["sdk"], "sdk"))
        meshes: dict[Caller, Mesh] = {}
        for caller in CALLERS:
            resources = client_resources(ports)
            listener = {f"0.0.0.0_{_SERVICE_PORT}": egress[caller]}
            vanilla(caller, resources, Ports(listener, {}))
            meshes[caller] = member(caller, resources)
        stack.enter_context(server)
        for account in ("reviews", *CALLERS):
            stack.enter_context(envoy(node(f"{account}-envoy").id, ads_port, directory / account))
        for mesh in (reviews, *meshes.values()):
            stack.enter_context(mesh)
            assert mesh.ready(PATIENCE)
        served = MeshMiddleware(apps["sdk"], reviews)
        stack.enter_context(Serving(served, *sockets.values()))
        stack.enter_context(Serving(apps["envoy"], behind))
        nacks = [
            (client.node_id, status.nack)
            for client in server.clients()
            for status in client.types.values()
            if status.nack
        ]
        assert nacks == []
        yield MixedMesh(ports, apps, egress, meshes)


def pairs() -> list[tuple[Kind, Kind, Mode]]:
    """Every client with every server's port."""
    return list(product(KINDS, KINDS, MODES))


def _named(*resources: Json) -> dict[str, Json]:
    return {str(each["name"]): each for each in resources}


def _free_ports(count: int) -> list[int]:
    """Ports for who cannot be given a socket; all were free together a moment ago."""
    with ExitStack() as stack:
        return [port_of(stack.enter_context(bound_socket())) for _ in range(count)]
