"""The platform team's YAML, served by the embedded control plane to SDKs and to real Envoys.

The servers are all behind Envoys or all in the SDK; every client exists twice.
"""

import socket
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, TypeAlias

import httpx

from meshsdk.cli import demo
from meshsdk.cli.demo.members import (
    API_GATEWAY,
    API_V1_A,
    API_V2,
    FRONTEND,
    ORDER_SERVICE,
    PAYMENT_API,
    PAYMENT_SERVICE,
    TRUST_DOMAIN,
    Member,
)
from meshsdk.clock import SystemClock
from meshsdk.config.bootstrap import Bootstrap, Credentials, Server
from meshsdk.control_plane.istio.translate import translate
from meshsdk.control_plane.serving import ControlPlane, ServingOptions
from meshsdk.control_plane.shapes import clusters
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.control_plane.state_directory import ROOTS, LastGood, StateDirectory
from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint
from meshsdk.control_plane.vanilla_nodes import PORTS
from meshsdk.identity.token_key import TokenKey
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from tests.e2e.envoy import envoy_binary, envoy_of
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of

Kind: TypeAlias = Literal["envoy", "sdk"]

SERVERS: Final = (API_GATEWAY, API_V1_A, API_V2, PAYMENT_SERVICE, PAYMENT_API)
CLIENTS: Final = (FRONTEND, ORDER_SERVICE)
_NAME: Final = "istiod.istio-system.svc"
_JWKS_URI: Final = "https://auth.finserv.com/.well-known/jwks.json"
_CLOCK: Final = SystemClock()
_FOLDER: Final = Path(str(demo.__file__)).parent


