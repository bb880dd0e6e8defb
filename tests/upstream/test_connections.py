"""Pools, limits, replay and clean-up, in every colour, over real sockets."""

import gc
import threading
from collections.abc import Mapping

import anyio
import httpx
import pytest

from meshsdk.call.address import Address
from meshsdk.call.address_map import AddressMap
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.testing.ca import FakeCa
from tests.upstream.colours import AnyClient, Colour, awaiting, every_colour
from tests.upstream.mtls import SOCKET, MeshTls
from tests.upstream.one_cluster import HandClock, OneCluster
from tests.upstream.raw_server import OK, Served, answering, forever, serving

_URL = "http://shop:8080/"
_CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
_UNAVAILABLE = b"HTTP/1.1 503 S\r\nContent-Length: 4\r\n\r\nbusy"


def _http(**options: object) -> Mapping[str, object]:
    """A cluster with these common_http_protocol_options."""
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": options,
                "explicit_http_config": {"http_protocol_options": {}},
            }
        }
    }


def _open(mesh: OneCluster) -> int:
    """Connections that the mesh's live state counts."""
    return mesh.host.state.active_connections


def _silent(served: Served) -> None:
    served.wait_until_gone()


async def _get(client: AnyClient, times: int = 1) -> list[httpx.Response]:
    return [await client.get(_URL) for _ in range(times)]


# -- reuse --------------------------------------------------------------------------------------


@every_colour
def test_a_connection_serves_one_request_after_the_other(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            await _get(client, 5)
            assert _open(mesh) == 1

        colour.run(mesh, test)

        assert server.connections == 1
        assert _open(mesh) == 0, "closing the client closed the idle connection"
        assert mesh.plan.breakers.default.connections == 0


@every_colour
def test_calls_at_once_take_a_connection_each_and_leave_them_to_the_next(colour: Colour) -> None:
    barrier = threading.Barrier(3, timeout=10)

    def script(served: Served) -> None:
        first = True
        while served.head():
            if first and served.number < 3:
                barrier.wait()  # three requests must be here before any is answered
            first = False
            served.send(OK)

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            await colour.together(*[lambda: client.get(_URL)] * 3)
            await _get(client, 3)

        colour.run(mesh, test)

        assert server.connections == 3
        assert len(server.heads) == 6


@every_colour
def test_a_connection_that_the_server_closed_is_not_used_again(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        served.send(OK)
        served.socket.close()
        served.server.gone.set()

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> list[int]:
            statuses: list[int] = []
            for _ in range(3):
                server.gone.clear()
                statuses.append((await client.request("POST", _URL, content=b"x")).status_code)
                await colour.wait(server.gone)
            return statuses

        assert colour.run(mesh, test) == [200, 200, 200]
        assert server.connections == 3


@every_colour
def test_octets_that_nobody_asked_for_close_an_idle_connection(colour: Colour) -> None:
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

    def script(served: Served) -> None:
        served.head()
        served.send(OK)
        served.server.gone.wait(10)
        served.send(evil)
        served.server.gone.clear()
        if served.head():
            served.send(OK)

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> bytes:
            await client.get(_URL)
            server.gone.set()
            while server.gone.is_set():
                await _pause(colour)
            await _pause(colour)
            server.gone.set()
            return (await client.get(_URL)).content

        assert colour.run(mesh, test) == b"hi"


async def _pause(colour: Colour) -> None:
    """Let the network and the loop move."""
    if colour.name == "sync":
        threading.Event().wait(0.02)
    else:
        await anyio.sleep(0.02)


# -- limits -------------------------------------------------------------------------------------


@every_colour
def test_a_connection_ends_after_its_number_of_requests(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address, _http(max_requests_per_connection=2))

        colour.run(mesh, lambda client: _get(client, 5))

        assert server.connections == 3


@every_colour
@pytest.mark.parametrize(
    ("options", "moves", "connections"),
    [
        ({"max_connection_duration": "10s"}, (0, 9, 9.9, 10.1), [1, 1, 1, 2]),
        ({"idle_timeout": "10s"}, (0, 9, 18, 28.1), [1, 1, 1, 2]),
        ({}, (0, 3599, 7198, 10799), [1, 1, 1, 2]),  # idle for an hour: Envoy's default
        ({"idle_timeout": "0s"}, (0, 3601, 7300, 99999), [1, 1, 1, 1]),
    ],
)
def test_a_connection_ends_after_its_duration_and_when_it_was_idle_too_long(
    colour: Colour,
    options: Mapping[str, object],
    moves: tuple[float, ...],
    connections: list[int],
) -> None:
    clock = HandClock()
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address, _http(**options), clock=clock)

        async def test(client: AnyClient) -> list[int]:
            counts: list[int] = []
            for clock.ahead in moves:
                await client.get(_URL)
                counts.append(server.connections)
            return counts

        assert colour.run(mesh, test) == connections


def test_a_handshake_that_comes_octet_by_octet_ends_in_time() -> None:
    """For a thread too, which waits for each octet anew."""
    clock = HandClock()

    def script(served: Served) -> None:
        served.recv()
        clock.ahead = 100.0
        served.send(b"\x16")

    with serving(script) as server:
        tls = MeshTls(FakeCa().context("shop/client"))
        mesh = OneCluster(server.address, clock=clock, tls=tls, socket=SOCKET)
        with (
            httpx.Client(transport=MeshTransport(mesh)) as client,
            pytest.raises(httpx.ConnectTimeout),
        ):
            client.get(_URL)


@awaiting
def test_an_idle_connection_is_closed_by_a_timer(colour: Colour) -> None:
    if colour.name == "trio":
        pytest.skip("trio's pools close what is idle at their next use")

    def script(served: Served) -> None:
        while served.head():
            served.send(OK)
        served.server.gone.set()

    with serving(script) as server:
        mesh = OneCluster(server.address, _http(idle_timeout="0.01s"))

        async def test(client: AnyClient) -> None:
            await client.get(_URL)
            assert await colour.wait(server.gone)
            assert _open(mesh) == 0

        colour.run(mesh, test)


def _breakers(**thresholds: int) -> Mapping[str, object]:
    return {"circuit_breakers": {"thresholds": [thresholds]}}


@every_colour
def test_at_the_limit_of_connections_calls_wait_for_one(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address, _breakers(max_connections=1))
        seen: list[int] = []

        async def test(client: AnyClient) -> None:
            async def call() -> None:
                seen.append((await client.get(_URL)).status_code)

            await colour.together(*[call] * 6)

        colour.run(mesh, test)

        assert seen == [200] * 6
        assert server.connections == 1
        assert mesh.plan.breakers.default.pending == 0


@every_colour
def test_a_waiting_call_opens_its_own_connection_when_the_other_one_breaks(
    colour: Colour,
) -> None:
    def script(served: Served) -> None:
        served.head()
        if served.number:
            served.send(OK)
            served.head()
        else:
            served.server.gone.wait(10)  # until the second call waits
            served.send(_CUT)

    with serving(script) as server:
        mesh = OneCluster(server.address, _breakers(max_connections=1))
        seen: list[object] = []

        async def test(client: AnyClient) -> None:
            async def first() -> None:
                try:
                    await client.get(_URL)
                except httpx.RemoteProtocolError:
                    seen.append("cut")

            async def second() -> None:
                while not server.heads:
                    await _pause(colour)
                seen.append((await client.get(_URL)).status_code)

            async def release() -> None:
                while not mesh.plan.breakers.default.pending or not server.heads:
                    await _pause(colour)
                server.gone.set()

            await colour.together(first, second, release)

        colour.run(mesh, test)

        assert seen == ["cut", 200]


@every_colour
def test_at_the_limit_of_waiting_calls_the_next_overflows(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address, _breakers(max_pending_requests=0))

        [response] = colour.run(mesh, _get)

        assert response.status_code == 503
        assert response.text.endswith("reset reason: overflow")
        assert server.connections == 0


@pytest.mark.slow
@every_colour
def test_a_wait_for_a_connection_ends_at_the_callers_pool_timeout(colour: Colour) -> None:
    with serving(_silent) as server:
        mesh = OneCluster(server.address, _breakers(max_connections=1))

        async def test(client: AnyClient) -> None:
            async def hold() -> None:
                with pytest.raises(httpx.ReadTimeout):
                    await client.get(_URL, timeout=httpx.Timeout(5.0, read=0.3))

            async def wait() -> None:
                while not _open(mesh):
                    await _pause(colour)
                with pytest.raises(httpx.PoolTimeout):
                    await client.get(_URL, timeout=httpx.Timeout(5.0, pool=0.02))

            await colour.together(hold, wait)

        colour.run(mesh, test)
        assert (_open(mesh), mesh.plan.breakers.default.pending) == (0, 0)


# -- replay -------------------------------------------------------------------------------------


def _dies_at_the_second_request(served: Served) -> None:
    """The first connection takes a second request and dies without a word: the classic race."""
    served.head()
    served.send(OK)
    if served.head() and served.number:
        served.send(OK)


@every_colour
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_an_idempotent_request_survives_the_death_of_a_reused_connection(
    colour: Colour, method: str
) -> None:
    with serving(_dies_at_the_second_request) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> int:
            await client.get(_URL)
            return (await client.request(method, _URL)).status_code

        assert colour.run(mesh, test) == 200
        assert [end.reset for end in mesh.ends] == [None, None]
        assert server.connections == 2


@every_colour
def test_a_post_is_not_sent_twice(colour: Colour) -> None:
    with serving(_dies_at_the_second_request) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> httpx.Response:
            await client.get(_URL)
            return await client.request("POST", _URL, content=b"pay")

        response = colour.run(mesh, test)

        assert response.status_code == 503
        assert response.extensions["meshsdk"]["flags"] == ("UC",)
        assert sum(head.startswith(b"POST") for head in server.heads) == 1


@every_colour
def test_a_fresh_connection_that_dies_is_for_the_retry_policy(colour: Colour) -> None:
    with serving(answering(close=True)) as server:
        [response] = colour.run(OneCluster(server.address), _get)

        assert response.status_code == 503
        assert server.connections == 1


# -- clean-up -----------------------------------------------------------------------------------


@every_colour
def test_a_body_that_is_not_read_to_its_end_costs_its_connection(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        served.send(_CUT)
        if served.wait_until_gone():
            served.server.gone.set()

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            async with client.stream("GET", _URL) as body:
                async for piece in body.pieces():
                    assert piece == b"half"
                    break
            assert await colour.wait(server.gone)

        colour.run(mesh, test)
        assert (_open(mesh), mesh.flows_closed, mesh.ends) == (0, 1, [])


async def _cancelled_while(client: AnyClient, colour: Colour, ready: threading.Event) -> None:
    async def call() -> None:
        await client.request("POST", _URL, content=client.content(*[b"x" * 65536] * 500))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await colour.wait(ready)
        group.cancel_scope.cancel()


@awaiting
@pytest.mark.parametrize("phase", ["upload", "head", "body"])
def test_cancellation_leaves_no_connection_and_no_flow(colour: Colour, phase: str) -> None:
    ready = threading.Event()

    def script(served: Served) -> None:
        served.head()
        if phase == "upload":
            served.recv()
            ready.set()
            threading.Event().wait(0.1)
        else:
            if phase == "body":
                served.send(_CUT)
            ready.set()
        if served.wait_until_gone():
            served.server.gone.set()

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            await _cancelled_while(client, colour, ready)
            assert await colour.wait(server.gone)

        colour.run(mesh, test)
        assert _open(mesh) == 0
        assert mesh.plan.breakers.default.connections == 0
        assert mesh.flows_closed + len(mesh.ends) == 1 or mesh.flows_closed == 0


@awaiting
def test_cancellation_while_connecting_leaves_no_connection(colour: Colour) -> None:
    # A listener whose queue is full answers no SYN.
    import socket

    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1])
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((address.host, address.port))
        mesh = OneCluster(address)

        async def test(client: AnyClient) -> None:
            with anyio.move_on_after(0.05) as scope:
                await client.get(_URL)
            assert scope.cancelled_caught

        colour.run(mesh, test)
        for filler in fillers:
            filler.close()
        assert (_open(mesh), mesh.plan.breakers.default.pending) == (0, 0)


@awaiting
def test_cancellation_while_waiting_for_a_connection_wakes_the_next_one(colour: Colour) -> None:
    def script(served: Served) -> None:
        while served.head():
            served.server.gone.wait(10)
            served.send(OK)

    with serving(script) as server:
        mesh = OneCluster(server.address, _breakers(max_connections=1))
        breakers = mesh.plan.breakers.default
        seen: list[int] = []

        async def test(client: AnyClient) -> None:
            async def call() -> None:
                seen.append((await client.get(_URL)).status_code)

            async with anyio.create_task_group() as group:
                group.start_soon(call)
                while not server.heads:
                    await _pause(colour)
                with anyio.move_on_after(0.05):
                    await call()
                group.start_soon(call)
                while not breakers.pending:
                    await _pause(colour)
                server.gone.set()

        colour.run(mesh, test)
        assert seen == [200, 200]
        assert breakers.pending == 0


# -- flow control -------------------------------------------------------------------------------


@pytest.mark.slow
@every_colour
def test_a_body_that_nobody_reads_stops_its_sender(colour: Colour) -> None:
    total = 64 << 20
    sent = 0

    def script(served: Served) -> None:
        nonlocal sent
        served.head()
        served.socket.settimeout(0.3)
        served.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        try:
            while sent < total:
                sent += served.socket.send(b"x" * 65536)
        except OSError:
            pass
        served.server.gone.set()

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> None:
            async with client.stream("GET", _URL):
                assert await colour.wait(server.gone)

        colour.run(mesh, test)
        assert sent < total // 2, "kernel buffers and 64 KiB of ours, no more"


@every_colour
def test_a_big_body_arrives_whole_though_it_is_read_slowly(colour: Colour) -> None:
    data = bytes(range(256)) * 20000

    with serving(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
    ) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> bytes:
            found = bytearray()
            async with client.stream("GET", _URL) as body:
                async for piece in body.pieces():
                    found += piece
                    if len(found) < 200000:
                        await _pause(colour)
            return bytes(found)

        assert colour.run(mesh, test) == data
        assert mesh.ends[0].bytes_sent == len(data)


@pytest.mark.slow
@every_colour
def test_an_upload_waits_for_its_receiver(colour: Colour) -> None:
    pulled = 0
    total = 400
    ahead: list[int] = []

    def count() -> None:
        nonlocal pulled
        pulled += 1

    def script(served: Served) -> None:
        served.head()
        threading.Event().wait(0.2)
        ahead.append(pulled)
        served.chunked_body()
        served.send(OK)

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> int:
            content = client.content(*[b"x" * 65536] * total, between=count)
            return (await client.request("POST", _URL, content=content)).status_code

        assert colour.run(mesh, test) == 200
        assert ahead[0] < total // 2
        assert mesh.ends[0].bytes_received == total * 65536


@pytest.mark.slow
@every_colour
def test_an_early_answer_stops_a_big_upload(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        served.recv()
        served.send(b"HTTP/1.1 413 P\r\nContent-Length: 3\r\n\r\nbig")
        served.server.gone.wait(10)  # reads nothing more

    with serving(script) as server:
        mesh = OneCluster(server.address)

        async def test(client: AnyClient) -> list[int]:
            streamed = client.content(*[b"x" * 65536] * 2000)
            return [
                (await client.request("POST", _URL, content=content)).status_code
                for content in (streamed, b"x" * (64 << 20))
            ]

        try:
            statuses = colour.run(mesh, test)
        finally:
            server.gone.set()
        assert statuses == [413, 413]
        assert _open(mesh) == 0, "the rest of the request was never sent"


# -- many threads, many loops ---------------------------------------------------------------------


def test_threads_share_connections_without_mixing_answers() -> None:
    def script(served: Served) -> None:
        while head := served.head():
            path = head.split(b" ", 2)[1]
            served.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    with serving(script) as server:
        mesh = OneCluster(server.address)
        wrong: list[str] = []

        def work(number: int, client: AnyClient) -> None:
            assert client.sync is not None
            for at in range(50):
                path = f"/{number}/{at}"
                if client.sync.get(f"http://shop{path}").text != path:
                    wrong.append(path)

        async def test(client: AnyClient) -> None:
            threads = [threading.Thread(target=work, args=(n, client)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)

        Colour("sync").run(mesh, test)

        assert wrong == []
        assert len(mesh.ends) == 400
        assert server.connections <= 8
        assert _open(mesh) == 0


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_one_transport_serves_one_event_loop_after_the_other(name: str) -> None:
    colour = Colour(name)
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address)

        for _ in range(3):
            [response] = colour.run(mesh, _get)
            assert response.status_code == 200
        gc.collect()

        assert server.connections == 3
        assert mesh.async_upstream.loops == 1, "closed loops are forgotten"


def test_a_forked_child_starts_with_empty_pools() -> None:
    with serving(forever(OK)) as server:
        mesh = OneCluster(server.address)
        upstream = mesh.sync_upstream

        async def test(client: AnyClient) -> None:
            await client.get(_URL)
            assert upstream.idle == 1
            upstream.reset()
            assert upstream.idle == 0
            await client.get(_URL)

        Colour("sync").run(mesh, test)
        assert server.connections == 2


# -- addresses ------------------------------------------------------------------------------------


@every_colour
def test_an_address_map_moves_the_socket_and_nothing_else(colour: Colour) -> None:
    with serving(forever(OK)) as server:
        feed = Address("10.1.2.3", 9080)
        mesh = OneCluster(feed, addresses=AddressMap({feed: server.address}))

        [response] = colour.run(mesh, _get)

        assert response.extensions["meshsdk"]["endpoint"] == "10.1.2.3:9080"


@every_colour
def test_a_unix_socket_is_an_address_too(colour: Colour, tmp_path: object) -> None:
    import socket

    path = f"{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(OK)
                sock.recv(65536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        [response] = colour.run(OneCluster(Address(path, 0)), _get)
        thread.join(10)

    assert response.content == b"hi"
