"""What only a mesh has: local replies, attempts, identities, raw connections."""

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

import anyio
import httpx
import httpx2
import pytest

from meshsdk.call.address import Address
from meshsdk.call.context import CallContext
from meshsdk.call.effects import (
    BodyRead,
    Deliver,
    Fetch,
    Flow,
    Mirror,
    ReadBody,
    Send,
    Sleep,
    WaitForConfig,
)
from meshsdk.call.message import BodyEnd, Outcome, Request, Reset, ResetReason, Response
from meshsdk.errors import NotReadyError
from meshsdk.flow import reply
from meshsdk.flow.select import Target
from meshsdk.identity.tls_params import ExactUris, SpiffeTrust, TlsParams, Validation
from meshsdk.integrations import httpx2 as for_httpx2
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.testing.ca import FakeCa
from tests.upstream.colours import AnyClient, Colour, every_colour
from tests.upstream.mtls import SOCKET, MeshTls, server_context
from tests.upstream.one_cluster import HandClock, OneCluster, http_flow, tcp_flow
from tests.upstream.raw_server import OK, Served, answering, forever, serving

_URL = "http://shop:8080/"
_CA = FakeCa()
_UNAVAILABLE = b"HTTP/1.1 503 S\r\nContent-Length: 4\r\n\r\nbusy"
_NOBODY = Address("127.0.0.1", 1)
"""Refuses connections."""


def _silent(served: Served) -> None:
    served.head()
    served.wait_until_gone()


async def _get(client: AnyClient) -> httpx.Response:
    return await client.get(_URL)


# -- local replies --------------------------------------------------------------------------------


@every_colour
def test_a_refused_connection_is_envoys_local_reply(colour: Colour) -> None:
    mesh = OneCluster(_NOBODY)

    response = colour.run(mesh, _get)

    assert response.status_code == 503
    assert response.text == (
        "upstream connect error or disconnect/reset before headers."
        " reset reason: remote connection failure"
    )
    told = response.extensions["meshsdk"]
    assert told["flags"] == ("UF",)
    assert "Connection_refused" in told["details"]
    assert (told["cluster"], told["endpoint"]) == ("backend", "127.0.0.1:1")
    assert "network_stream" not in response.extensions


