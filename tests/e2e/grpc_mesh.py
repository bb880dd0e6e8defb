"""One gRPC mesh of which each workload exists twice: behind a real Envoy, and in our SDK.

As `mixed_mesh`, with HTTP/2 clusters, whose ALPN is `istio-h2, istio, h2`.
"""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, cast

import grpc

from meshsdk import current_peer
from meshsdk.config.bootstrap import Credentials
from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot
from meshsdk.control_plane.ads_session import CLUSTER
from meshsdk.control_plane.shapes import clusters
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.control_plane.shapes.vanilla_envoy import Credentials as EnvoyCredentials
from meshsdk.control_plane.shapes.vanilla_envoy import Ports, vanilla_envoy
from meshsdk.integrations.grpcio import add_mesh_port, channel, server_interceptor
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from meshsdk.testing import FakeCa, chain_pem, private_key_pem
from tests.e2e.envoy import envoy, envoy_binary
from tests.e2e.mixed_mesh import (
    CALLERS,
    KINDS,
    MODES,
    TRUST_DOMAIN,
    Caller,
    Kind,
    Mode,
    client_resources,
    node,
    server_resources,
)
from tests.e2e.serving import PATIENCE, bound_socket, port_of

GRPC: Final[Any] = grpc  # its stubs know too little
_LISTENER: Final = "0.0.0.0_80"
_H2: Final[Json] = {"explicit_http_config": {"http2_protocol_options": {}}}


class Echo:
    """Answers with what it saw."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls = 0

    def said(self, context: Any) -> bytes:
        self.calls += 1
        peer = current_peer().spiffe_id
        metadata = {k: v for k, v in context.invocation_metadata() if isinstance(v, str)}
        said = {"server": self.name, "peer": peer and str(peer), "metadata": metadata}
        return json.dumps(said).encode()

    def uu(self, _request: bytes, context: Any) -> bytes:
        return self.said(context)

    def ss(self, requests: Any, context: Any) -> Any:
        yield self.said(context)
        yield from requests

    def fail(self, _request: bytes, context: Any) -> None:
        self.calls += 1
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "no such rating")

    def server(self, *interceptors: Any) -> Any:
        server = GRPC.server(ThreadPoolExecutor(8), interceptors=interceptors)
        methods = {
            "UU": GRPC.unary_unary_rpc_method_handler(self.uu),
            "SS": GRPC.stream_stream_rpc_method_handler(self.ss),
            "Fail": GRPC.unary_unary_rpc_method_handler(self.fail),
        }
        for service in ("ratings", "admin"):
            handler = GRPC.method_handlers_generic_handler(service, methods)
            server.add_generic_rpc_handlers((handler,))
        return server


@dataclass(frozen=True, slots=True)
class GrpcMesh:
    """Both servers and all four clients."""

    ports: dict[tuple[Kind, Mode], int]
    """Of the servers."""
    apps: dict[Kind, Echo]
    egress: dict[Caller, int]
    clients: dict[Caller, Mesh]

    @contextmanager
    def channel(self, caller: Caller, client: Kind, url_host: str) -> Generator[Any]:
        """What the application of a caller calls by: its own Envoy, or the SDK."""
        if client == "envoy":
            options = [("grpc.default_authority", url_host)]
            target = f"127.0.0.1:{self.egress[caller]}"
            with GRPC.insecure_channel(target, options) as plain:
                yield plain
        else:
            with channel(f"{url_host}:80", self.clients[caller]) as meshed:
                yield meshed


def _h2_servers(resources: NodeSnapshot) -> NodeSnapshot:
    """Server resources whose application speaks HTTP/2, with gRPC's paths and method in policy."""
    text = json.dumps({url: dict(named) for url, named in resources.items()})
    text = text.replace('"/ratings"', '"/ratings/UU"').replace('"GET"', '"POST"')
    found = cast("dict[str, dict[str, Json]]", json.loads(text))
    for name, cluster in found[CLUSTER].items():
        if name.startswith("inbound|"):
            options = clusters.http_options(_H2)
            found[CLUSTER][name] = {**cluster, "typed_extension_protocol_options": options}
    return found


