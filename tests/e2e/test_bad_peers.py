"""Peers that are not whom they should be, over sockets: refused before the first byte."""

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.config.bootstrap import Credentials, Node
from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot
from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
)
from meshsdk.control_plane.shapes import clusters, inbound, listeners, routes
from meshsdk.identity import Svid, TrustBundle, TrustBundles, X509Context
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of, raw_exchange
from tests.minting import CA, CA_CONSTRAINTS, Made, Template, make, peer_context, private_key, uri

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

HOST: Final = "reviews.shop.svc.cluster.local"
NODE: Final = Node("sidecar~127.0.0.1~us.shop~shop.svc.cluster.local")
REVIEWS: Final = "spiffe://td.test/ns/shop/sa/reviews"
ADMIN: Final = "spiffe://td.test/ns/shop/sa/admin"
OURS: Final = "spiffe://td.test/ns/shop/sa/us"
STRANGER: Final = "spiffe://other.test/ns/shop/sa/reviews"
ROOT = make(replace(CA, subject="root of td.test"))
OTHER_ROOT = make(replace(CA, subject="root of other.test", sans=uri("spiffe://other.test")))

GOOD = Template(sans=uri(REVIEWS))
TWIN = make(GOOD, ROOT)


@dataclass(frozen=True, slots=True)
class Bad:
    """A certificate, and what a refusal of it must say that it expected and found."""

    make: Callable[[], Made]
    expected: str
    found: str


SHARED: Final = {
    "wrong trust domain": Bad(
        lambda: make(replace(GOOD, sans=uri(STRANGER)), OTHER_ROOT), "td.test", STRANGER
    ),
    "another trust domain's CA": Bad(
        lambda: make(GOOD, OTHER_ROOT), "1 roots of td.test", "a root of other.test"
    ),
    "expired": Bad(
        lambda: make(replace(GOOD, starts=-7200, ends=-3600), ROOT),
        "a chain to a root of",
        "certificate has expired",
    ),
    "CA leaf": Bad(lambda: make(replace(GOOD, constraints=CA_CONSTRAINTS), ROOT), "CA", "CA"),
    "two URI SANs": Bad(
        lambda: make(replace(GOOD, sans=uri(REVIEWS, ADMIN)), ROOT),
        "expected 1",
        f"2 ('{REVIEWS}', '{ADMIN}')",
    ),
}
SERVERS: Final = {
    **SHARED,
    "wrong SAN": Bad(lambda: make(replace(GOOD, sans=uri(ADMIN)), ROOT), REVIEWS, ADMIN),
}
CLIENTS: Final = {
    **SHARED,
    "wrong SAN": Bad(
        lambda: make(replace(GOOD, sans=uri("https://td.test/reviews")), ROOT),
        "spiffe",
        "https://td.test/reviews",
    ),
}


