"""Side calls of filters over real sockets: through the cluster's own pools, in every colour."""

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import cast

import pytest

from meshsdk.call.effects import Fetch, Fetched, GrpcFetch, GrpcFetched, Reply, SideCall
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, ResetReason
from meshsdk.identity import X509Context
from meshsdk.mesh import Mesh
from meshsdk.testing.ca import FakeCa
from meshsdk.wire.grpc_message import frame
from tests.upstream.colours import RUN
from tests.upstream.h2_server import Served2, h2
from tests.upstream.mtls import server_context
from tests.upstream.raw_server import RawServer, Served, answering, serving

COLOURS = sorted(RUN)
GET = Request("GET", "keys.test", "/keys")
_H2: Mapping[str, object] = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}
SERVICE = "envoy.service.auth.v3.Authorization"


def mesh_of(
    port: int, config: Mapping[str, object] = {}, identity: X509Context | None = None
) -> Mesh:
    """A mesh that knows one cluster, `side`."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    cluster = {
        "name": "side",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "side",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        **config,
    }
    return Mesh.static({"static_resources": {"clusters": [cluster]}}, identity=identity)


def perform(colour: str, mesh: Mesh, *effects: SideCall) -> list[Reply]:
    """The replies to side calls, one after the other."""

    async def work() -> list[Reply]:
        if colour == "sync":
            return [mesh.fetcher.fetch(effect) for effect in effects]
        return [await mesh.fetcher.afetch(effect) for effect in effects]

    with mesh:
        return cast("list[Reply]", RUN[colour](work))


def active(mesh: Mesh) -> tuple[int, int]:
    """What is in flight at the cluster, and at its hosts."""
    state = mesh.live.clusters["side"]
    return state.breakers.default.requests, sum(h.active_requests for h in state.hosts.values())


def one_after_another(*answers: bytes) -> AbstractContextManager[RawServer]:
    """An HTTP/1.1 server that answers the requests of a connection in turn."""
    return serving(answering(*answers))


def plain(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """A whole HTTP/1.1 answer."""
    head = "".join(f"{field}\r\n" for field in fields)
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


@pytest.mark.parametrize("colour", COLOURS)
def test_a_side_call_gets_its_whole_answer_and_gives_its_place_back(colour: str) -> None:
    with one_after_another(plain(b"one"), plain(b"two")) as server:
        mesh = mesh_of(server.address.port)
        one, two = perform(colour, mesh, Fetch("side", GET), Fetch("side", GET, b""))

    assert isinstance(one, Fetched)
    assert isinstance(two, Fetched)
    assert (one.response.status, one.body, two.body) == (200, b"one", b"two")
    assert server.connections == 1
    assert active(mesh) == (0, 0)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_redirect_is_an_answer_and_not_followed(colour: str) -> None:
    with one_after_another(plain(b"", "302 Found", "location: http://evil.test/")) as server:
        (found,) = perform(colour, mesh_of(server.address.port), Fetch("side", GET))

    assert isinstance(found, Fetched)
    assert found.response.status == 302


@pytest.mark.parametrize("colour", COLOURS)
def test_an_answer_that_drips_past_the_timeout_is_a_reset(colour: str) -> None:
    def script(served: Served) -> None:
        served.head()
        served.send(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")
        served.recv()

    with serving(script) as server:
        mesh = mesh_of(server.address.port)
        (found,) = perform(colour, mesh, Fetch("side", GET, timeout=0.1))

    assert isinstance(found, Reset)
    assert found.reason is ResetReason.TIMEOUT
    assert active(mesh) == (0, 0)


@pytest.mark.parametrize("colour", COLOURS)
def test_an_answer_above_the_limit_is_a_reset(colour: str) -> None:
    with one_after_another(plain(b"x" * 100)) as server:
        mesh = mesh_of(server.address.port)
        (found,) = perform(colour, mesh, Fetch("side", GET, max_bytes=99))

    assert isinstance(found, Reset)
    assert "99 octets" in found.detail
    assert active(mesh) == (0, 0)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"])
def test_a_side_call_that_is_cancelled_holds_nothing(sent: bytes) -> None:
    asked = threading.Event()

    def script(served: Served) -> None:
        served.head()
        served.send(sent)
        asked.set()
        served.wait_until_gone()

    async def work(mesh: Mesh) -> int:
        call = asyncio.create_task(mesh.fetcher.afetch(Fetch("side", GET)))
        await asyncio.to_thread(asked.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return mesh.async_upstream.here().connections

    with serving(script) as server, mesh_of(server.address.port) as mesh:
        left = asyncio.run(work(mesh))

    assert left == 0
    assert active(mesh) == (0, 0)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_request_that_cannot_be_sent_is_a_reset(colour: str) -> None:
    bad = Request("GET", "keys.test", "/keys", Headers([("x-a", "1\r\nx-b: 2")]))
    with one_after_another(plain(b"one")) as server:
        mesh = mesh_of(server.address.port)
        (found,) = perform(colour, mesh, Fetch("side", bad))

    assert isinstance(found, Reset)
    assert found.reason is ResetReason.PROTOCOL_ERROR
    assert active(mesh) == (0, 0)
    assert server.connections == 0


def test_an_answer_that_nobody_waits_for_goes_where_it_was_asked_for() -> None:
    came = threading.Event()
    answers: list[object] = []

    def done(answer: object) -> None:
        answers.append(answer)
        came.set()

    with one_after_another(plain(b"one")) as server, mesh_of(server.address.port) as mesh:
        reply = mesh.fetcher.fetch(Fetch("side", GET, done=done))
        assert came.wait(10)

    assert reply is None
    (answer,) = answers
    assert isinstance(answer, Fetched)
    assert answer.body == b"one"


def test_a_cluster_that_does_not_exist_or_is_full_is_a_reset() -> None:
    full = {"circuit_breakers": {"thresholds": [{"max_requests": 0}]}}

    (unknown,) = perform("sync", mesh_of(1), Fetch("other", GET))
    (overflow,) = perform("sync", mesh_of(1, full), Fetch("side", GET))

    assert isinstance(unknown, Reset)
    assert "does not exist" in unknown.detail
    assert isinstance(overflow, Reset)
    assert overflow.reason is ResetReason.OVERFLOW


def test_how_side_calls_end_is_told_and_counted() -> None:
    with one_after_another(plain(b"", "404 Not Found")) as server:
        mesh = mesh_of(server.address.port)
        perform("sync", mesh, Fetch("side", GET), Fetch("other", GET))

    text = mesh.metrics()
    assert 'meshsdk_side_calls_total{cluster_name="side",result="404"} 1' in text
    result = "remote connection failure"
    assert f'meshsdk_side_calls_total{{cluster_name="other",result="{result}"}} 1' in text


def test_a_host_that_fails_side_calls_is_ejected() -> None:
    outlier = {"consecutive_5xx": 1, "max_ejection_percent": 100}
    with one_after_another(plain(b"", "503 Service Unavailable")) as server:
        mesh = mesh_of(server.address.port, {"outlier_detection": outlier})
        perform("sync", mesh, Fetch("side", GET))

    (host,) = mesh.live.clusters["side"].hosts.values()
    assert host.ejected_until is not None


# -- gRPC -----------------------------------------------------------------------------------------

CHECK = GrpcFetch(
    "side",
    SERVICE,
    "Check",
    {"attributes": {"context_extensions": {"k": "v"}}},
    timeout=5.0,
    authority="authz.test",
    metadata=(("x-own", "1"),),
)
_GRPC = (b"content-type", b"application/grpc")


def _check_answer() -> bytes:
    """A CheckResponse, framed as a request of the same shape would be."""
    return b"\0\0\0\0\x04\x0a\x02\x08\x07"  # status {code: 7}


@pytest.mark.parametrize("colour", COLOURS)
def test_a_unary_call_goes_over_the_clusters_http2(colour: str) -> None:
    requests: list[tuple[Mapping[bytes, bytes], bytes]] = []

    def script(served: Served2) -> None:
        while (request := served.request()) is not None:
            stream, fields, body = request
            requests.append((fields, body))
            served.answer(stream, _check_answer(), _GRPC, trailers={b"grpc-status": b"0"})

    with serving(h2(script)) as server:
        mesh = mesh_of(server.address.port, _H2)
        found, again = perform(colour, mesh, CHECK, CHECK)

    assert found == again == GrpcFetched(0, {"status": {"code": 7}})
    fields, body = requests[0]
    assert fields[b":path"] == b"/envoy.service.auth.v3.Authorization/Check"
    assert fields[b":authority"] == b"authz.test"
    assert fields[b"te"] == b"trailers"
    assert fields[b"grpc-timeout"] == b"5000m"
    assert fields[b"x-own"] == b"1"
    assert body == frame(SERVICE, "Check", CHECK.message)
    assert 'cluster_name="side",result="grpc 0"} 2' in mesh.metrics()
    assert server.connections == 1
    assert active(mesh) == (0, 0)


def _sds(name: str) -> Mapping[str, object]:
    ads: Mapping[str, object] = {}
    return {"name": name, "sds_config": {"ads": ads}}


def _istio_mtls(san: str) -> Mapping[str, object]:
    """The transport socket that istiod gives a gRPC cluster."""
    validation = {
        "default_validation_context": {"match_subject_alt_names": [{"exact": san}]},
        "validation_context_sds_secret_config": _sds("ROOTCA"),
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/"
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": "outbound_.9000_._.authz.auth.svc.cluster.local",
            "common_tls_context": {
                "alpn_protocols": ["istio-peer-exchange", "istio", "h2"],
                "tls_certificate_sds_secret_configs": [_sds("default")],
                "combined_validation_context": validation,
            },
        },
    }


@pytest.mark.parametrize("colour", COLOURS)
def test_a_service_is_asked_over_mtls_and_must_be_who_the_cluster_says(colour: str) -> None:
    ca = FakeCa()
    identity = ca.context("shop/client")

    def script(served: Served2) -> None:
        request = served.request()
        if request is not None:
            served.answer(request[0], _check_answer(), _GRPC, trailers={b"grpc-status": b"0"})
            served.next()

    with serving(h2(script), context=server_context(ca, "auth/authz")) as server:
        port = server.address.port
        right, wrong = (
            mesh_of(
                port, {**_H2, "transport_socket": _istio_mtls(str(ca.spiffe_id(who)))}, identity
            )
            for who in ("auth/authz", "auth/other")
        )
        (answered,) = perform(colour, right, CHECK)
        (refused,) = perform(colour, wrong, CHECK)

    assert answered == GrpcFetched(0, {"status": {"code": 7}})
    assert isinstance(refused, Reset)
    assert refused.reason is ResetReason.TLS_FAILURE
    assert not refused.request_sent


def _grpc_end(trailers: Mapping[bytes, bytes], body: bytes = b"", status: bytes = b"200") -> Reply:
    def script(served: Served2) -> None:
        request = served.request()
        assert request is not None
        more = () if body else tuple(trailers.items())
        end = dict(trailers) if body else None
        served.answer(request[0], body, _GRPC, *more, status=status, trailers=end)
        served.next()

    with serving(h2(script)) as server:
        (found,) = perform("sync", mesh_of(server.address.port, _H2), CHECK)
    return found


def test_a_status_that_is_not_ok_comes_with_its_message() -> None:
    found = _grpc_end({b"grpc-status": b"14", b"grpc-message": b"come%20later"})

    assert found == GrpcFetched(14, {}, "come later")


@pytest.mark.parametrize(
    ("trailers", "body", "status", "expected"),
    [
        ({}, b"", b"200", 2),
        ({b"grpc-status": b"x"}, b"", b"200", 2),
        ({b"grpc-status": b"9" * 5000}, b"", b"200", 2),
        ({}, b"", b"503", 14),
        ({b"grpc-status": b"0"}, b"", b"200", 13),
        ({b"grpc-status": b"0"}, b"\0\0\0\0\x09x", b"200", 13),
        ({b"grpc-status": b"0"}, b"\x01\0\0\0\x01x", b"200", 13),
        ({b"grpc-status": b"0"}, b"\0\0\0\0\x01\xff", b"200", 13),
    ],
)
def test_an_answer_that_is_no_unary_answer_is_an_error(
    trailers: Mapping[bytes, bytes], body: bytes, status: bytes, expected: int
) -> None:
    found = _grpc_end(trailers, body, status)

    assert isinstance(found, GrpcFetched)
    assert found.status == expected
    assert found.message == {}


def test_nobody_at_the_address_is_a_reset() -> None:
    with one_after_another() as server:
        port = server.address.port
    (found,) = perform("sync", mesh_of(port, _H2), CHECK)

    assert isinstance(found, Reset)
    assert found.reason is ResetReason.CONNECT_FAILURE