@every_colour
def test_an_answer_tells_where_it_came_from(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        response = colour.run(OneCluster(server.address), _get)

    assert response.extensions["meshsdk"] == {
        "flags": (),
        "details": "via_upstream",
        "cluster": "backend",
        "endpoint": str(server.address),
        "attempts": 1,
        "route": "",
    }


@every_colour
def test_failed_calls_raise_httpx_exceptions_where_the_user_wants_that(colour: Colour) -> None:
    mesh = OneCluster(_NOBODY)

    with pytest.raises(httpx.ConnectError, match="remote connection failure") as raised:
        colour.run(mesh, _get, local_replies="raise")

    assert raised.value.request.url == _URL


@every_colour
def test_an_upstreams_own_503_is_never_an_exception(colour: Colour) -> None:
    with serving(answering(_UNAVAILABLE)) as server:
        response = colour.run(OneCluster(server.address), _get, local_replies="raise")

    assert response.status_code == 503


@pytest.mark.parametrize(
    ("reason", "raises"),
    [
        (ResetReason.CONNECT_TIMEOUT, httpx.ConnectTimeout),
        (ResetReason.CONNECTION_TERMINATION, httpx.RemoteProtocolError),
        (ResetReason.REMOTE_RESET, httpx.ReadError),
        (ResetReason.PROTOCOL_ERROR, httpx.RemoteProtocolError),
        (ResetReason.OVERFLOW, httpx.ConnectError),
        (ResetReason.PER_TRY_TIMEOUT, httpx.ReadTimeout),
        (ResetReason.TIMEOUT, httpx.ReadTimeout),
        (ResetReason.TLS_FAILURE, httpx.ConnectError),
    ],
)
def test_each_failure_has_its_exception(
    reason: ResetReason, raises: type[httpx.TransportError]
) -> None:
    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        reset = Reset(reason)
        yield Deliver(reply.to_response(reply.of_reset(reset, retried=False), request, context))

    with pytest.raises(raises) as raised:
        Colour("sync").run(OneCluster(_NOBODY, flow=flow), _get, local_replies="raise")

    assert type(raised.value) is raises


def test_an_unknown_choice_of_local_replies_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 'response' or 'raise', got 'both'"):
        MeshTransport(OneCluster(_NOBODY), local_replies="both")  # type: ignore[arg-type]


# -- time -------------------------------------------------------------------------------------------


@every_colour
@pytest.mark.parametrize(
    ("is_per_try", "details"),
    [(True, "upstream_per_try_timeout"), (False, "response_timeout")],
)
def test_a_timeout_of_the_route_is_504(colour: Colour, is_per_try: bool, details: str) -> None:
    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        outcome = yield Send(mesh.attempt(request), timeout=0.05, reset_reason_timeout=is_per_try)
        assert isinstance(outcome, Reset)
        yield Deliver(reply.to_response(reply.of_reset(outcome, retried=False), request, context))

    with serving(_silent) as server:
        mesh = OneCluster(server.address, flow=flow)
        response = colour.run(mesh, _get)

    assert response.status_code == 504
    assert response.extensions["meshsdk"]["details"] == details
    assert mesh.host.state.active_connections == 0


@every_colour
def test_a_timeout_of_the_route_begins_when_a_streamed_request_has_ended(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        served.chunked_body()
        served.send(OK)

    with serving(script) as server:
        mesh = OneCluster(server.address, timeout=0.15)

        async def test(client: AnyClient) -> int:
            pause = threading.Event()
            content = client.content(b"one", b"two", between=lambda: pause.wait(0.1))
            return (await client.request("POST", _URL, content=content)).status_code

        assert colour.run(mesh, test) == 200


@every_colour
def test_silence_inside_a_try_is_its_idle_timeout(colour: Colour) -> None:
    outcomes: list[object] = []

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        outcome = yield Send(mesh.attempt(request), timeout=5.0, idle_timeout=0.05)
        outcomes.append(outcome)
        assert isinstance(outcome, Reset)
        yield Deliver(reply.to_response(reply.of_reset(outcome, retried=False), request, context))

    with serving(_silent) as server:
        assert colour.run(OneCluster(server.address, flow=flow), _get).status_code == 504

    [reset] = outcomes
    assert isinstance(reset, Reset)
    assert reset.reason is ResetReason.PER_TRY_IDLE_TIMEOUT


@every_colour
def test_the_callers_own_read_timeout_is_its_own_exception(colour: Colour) -> None:
    with serving(_silent) as server:
        mesh = OneCluster(server.address, timeout=5.0)

        async def test(client: AnyClient) -> None:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(_URL, timeout=httpx.Timeout(5.0, read=0.05))

        colour.run(mesh, test)
    assert (mesh.flows_closed, mesh.host.state.active_connections) == (0, 0)
    assert mesh.ends == []


@every_colour
def test_the_callers_own_write_timeout_is_its_own_exception(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        served.server.gone.wait(10)

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            content = b"x" * (64 << 20)
            with pytest.raises(httpx.WriteTimeout):
                await client.request(
                    "POST", _URL, content=content, timeout=httpx.Timeout(5.0, write=0.05)
                )

        colour.run(mesh, test)
        server.gone.set()


@every_colour
def test_a_deadline_cuts_a_body_that_drips(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not served.server.gone.wait(0.01):
            served.send(b".")

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        context.deadline = mesh.clock.monotonic() + 0.1
        yield from http_flow(mesh, request, context)

    with serving(script) as server:
        mesh = OneCluster(server.address, flow=flow)
        with pytest.raises(httpx.ReadTimeout):
            colour.run(mesh, _get)
        server.gone.set()

    [end] = mesh.ends
    assert end.reset is not None
    assert (end.reset.reason, end.reset.body_started) == (ResetReason.TIMEOUT, True)


@every_colour
def test_a_connect_timeout_is_the_clusters_or_the_callers(colour: Colour) -> None:
    import socket

    # A listener whose queue is full answers no SYN.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1])
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.settimeout(0.1)
            with suppress(TimeoutError):
                filler.connect((address.host, address.port))
                continue
            break
        mesh = OneCluster(address, {"connect_timeout": "0.05s"})

        async def test(client: AnyClient) -> str:
            with pytest.raises(httpx.ConnectTimeout):
                await client.get(_URL, timeout=httpx.Timeout(5.0, connect=0.02))
            return (await client.get(_URL)).text

        text = colour.run(mesh, test)
        for filler in fillers:
            filler.close()

    assert text.endswith("reset reason: connection timeout")
    assert mesh.host.state.active_connections == 0


# -- attempts -----------------------------------------------------------------------------------------


def _retrying(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
    """Until something other than 503 comes, as a route's retry policy would."""
    outcome: object = None
    while context.attempts < 5:
        context.attempts += 1
        outcome = yield Send(mesh.attempt(request))
        if isinstance(outcome, Response) and outcome.status != 503:
            break
        if not context.body_replayable:
            break
        yield Sleep(0.001)
    assert isinstance(outcome, Response | Reset)
    end = yield Deliver(outcome)
    assert isinstance(end, BodyEnd)
    mesh.ends.append(end)


@every_colour
def test_an_answer_that_nobody_gets_gives_its_connection_back(colour: Colour) -> None:
    with serving(answering(_UNAVAILABLE, _UNAVAILABLE, OK)) as server:
        mesh = OneCluster(server.address, flow=_retrying)

        response = colour.run(mesh, _get)

        assert (response.content, server.connections) == (b"hi", 1)
        assert response.extensions["meshsdk"]["attempts"] == 3


@every_colour
def test_an_answer_without_end_that_nobody_gets_costs_its_connection(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        if served.number:
            served.send(OK)
        else:
            served.send(b"HTTP/1.1 503 S\r\nContent-Length: 1000000\r\n\r\nbusy")
        served.wait_until_gone()

    with serving(script) as server:
        mesh = OneCluster(server.address, flow=_retrying)

        assert colour.run(mesh, _get).content == b"hi"
        assert server.connections == 2


def _counts_bodies(bodies: list[bytes]) -> object:
    def script(served: Served) -> None:
        while head := served.head():
            if b"chunked" in head:
                bodies.append(served.chunked_body())
            else:
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                bodies.append(served.body(length))
            served.send(OK if len(bodies) == 3 else _UNAVAILABLE)

    return script


@every_colour
@pytest.mark.parametrize("streamed", [False, True])
def test_each_attempt_sends_the_whole_body(colour: Colour, streamed: bool) -> None:
    bodies: list[bytes] = []
    with serving(_counts_bodies(bodies)) as server:  # type: ignore[arg-type]
        mesh = OneCluster(server.address, flow=_retrying)

        async def test(client: AnyClient) -> int:
            content = client.content(b"one ", b"two") if streamed else b"one two"
            return (await client.request("POST", _URL, content=content)).status_code

        assert colour.run(mesh, test) == 200
    assert bodies == [b"one two"] * 3
    assert mesh.ends[0].bytes_received == 7


@every_colour
def test_a_body_that_outgrows_its_buffer_is_sent_once(colour: Colour) -> None:
    bodies: list[bytes] = []
    with serving(_counts_bodies(bodies)) as server:  # type: ignore[arg-type]
        mesh = OneCluster(server.address, flow=_retrying)

        async def test(client: AnyClient) -> int:
            content = client.content(*[b"x" * 65536] * 20)
            return (await client.request("POST", _URL, content=content)).status_code

        assert colour.run(mesh, test) == 503
    assert len(bodies) == 1
    assert not mesh.contexts[0].body_replayable


@every_colour
@pytest.mark.parametrize(("limit", "complete"), [(100, True), (7, True), (5, False)])
def test_a_filter_reads_the_body_and_the_upstream_gets_it_whole(
    colour: Colour, limit: int, complete: bool
) -> None:
    reads: list[object] = []
    bodies: list[bytes] = []

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        reads.append((yield ReadBody(limit)))
        yield from http_flow(mesh, request, context)

    def script(served: Served) -> None:
        is_chunked = b"chunked" in served.head()
        bodies.append(served.chunked_body() if is_chunked else served.body(7))
        served.send(OK)

    with serving(script) as server:

        async def test(client: AnyClient) -> int:
            content = client.content(b"one", b" two")
            return (await client.request("POST", _URL, content=content)).status_code

        assert colour.run(OneCluster(server.address, flow=flow), test) == 200
    assert reads == [BodyRead(b"one two"[:limit], complete)]
    assert bodies == [b"one two"]


@every_colour
@pytest.mark.parametrize("streamed", [False, True])
def test_a_mirrored_request_is_sent_beside_and_not_waited_for(
    colour: Colour, streamed: bool
) -> None:
    shadows: list[bytes] = []

    def shadow(served: Served) -> None:
        head = served.head()
        shadows.append(served.chunked_body() if b"chunked" in head else served.body(7))
        served.server.gone.set()
        served.wait_until_gone()

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        yield Mirror(other.attempt(request), 5.0)
        yield from http_flow(mesh, request, context)

    def script(served: Served) -> None:
        head = served.head()
        served.chunked_body() if b"chunked" in head else served.body(7)
        served.send(OK)

    with serving(script) as server, serving(shadow) as mirrored:
        other = OneCluster(mirrored.address)

        async def test(client: AnyClient) -> bytes:
            content = client.content(b"one", b" two") if streamed else b"one two"
            response = await client.request("POST", _URL, content=content)
            assert await colour.wait(mirrored.gone)
            return response.content

        assert colour.run(OneCluster(server.address, flow=flow), test) == b"hi"
    assert shadows == [b"one two"]


@every_colour
def test_a_body_that_raises_raises_out_of_the_call(colour: Colour) -> None:
    def fail() -> None:
        raise LookupError("no more of it")

    with serving(_silent) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            with pytest.raises(LookupError):
                await client.request("POST", _URL, content=client.content(b"a", between=fail))

        colour.run(mesh, test)
    assert mesh.host.state.active_connections == 0


# -- what cannot be done is refused by name ------------------------------------------------------------


def _outcome_of(mesh: OneCluster, effect: Send | Fetch) -> Outcome:
    outcomes: list[Outcome] = []

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        outcome = yield effect
        assert isinstance(outcome, Response | Reset)
        outcomes.append(outcome)
        yield Deliver(Response(200))

    mesh.flow = flow
    Colour("sync").run(mesh, _get)
    return outcomes[0]


def test_side_calls_fail_where_no_mesh_makes_them() -> None:
    mesh = OneCluster(_NOBODY)
    attempt = mesh.attempt(Request("GET", "shop", "/"))

    outcome = _outcome_of(mesh, Fetch("authz", attempt.request))

    assert isinstance(outcome, Reset)
    assert "side calls" in outcome.detail
    assert "authz" in outcome.detail
    assert not outcome.request_sent


# -- the first configuration --------------------------------------------------------------------------


@every_colour
def test_a_first_call_waits_for_configuration(colour: Colour) -> None:
    replies: list[object] = []

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        replies.append((yield WaitForConfig("listener shop:8080", 5.0, "shop:8080")))
        yield from http_flow(mesh, request, context)

    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address, flow=flow)
        publish = threading.Timer(0.05, mesh.publisher.publish, (object(),))
        publish.start()

        assert colour.run(mesh, _get).status_code == 200
    assert replies == [True]
    assert mesh.feed.wanted == ["shop:8080"]


@every_colour
def test_a_wait_for_configuration_in_vain_is_a_pool_timeout_that_says_so(colour: Colour) -> None:
    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        changed = yield WaitForConfig("the first complete configuration", 0.02)
        assert changed is False
        raise NotReadyError("the first complete configuration", 0.02)

    with pytest.raises(httpx.PoolTimeout, match=r"waited 0\.02 s for the first complete"):
        colour.run(OneCluster(_NOBODY, flow=flow), _get)


# -- identities -----------------------------------------------------------------------------------------


def _secured(address: Address, params: TlsParams | None = None) -> OneCluster:
    identity = _CA.context("shop/client")
    tls = MeshTls(identity) if params is None else MeshTls(identity, params)
    return OneCluster(address, tls=tls, socket=SOCKET)


@every_colour
def test_calls_go_over_mutual_tls_on_one_connection(colour: Colour) -> None:
    with serving(forever(OK), server_context(_CA)) as server:
        mesh = _secured(server.address)

        async def test(client: AnyClient) -> httpx.Response:
            response = [await client.get(_URL) for _ in range(3)][-1]
            stream = response.extensions["network_stream"]
            peer = stream.get_extra_info("ssl_object").peer_id
            assert str(peer) == "spiffe://cluster.local/ns/shop/sa/server"
            assert stream.get_extra_info("server_addr") == (
                server.address.host,
                server.address.port,
            )
            return response

        assert colour.run(mesh, test).content == b"hi"
        assert server.connections == 1
        assert mesh.sync_upstream.tls.asked == [("http1", SOCKET.sni)]  # type: ignore[attr-defined]


@every_colour
def test_a_big_body_goes_both_ways_over_tls(colour: Colour) -> None:
    data = bytes(range(256)) * 8192

    def script(served: Served) -> None:
        served.head()
        body = served.chunked_body()
        served.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    with serving(script, server_context(_CA)) as server:

        async def test(client: AnyClient) -> bytes:
            content = client.content(*(data[at : at + 50000] for at in range(0, len(data), 50000)))
            return (await client.request("POST", _URL, content=content)).content

        assert colour.run(_secured(server.address), test) == data


@every_colour
def test_another_identity_gets_no_octet_of_the_request(colour: Colour) -> None:
    got: list[bytes] = []
    wanted = ExactUris(frozenset({"spiffe://cluster.local/ns/shop/sa/other"}))
    params = TlsParams(validation=Validation(SpiffeTrust(), wanted), alpn=("http/1.1",))

    def script(served: Served) -> None:
        got.append(served.head())

    with serving(script, server_context(_CA)) as server:
        response = colour.run(_secured(server.address, params), _get)

    assert response.status_code == 503
    told = response.extensions["meshsdk"]
    assert told["flags"] == ("UF",)
    assert "sa/other" in told["details"], "what was expected"
    assert "sa/server" in told["details"], "what was found"
    assert b"".join(got) == b""


@every_colour
def test_a_plaintext_server_is_a_tls_failure(colour: Colour) -> None:
    with serving(lambda served: served.send(b"220 hello\r\n")) as server:
        response = colour.run(_secured(server.address), _get)

    assert response.status_code == 503
    assert "TLS_error" in response.extensions["meshsdk"]["details"]


@every_colour
def test_without_an_identity_no_connection_is_opened(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        mesh = _secured(server.address, TlsParams(validation=None))

        response = colour.run(mesh, _get)

        assert response.status_code == 503
        assert server.connections == 0
        assert mesh.host.state.active_connections == 0


@every_colour
def test_a_new_generation_retires_idle_connections(colour: Colour) -> None:
    with serving(forever(OK), server_context(_CA)) as server:
        mesh = _secured(server.address)

        async def test(client: AnyClient) -> None:
            await client.get(_URL)
            mesh.sync_upstream.tls.generation += 1  # type: ignore[misc]
            await client.get(_URL)
            await client.get(_URL)

        colour.run(mesh, test)
        assert server.connections == 2


@every_colour
def test_a_connection_ends_before_its_certificate(colour: Colour) -> None:
    clock = HandClock()
    with serving(forever(OK), server_context(_CA)) as server:
        tls = MeshTls(_CA.context("shop/client", ttl=600.0))
        mesh = OneCluster(server.address, tls=tls, socket=SOCKET, clock=clock)

        async def test(client: AnyClient) -> list[int]:
            counts: list[int] = []
            for ahead in (0.0, 590.0, 599.5):
                clock.ahead = ahead
                await client.get(_URL)
                counts.append(server.connections)
            return counts

        assert colour.run(mesh, test) == [1, 1, 2]


# -- raw connections ------------------------------------------------------------------------------------


def _web_context(tmp: object) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """An ordinary web server's context, and the application's that trusts it."""
    from tests.upstream.web import web_contexts

    return web_contexts(f"{tmp}")


@every_colour
def test_https_is_the_applications_own_tls_over_a_raw_connection(
    colour: Colour, tmp_path: object
) -> None:
    server_side, client_side = _web_context(tmp_path)
    with serving(forever(OK), server_side) as server:
        mesh = OneCluster(server.address, flow=tcp_flow)

        async def test(client: AnyClient) -> list[bytes]:
            return [(await client.get("https://shop.example/")).content for _ in range(2)]

        assert colour.run(mesh, test, verify=client_side) == [b"hi", b"hi"]
        assert server.connections == 1, "kept for the next request to that host"
        with pytest.raises(httpx.ConnectError, match="ostname"):
            colour.run(
                mesh, lambda client: client.get("https://other.example/"), verify=client_side
            )


@every_colour
def test_the_applications_tls_goes_inside_the_meshs(colour: Colour, tmp_path: object) -> None:
    server_side, client_side = _web_context(tmp_path)
    outer = server_context(_CA)

    def script(served: Served) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        inner = server_side.wrap_bio(incoming, outgoing, server_side=True)

        def step(action: Callable[[], object]) -> object:
            while True:
                try:
                    found = action()
                    break
                except ssl.SSLWantReadError:
                    if outgoing.pending:
                        served.send(outgoing.read())
                    data = served.recv()
                    if not data:
                        return None
                    incoming.write(data)
            if outgoing.pending:
                served.send(outgoing.read())
            return found

        step(inner.do_handshake)
        while step(lambda: inner.read(65536)):
            step(lambda: inner.write(OK))

    with serving(script, outer) as server:
        mesh = _secured(server.address)
        mesh.flow = tcp_flow

        async def test(client: AnyClient) -> list[bytes]:
            return [(await client.get("https://shop.example/")).content for _ in range(2)]

        assert colour.run(mesh, test, verify=client_side) == [b"hi", b"hi"]


@every_colour
def test_a_refused_raw_connection_is_an_exception_always(colour: Colour) -> None:
    with pytest.raises(httpx.ConnectError, match="refused"):
        colour.run(OneCluster(_NOBODY, flow=tcp_flow), _get)


@every_colour
def test_a_raw_connection_switches_protocols_for_the_application(colour: Colour) -> None:
    def script(served: Served) -> None:
        assert b"Upgrade: echo" in served.head()
        served.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
        served.send(served.recv())

    with serving(script) as server:
        mesh = OneCluster(server.address, flow=tcp_flow)
        headers = {"Connection": "Upgrade", "Upgrade": "echo"}

        async def test(client: AnyClient) -> bytes:
            async with client.stream("GET", _URL, headers=headers) as body:
                assert body.response.status_code == 101
                stream = body.response.extensions["network_stream"]
                if colour.name == "sync":
                    stream.write(b"you", 5.0)
                    found = b""
                    while len(found) < 9:
                        found += stream.read(100, 5.0)
                    return found
                await stream.write(b"you", 5.0)
                found = b""
                while len(found) < 9:
                    found += await stream.read(100, 5.0)
                return found

        assert colour.run(mesh, test) == b"hello you"


@every_colour
def test_a_connection_manager_takes_no_101_that_nobody_asked_for(colour: Colour) -> None:
    switch = b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    with serving(answering(switch)) as server:
        response = colour.run(OneCluster(server.address), _get)

    assert response.extensions["meshsdk"]["flags"] == ("UPE",)


# -- the library's own seams ------------------------------------------------------------------------------


def test_the_target_is_the_socket_that_the_application_would_have_dialled() -> None:
    seen: list[tuple[Request, Target]] = []

    class Watching(OneCluster):
        def outbound(self, request: Request, target: Target, **more: object) -> Flow[None]:
            seen.append((request, target))
            return super().outbound(request, target, **more)  # type: ignore[arg-type]

    def flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
        yield Deliver(Response(204))

    with httpx.Client(transport=MeshTransport(Watching(_NOBODY, flow=flow))) as client:
        client.get("http://shop/a%20b?c=d#e", headers={"Host": "other:81"})
        client.get("https://shop.example:8443/", extensions={"sni_hostname": "inner"})
        client.get("http://[::1]:81/")

    requests, targets = zip(*seen)
    assert targets == (
        Target("shop", 80),
        Target("shop.example", 8443, tls=True, server_name="inner"),
        Target("::1", 81),
    )
    assert (requests[0].authority, requests[0].path) == ("other:81", "/a%20b?c=d")
    assert (requests[1].scheme, requests[2].authority) == ("https", "[::1]:81")
    assert "host" not in requests[0].headers
    assert not requests[0].has_body


def test_httpx2_has_the_same_transports() -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address)
        with httpx2.Client(transport=for_httpx2.MeshTransport(mesh)) as client:
            response = client.get(_URL)

        async def main() -> httpx2.Response:
            transport = for_httpx2.AsyncMeshTransport(mesh)
            async with httpx2.AsyncClient(transport=transport) as client:
                return await client.get(_URL)

        assert (response.text, anyio.run(main).text) == ("hi", "hi")
    with (
        httpx2.Client(
            transport=for_httpx2.MeshTransport(OneCluster(_NOBODY), local_replies="raise")
        ) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.get(_URL)


def test_closing_one_client_leaves_connections_to_the_others() -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address)
        with httpx.Client(transport=MeshTransport(mesh)) as first:
            first.get(_URL)
            with httpx.Client(transport=MeshTransport(mesh)) as second:
                second.get(_URL)
            first.get(_URL)
        assert (server.connections, mesh.sync_upstream.connections) == (1, 0)


def test_a_transport_that_was_never_used_closes_without_a_mesh() -> None:
    MeshTransport().close()
    anyio.run(AsyncMeshTransport().aclose)