class Impostor:
    """A TLS server with any certificate; it counts what clients say to it."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._context = peer_context(TWIN, server=True)
        self.connections = 0
        self.received = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def present(self, made: Made) -> None:
        """What the next clients are shown."""
        self._context = peer_context(made, server=True)
        self.connections, self.received = 0, b""

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                accepted, _ = self._listening.accept()
                self.connections += 1
                with accepted, suppress(OSError):
                    accepted.settimeout(PATIENCE)
                    self._answer(self._context.wrap_socket(accepted, server_side=True))

    def _answer(self, connection: ssl.SSLSocket) -> None:
        with connection:
            self.received += connection.recv(65536)
            if self.received:
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
                )


def identity() -> X509Context:
    own = make(replace(GOOD, sans=uri(OURS)), ROOT)
    bundles = {"td.test": TrustBundle((ROOT.der,)), "other.test": TrustBundle((OTHER_ROOT.der,))}
    svid = Svid.from_der(own.der, private_key(own, Encoding.DER))
    return X509Context((svid,), TrustBundles.by_name(bundles))


def resources(upstream: int, own: int) -> NodeSnapshot:
    """Reviews is on one port; ours, STRICT, is another."""
    name = clusters.cluster_name(HOST, 80)
    route = routes.route(name, operation="reviews")
    host = routes.virtual_host(HOST, 80, "240.240.0.1", [route], caller_namespace="shop")
    mine = inbound.InboundPort(own, 80, "us.shop.svc.cluster.local")
    outbound = listeners.outbound_listener(80, allow_any=False)
    return {
        LISTENER: {
            "0.0.0.0_80": outbound,
            "virtualInbound": inbound.virtual_inbound([mine], trust_domain="td.test"),
        },
        ROUTE_CONFIGURATION: {"80": routes.route_configuration("80", [host], allow_any=False)},
        CLUSTER: {
            name: clusters.eds_cluster(HOST, 80, accounts=[REVIEWS]),
            f"inbound|{own}||": clusters.inbound_cluster(own, mine.host),
        },
        LOAD_ASSIGNMENT: {name: clusters.load_assignment(name, [("127.0.0.1", upstream)])},
        NAME_TABLE: {"": {"table": {HOST: {"ips": ["240.240.0.1"]}}}},
    }


@dataclass(frozen=True, slots=True)
class Us:
    """Our client and our server, and the impostor."""

    mesh: Mesh
    app: Echo
    port: int
    impostor: Impostor


@pytest.fixture(scope="module")
def us() -> Generator[Us]:
    server, app = AdsServer(), Echo("us")
    with bound_socket() as own, bound_socket() as theirs:
        port = server.listen()
        server.set(NODE.id, resources(port_of(theirs), port_of(own)))
        mesh = Mesh.connect(
            server=f"127.0.0.1:{port}",
            node=NODE,
            credentials=Credentials(tls=False),
            identity=identity(),
            options=Options(emit=silent),
        )
        with server, mesh:
            assert mesh.ready(PATIENCE)
            with Serving(MeshMiddleware(app, mesh), own):
                yield Us(mesh, app, port_of(own), Impostor(theirs))
            theirs.shutdown(socket.SHUT_RDWR)


def call_sync(mesh: Mesh) -> httpx.Response:
    with httpx.Client(transport=MeshTransport(mesh)) as client:
        return client.get(f"http://{HOST}/secret")


def call_async(mesh: Mesh) -> httpx.Response:
    async def call() -> httpx.Response:
        async with httpx.AsyncClient(transport=AsyncMeshTransport(mesh)) as client:
            return await client.get(f"http://{HOST}/secret")

    return asyncio.run(call())


CALLS = pytest.mark.parametrize("call", [call_sync, call_async])


@CALLS
@pytest.mark.parametrize("case", SERVERS)
def test_a_server_that_is_not_the_service_is_told_nothing(
    us: Us, case: str, call: Callable[[Mesh], httpx.Response]
) -> None:
    bad = SERVERS[case]
    us.impostor.present(bad.make())

    response = call(us.mesh)

    assert us.impostor.connections > 0
    assert us.impostor.received == b""
    assert response.status_code == 503
    facts = response.extensions["meshsdk"]
    assert set(facts["flags"]) == {"UF", "URX"}
    for expected in (bad.expected, bad.found):
        assert expected.replace(" ", "_") in facts["details"]


@CALLS
def test_the_twin_with_nothing_wrong_is_called(
    us: Us, call: Callable[[Mesh], httpx.Response]
) -> None:
    us.impostor.present(TWIN)

    response = call(us.mesh)

    assert (response.status_code, response.text) == (200, "ok")
    assert us.impostor.received.startswith(b"GET /secret HTTP/1.1\r\n")


def test_raised_errors_name_what_was_expected_and_found(us: Us) -> None:
    us.impostor.present(SERVERS["wrong SAN"].make())
    transport = MeshTransport(us.mesh, local_replies="raise")

    with httpx.Client(transport=transport) as client, pytest.raises(httpx.ConnectError) as raised:
        client.get(f"http://{HOST}/secret")

    assert REVIEWS in str(raised.value)
    assert ADMIN in str(raised.value)


@pytest.mark.parametrize("case", CLIENTS)
def test_a_client_that_is_not_in_the_mesh_reaches_no_application(
    us: Us, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, before = CLIENTS[case], len(us.app.seen)

    with caplog.at_level(logging.DEBUG, "meshsdk.downstream"):
        assert raw_exchange(us.port, client_context(bad.make())) == b""

    assert len(us.app.seen) == before
    prefix = f"handshake on port {us.port} failed: "
    (message,) = [each for each in caplog.messages if each.startswith(prefix)]
    assert bad.expected in message
    assert bad.found in message


def test_the_client_with_nothing_wrong_reaches_it(us: Us) -> None:
    answer = raw_exchange(us.port, client_context(TWIN))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert us.app.seen[-1]["peer"] == REVIEWS


def client_context(made: Made) -> ssl.SSLContext:
    context = peer_context(made, server=False)
    context.set_alpn_protocols(["istio-http/1.1"])
    return context