def _h2_clients(resources: NodeSnapshot) -> NodeSnapshot:
    found = cast("dict[str, dict[str, Json]]", {u: dict(named) for u, named in resources.items()})
    for name, cluster in found[CLUSTER].items():
        if name.startswith("outbound|"):
            options = clusters.http_options(_H2)
            found[CLUSTER][name] = {**cluster, "typed_extension_protocol_options": options}
    return found


def _h2_envoy(resources: NodeSnapshot) -> NodeSnapshot:
    """What `istio.alpn` would have made of it for HTTP/2."""
    text = json.dumps({url: dict(named) for url, named in resources.items()})
    text = text.replace('"istio-http/1.1", "istio", "http/1.1"', '"istio-h2", "istio", "h2"')
    return cast("NodeSnapshot", json.loads(text))


@contextmanager
def running(directory: Path) -> Generator[GrpcMesh]:
    """All of it, on ephemeral ports."""
    envoy_binary()
    ca, ads = FakeCa(TRUST_DOMAIN), AdsServer()
    apps: dict[Kind, Echo] = {kind: Echo(kind) for kind in KINDS}
    with ExitStack() as stack:
        ads_port = ads.listen()
        behind = apps["envoy"].server()
        behind_port: int = behind.add_insecure_port("127.0.0.1:0")
        behind.start()
        stack.callback(lambda: behind.stop(None).wait())
        taken = _free_ports(2 * len(MODES) + len(CALLERS))
        ports: dict[tuple[Kind, Mode], int] = {
            (kind, mode): taken.pop() for kind, mode in product(KINDS, MODES)
        }
        own: dict[Kind, dict[Mode, int]] = {
            kind: {mode: ports[kind, mode] for mode in MODES} for kind in KINDS
        }
        egress: dict[Caller, int] = {caller: taken.pop() for caller in CALLERS}

        def vanilla(account: str, resources: NodeSnapshot, bound: Ports) -> None:
            svid = ca.svid(f"shop/{account}")
            pem = (chain_pem(svid), private_key_pem(svid), ca.root_pem)
            secrets = EnvoyCredentials(*(each.decode() for each in pem))
            found = _h2_envoy(vanilla_envoy(resources, bound, secrets))
            ads.set(node(f"{account}-envoy").id, found)

        def member(account: str, resources: NodeSnapshot) -> Mesh:
            ads.set(node(account).id, resources)
            return Mesh.connect(
                server=f"127.0.0.1:{ads_port}",
                node=node(account),
                credentials=Credentials(tls=False),
                identity=ca.context(f"shop/{account}"),
                options=Options(emit=silent),
            )

        to_app = dict.fromkeys(own["envoy"].values(), behind_port)
        vanilla("reviews", _h2_servers(server_resources(own["envoy"], "envoy")), Ports({}, to_app))
        reviews = member("reviews", _h2_servers(server_resources(own["sdk"], "sdk")))
        meshes: dict[Caller, Mesh] = {}
        for caller in CALLERS:
            resources = _h2_clients(client_resources(ports))
            vanilla(caller, resources, Ports({_LISTENER: egress[caller]}, {}))
            meshes[caller] = member(caller, resources)
        stack.enter_context(ads)
        for account in ("reviews", *CALLERS):
            stack.enter_context(envoy(node(f"{account}-envoy").id, ads_port, directory / account))
        for mesh in (reviews, *meshes.values()):
            stack.enter_context(mesh)
            assert mesh.ready(PATIENCE)
        served = apps["sdk"].server(server_interceptor(reviews))
        for port in own["sdk"].values():
            assert add_mesh_port(served, f"127.0.0.1:{port}", reviews) == port
        served.start()
        stack.callback(lambda: served.stop(None).wait())
        yield GrpcMesh(ports, apps, egress, meshes)


def _free_ports(count: int) -> list[int]:
    """Ports for who cannot be given a socket; all were free together a moment ago."""
    with ExitStack() as stack:
        return [port_of(stack.enter_context(bound_socket())) for _ in range(count)]