@dataclass(frozen=True, slots=True)
class YamlMesh:
    """The mesh while it runs."""

    plane: ControlPlane
    servers: Kind
    config: Path
    partner_key: TokenKey
    ports: Mapping[Member, int]
    """Of the servers."""
    apps: Mapping[Member, Echo]
    egress: Mapping[Member, int]
    """Where the clients' Envoys listen."""
    clients: Mapping[Member, Mesh]
    state: StateDirectory
    meshes: tuple[Mesh, ...]
    """Of all that are in the SDK."""

    def edit(self, name: str, changes: Mapping[str, str]) -> None:
        """Change words of a YAML file, as an editor would."""
        path = self.config / name
        text = path.read_text()
        for before, after in changes.items():
            text = text.replace(before, after)
        beside = self.config.with_name("written")
        beside.write_text(text)
        beside.replace(path)

    def identities(self) -> list[bytes]:
        """Digests of the certificates of the SDKs."""
        found = [mesh.contexts.status.usable().svid() for mesh in self.meshes]
        return [svid.certificate.digest for svid in found]

    def call(
        self,
        caller: Member,
        client: Kind,
        host: str,
        method: str = "GET",
        path: str = "/",
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """What the application of a caller gets, by its own Envoy or by the SDK."""
        sent = dict(headers or {})
        if client == "envoy":
            url = f"http://127.0.0.1:{self.egress[caller]}{path}"
            with httpx.Client(trust_env=False, timeout=PATIENCE) as plain:
                return plain.request(method, url, headers={"host": host, **sent})
        transport = MeshTransport(self.clients[caller])
        with httpx.Client(transport=transport, timeout=PATIENCE) as meshed:
            return meshed.request(method, f"http://{host}{path}", headers=sent)

    def partner_token(self, role: str) -> str:
        """As the issuer that jwt.yaml names would sign one."""
        now = int(_CLOCK.time())
        claims = {"iss": "https://auth.finserv.com", "sub": "acme", "role": role}
        return self.partner_key.sign({**claims, "iat": now, "exp": now + 600})

    def nacks(self) -> list[tuple[str, str]]:
        """Node and error."""
        return [
            (client.node_id, status.nack)
            for client in self.plane.ads.clients()
            for status in client.types.values()
            if status.nack
        ]


@contextmanager
def running(directory: Path, servers: Kind) -> Generator[YamlMesh]:
    """All of it, on ephemeral ports."""
    envoy_binary()
    with ExitStack() as stack:
        sockets = {member: stack.enter_context(bound_socket()) for member in SERVERS}

        def reserved() -> int:
            return port_of(stack.enter_context(_reserved_port()))

        ports = {
            member: port_of(sockets[member]) if servers == "sdk" else reserved()
            for member in SERVERS
        }
        egress = {member: reserved() for member in CLIENTS}
        config, state, key = _written(directory, ports)
        own = TokenIssuer.of(OWN_ISSUER, state.token_key().jwks)
        options = ServingOptions(TRUST_DOMAIN, key_sets={_JWKS_URI: key.jwks.decode()})
        plane = ControlPlane(config, translate, options, signing=LastGood(state), own_issuer=own)
        address = f"127.0.0.1:{plane.listen()}"
        stack.enter_context(plane)
        joining = _Joining(state, address, directory)
        clients = {member: joining.mesh(member) for member in CLIENTS}
        for member in CLIENTS:
            bound: Json = {"outbound": {"0.0.0.0_80": egress[member]}}
            stack.enter_context(joining.envoy(member, bound, "-client"))
        meshes = list(clients.values())
        apps = {member: Echo(f"{member.app} {member.version}") for member in SERVERS}
        for member, bound_to in sockets.items():
            app = apps[member]
            if servers == "sdk":
                mesh = stack.enter_context(joining.mesh(member))
                assert mesh.ready(PATIENCE)
                meshes.append(mesh)
                stack.enter_context(Serving(MeshMiddleware(app, mesh), bound_to))
            else:
                stack.enter_context(Serving(app, bound_to))
                leads: Json = {"inbound": {str(ports[member]): port_of(bound_to)}, "outbound": {}}
                stack.enter_context(joining.envoy(member, leads))
        for mesh in clients.values():
            stack.enter_context(mesh)
            assert mesh.ready(PATIENCE)
        yield YamlMesh(
            plane, servers, config, key, ports, apps, egress, clients, state, tuple(meshes)
        )


def _written(directory: Path, ports: Mapping[Member, int]) -> tuple[Path, StateDirectory, TokenKey]:
    config = directory / "config"
    config.mkdir(parents=True)
    for folder in ("seed", "own"):
        for file in (_FOLDER / folder).glob("*.yaml"):
            (config / file.name).write_text(file.read_text())
    entries = [member.workload_entry(ports.get(member, 1)) for member in (*SERVERS, *CLIENTS)]
    (config / "workloads.yaml").write_text("\n---\n".join(entries))
    state = StateDirectory(directory / "state", TRUST_DOMAIN, _CLOCK)
    state.prepare()
    return config, state, TokenKey.generate()


@dataclass(frozen=True, slots=True)
class _Joining:
    """How workloads join."""

    state: StateDirectory
    address: str
    directory: Path

    def mesh(self, member: Member) -> Mesh:
        token = self.directory / f"{member.name}.token"
        token.write_text(self._token(member))
        roots = str(self.state.path / ROOTS)
        credentials = Credentials(root_file=roots, token_file=str(token), server_name=_NAME)
        server = Server(self.address, credentials)
        return Mesh.connect(
            Bootstrap((server,), member.node, ca=server), options=Options(emit=silent)
        )

    @contextmanager
    def envoy(self, member: Member, ports: Json, suffix: str = "") -> Generator[None]:
        node = member.node
        metadata = {**node.metadata, PORTS: ports}
        said = replace(node, metadata=metadata, user_agent_name="envoy").to_json("1.40.0")
        bootstrap = _bootstrap(
            {key: value for key, value in said.items() if not key.startswith("user_agent")},
            self.address,
            self.state.signing().roots_pem.decode(),
            self._token(member),
        )
        with envoy_of(bootstrap, self.directory / f"{member.name}{suffix}"):
            yield

    def _token(self, member: Member) -> str:
        return mint(self.state.token_key(), member.namespace, member.app, _CLOCK, 3600.0)


def _bootstrap(node: Json, address: str, roots: str, token: str) -> Json:
    """The way to the control plane: TLS, and the token."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    host, _, port = address.rpartition(":")
    xds: Json = {
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            options: {
                "@type": f"type.googleapis.com/{options}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": clusters.load_assignment("xds", [(host, int(port))], has_mtls=False),
        "transport_socket": {
            "name": "tls",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": _NAME,
                "common_tls_context": {
                    "validation_context": {"trusted_ca": {"inline_string": roots}}
                },
            },
        },
    }
    ads: Json = {"ads": {}, "resource_api_version": "V3"}
    metadata = [{"key": "authorization", "value": f"Bearer {token}"}]
    service = {"envoy_grpc": {"cluster_name": "xds"}, "initial_metadata": metadata}
    return {
        "node": node,
        "admin": {"address": clusters.socket_address("127.0.0.1", 0)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [service],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [xds]},
    }


def _reserved_port() -> socket.socket:
    """Bound, not listening: an Envoy, which sets SO_REUSEPORT too, can bind it, others cannot."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved
