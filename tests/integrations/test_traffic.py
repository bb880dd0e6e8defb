"""Each feature of traffic over sockets: httpx in four colours, ASGI applications behind uvicorn."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager

import anyio
import httpx
import pytest

from meshsdk.clock import SystemClock
from meshsdk.filters.fault import ActiveFaults
from meshsdk.mesh import Mesh
from tests.integrations.asgi_upstream import LIMIT, Upstream, serving_asgi
from tests.integrations.traffic import endpoints_of, mesh_of
from tests.upstream.colours import AnyClient, Colour, awaiting, every_colour

HOST = "http://reviews"
PREVIOUS = """retry_host_predicate: [{name: p, typed_config: {'@type':
  type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}],
  host_selection_retry_max_attempts: 9, retry_back_off: {base_interval: 0.001s}"""
FAULT = """- {name: f, typed_config: {'@type':
            type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault, SETTINGS}}"""
ALWAYS = "percentage: {numerator: 100}"
BACK = "retry_back_off: {base_interval: 60s, max_interval: 60s}"


@pytest.fixture(scope="module")
def one() -> Generator[Upstream]:
    """An application that all tests may use which do not look at what it saw."""
    with serving_asgi("up") as (upstream,):
        yield upstream


def told(response: httpx.Response) -> tuple[int, tuple[str, ...], int]:
    """Status, flags, attempts."""
    facts = response.extensions["meshsdk"]
    return response.status_code, facts["flags"], facts["attempts"]


def get(path: str) -> Callable[[AnyClient], Awaitable[httpx.Response]]:
    return lambda client: client.get(HOST + path)


# -- timeouts ------------------------------------------------------------------------------


@every_colour
@pytest.mark.parametrize(
    ("route", "status", "flags"),
    [
        ("{cluster: c, timeout: 0.15s}", 504, ("UT",)),
        ("{cluster: c, idle_timeout: 0.15s, timeout: 0s}", 504, ("SI",)),
        ("{cluster: c, max_stream_duration: {max_stream_duration: 0.15s}}", 408, ()),
        ("{cluster: c, retry_policy: {retry_on: reset, num_retries: 1, per_try_timeout: 0.15s,"
         " retry_back_off: {base_interval: 0.001s}}}", 504, ("URX", "UT")),
        ("{cluster: c, retry_policy: {retry_on: connect-failure, per_try_idle_timeout: 0.15s}}",
         504, ("UT",)),
    ],
    ids=["route", "idle", "duration", "per-try", "per-try-idle"],
)  # fmt: skip
def test_each_timeout_ends_the_call_and_its_request(
    colour: Colour, one: Upstream, route: str, status: int, flags: tuple[str, ...]
) -> None:
    before = len(one.paths)
    with mesh_of(route, one.port) as mesh:
        response = colour.run(mesh, get("/hang"))

    for _ in one.paths[before:]:  # on a slow machine the time is over before the request is there
        assert one.gone.acquire(timeout=LIMIT)
    assert told(response)[:2] == (status, flags)


@every_colour
def test_the_routes_timeout_cuts_a_body_that_never_ends(colour: Colour, one: Upstream) -> None:
    with (
        mesh_of("{cluster: c, timeout: 0.1s}", one.port) as mesh,
        pytest.raises(httpx.ReadTimeout),
    ):
        colour.run(mesh, get("/drip"))

    assert one.gone.acquire(timeout=LIMIT)


# -- retries -------------------------------------------------------------------------------


@every_colour
def test_a_retry_goes_to_another_host(colour: Colour, one: Upstream) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        dead = int(taken.getsockname()[1])
    route = (
        f"{{cluster: c, retry_policy: {{retry_on: connect-failure, num_retries: 3, {PREVIOUS}}}}}"
    )

    async def several(client: AnyClient) -> list[httpx.Response]:
        return [await client.get(HOST + "/ok") for _ in range(4)]

    with mesh_of(route, dead, one.port) as mesh:
        found = colour.run(mesh, several)

    assert {(r.status_code, r.text) for r in found} == {(200, "up")}
    assert 2 in {r.extensions["meshsdk"]["attempts"] for r in found}


@every_colour
def test_a_try_out_of_its_time_is_repeated_elsewhere(colour: Colour) -> None:
    route = f"""{{cluster: c, timeout: 5s, prefix_rewrite: /ok,
      retry_policy: {{retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s, {PREVIOUS}}}}}"""
    with serving_asgi("good") as (good,), closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        silent = int(deaf.getsockname()[1])

        async def twice(client: AnyClient) -> list[httpx.Response]:
            return [await client.get(HOST + "/") for _ in range(2)]

        with mesh_of(route, silent, good.port) as mesh:
            found = colour.run(mesh, twice)

    assert {r.text for r in found} == {"good"}
    assert 2 in {r.extensions["meshsdk"]["attempts"] for r in found}


@every_colour
def test_each_attempt_carries_the_whole_body_of_a_stream(colour: Colour) -> None:
    route = "{cluster: c, retry_policy: {retry_on: 5xx, num_retries: 1}}"
    with serving_asgi("up") as (upstream,), mesh_of(route, upstream.port) as mesh:

        async def post(client: AnyClient) -> httpx.Response:
            content = client.content(b"one ", b"two")
            return await client.request("POST", HOST + "/busy", content=content)

        response = colour.run(mesh, post)

        assert told(response) == (503, ("URX",), 2)
        assert upstream.bodies == [b"one two"] * 2


# -- mirrors, faults, redirects --------------------------------------------------------------


@every_colour
@pytest.mark.parametrize("streamed", [False, True])
def test_a_mirror_gets_the_request_and_its_body(colour: Colour, streamed: bool) -> None:
    route = "{cluster: c, request_mirror_policies: [{cluster: shadow}]}"
    with serving_asgi("up", "shadow") as (upstream, shadow):

        async def post(client: AnyClient) -> str:
            content = client.content(b"a", b"b") if streamed else b"ab"
            response = await client.request("POST", HOST + "/ok", content=content)
            assert await colour.wait(_acquired(shadow.reached))
            return response.text

        more = endpoints_of("shadow", shadow.port)
        with mesh_of(route, upstream.port, more=more) as mesh:
            text = colour.run(mesh, post)
            _until(lambda: shadow.bodies)

    assert (text, upstream.bodies, shadow.bodies) == ("up", [b"ab"], [b"ab"])
    assert shadow.headers[0][b"host"] == b"reviews-shadow"


@every_colour
def test_a_mirror_gets_a_stream_of_any_length(colour: Colour) -> None:
    pieces = [bytes([i]) * 65_536 for i in range(40)]
    route = "{cluster: c, request_mirror_policies: [{cluster: shadow}]}"
    with serving_asgi("up", "shadow") as (upstream, shadow):

        async def post(client: AnyClient) -> int:
            content = client.content(*pieces)
            status = (await client.request("POST", HOST + "/ok", content=content)).status_code
            if colour.name != "sync":  # a shadow ends with its loop
                assert await anyio.to_thread.run_sync(_waited_for, lambda: bool(shadow.bodies))
            return status

        more = endpoints_of("shadow", shadow.port)
        with mesh_of(route, upstream.port, more=more) as mesh:
            assert colour.run(mesh, post) == 200
            _until(lambda: shadow.bodies)

    assert upstream.bodies == shadow.bodies == [b"".join(pieces)]


@every_colour
def test_a_mirror_ends_with_a_body_that_breaks_off(colour: Colour) -> None:
    route = "{cluster: c, request_mirror_policies: [{cluster: shadow}]}"
    with serving_asgi("up", "shadow") as (upstream, shadow):

        def gives_up() -> None:
            assert shadow.reached.acquire(timeout=LIMIT)
            raise RuntimeError("no more")

        async def post(client: AnyClient) -> None:
            content = client.content(b"a", b"b", between=gives_up)
            with pytest.raises(RuntimeError, match="no more"):
                await client.request("POST", HOST + "/echo", content=content)

        more = endpoints_of("shadow", shadow.port)
        with mesh_of(route, upstream.port, more=more) as mesh:
            if colour.name in ("sync", "trio"):
                colour.run(mesh, post)
                assert shadow.gone.acquire(timeout=LIMIT)


@every_colour
def test_a_mirror_that_hangs_holds_up_nothing(colour: Colour, one: Upstream) -> None:
    route = "{cluster: c, timeout: 1s, request_mirror_policies: [{cluster: shadow}]}"
    with closing(socket.create_server(("127.0.0.1", 0))) as deaf:
        more = endpoints_of("shadow", deaf.getsockname()[1])
        with mesh_of(route, one.port, more=more) as mesh:
            assert told(colour.run(mesh, get("/ok"))) == (200, (), 1)


@every_colour
def test_faults_delay_and_abort(colour: Colour, one: Upstream) -> None:
    faults = _fault(
        f"delay: {{fixed_delay: 0.05s, {ALWAYS}}}, abort: {{http_status: 418, {ALWAYS}}}"
    )
    before = len(one.paths)
    with mesh_of("{cluster: c}", one.port, filters=faults) as mesh:
        response = colour.run(mesh, get("/ok"))

    assert told(response) == (418, ("DI", "FI"), 0)
    assert response.text == "fault filter abort"
    assert len(one.paths) == before


@every_colour
def test_a_fault_slows_a_body_down(colour: Colour) -> None:
    limit = _fault(f"response_rate_limit: {{fixed_limit: {{limit_kbps: 64}}, {ALWAYS}}}")
    sent = b"x" * 12_000  # the first 50 ms' worth at once, then each 50 ms

    async def fetch(client: AnyClient) -> tuple[list[int], list[float]]:
        started, sizes, times = SystemClock.monotonic(), list[int](), list[float]()
        content = client.content(sent)
        async with client.stream("POST", HOST + "/echo", content=content) as body:
            async for piece in body.pieces():
                sizes.append(len(piece))
                times.append(SystemClock.monotonic() - started)
        return sizes, times

    with (
        serving_asgi("up") as (upstream,),
        mesh_of("{cluster: c}", upstream.port, filters=limit) as mesh,
    ):
        sizes, times = colour.run(mesh, fetch)
        assert _faults(mesh) == 0

    assert sum(sizes) == len(sent)
    assert 3276 <= sizes[0] <= 3277 + 65_536 * times[0]
    assert (len(sent) - 3277) / 65_536 <= times[-1] < 5.0


@every_colour
def test_a_redirect_is_for_the_client_to_follow(colour: Colour, one: Upstream) -> None:
    redirect = (
        "{match: {prefix: /old}, redirect: {prefix_rewrite: /ok, host_redirect: reviews.new}}"
    )

    async def follow(client: AnyClient) -> list[tuple[int, str]]:
        response = await client.get(HOST + "/old?a=1", follow_redirects=True)
        return [(r.status_code, str(r.url)) for r in (*response.history, response)]

    with mesh_of("{cluster: c}", one.port, first=redirect) as mesh:
        steps = colour.run(mesh, follow)

    assert steps == [(301, f"{HOST}/old?a=1"), (200, "http://reviews.new/ok?a=1")]


# -- streams -------------------------------------------------------------------------------


@every_colour
def test_a_body_streams_both_ways_at_once(colour: Colour, one: Upstream) -> None:
    pieces = [b"x" * 70_000, b"y" * 70_000, b"z" * 3]
    got: list[bytes] = []

    async def echo(client: AnyClient) -> None:
        content = client.content(*pieces)
        async with client.stream("POST", HOST + "/echo", content=content) as body:
            got.extend([piece async for piece in body.pieces()])

    with mesh_of("{cluster: c}", one.port) as mesh:
        colour.run(mesh, echo)

    assert b"".join(got) == b"".join(pieces)


@every_colour
def test_a_body_beyond_the_replay_bound_is_sent_once(colour: Colour) -> None:
    route = "{cluster: c, retry_policy: {retry_on: 5xx, num_retries: 3}}"
    with serving_asgi("up") as (upstream,), mesh_of(route, upstream.port) as mesh:

        async def post(client: AnyClient) -> httpx.Response:
            content = client.content(*[b"x" * 65_536] * 20)
            return await client.request("POST", HOST + "/busy", content=content)

        response = colour.run(mesh, post)

        assert told(response) == (503, (), 1)
        assert [len(body) for body in upstream.bodies] == [20 * 65_536]


# -- cancellation --------------------------------------------------------------------------


async def _left(mesh: Mesh) -> tuple[int, int]:
    """Connections in use, and tasks beside this one."""
    pools = mesh.async_upstream.here()
    try:
        tasks = len(asyncio.all_tasks()) - 1
    except RuntimeError:
        tasks = 0
    return pools.connections - pools.idle, tasks


def _cancel(
    colour: Colour, mesh: Mesh, path: str, ready: Callable[[], bool], content: bool = False
) -> tuple[int, int]:
    """Cancel a call once `ready` says so; what is left of it."""

    async def work(client: AnyClient) -> tuple[int, int]:
        async def call() -> None:
            body = client.content(*[b"x" * 65_536] * 500) if content else None
            await client.request("POST", HOST + path, content=body)

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            assert await anyio.to_thread.run_sync(_waited_for, ready)
            group.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()
        return await _left(mesh)

    return colour.run(mesh, work)


@awaiting
@pytest.mark.parametrize(
    ("path", "content"), [("/hang", False), ("/hang", True), ("/drip", False)],
    ids=["head", "upload", "body"],
)  # fmt: skip
def test_a_cancelled_exchange_leaves_nothing(
    colour: Colour, one: Upstream, path: str, content: bool
) -> None:
    with mesh_of("{cluster: c, timeout: 0s}", one.port) as mesh:
        before = len(one.paths)
        left = _cancel(colour, mesh, path, lambda: len(one.paths) > before, content)

    assert left == (0, 0)
    assert one.gone.acquire(timeout=LIMIT)


@awaiting
@pytest.mark.parametrize("phase", ["delay", "backoff", "connect", "queue"])
def test_a_cancelled_wait_leaves_nothing(colour: Colour, one: Upstream, phase: str) -> None:
    delay = _fault(f"delay: {{fixed_delay: 60s, {ALWAYS}}}") if phase == "delay" else ""
    retry = f"{{cluster: c, timeout: 0s, retry_policy: {{retry_on: 5xx, num_retries: 1, {BACK}}}}}"
    limit = "circuit_breakers: {thresholds: [{max_connections: 1}]}" if phase == "queue" else ""
    with _full_queue() as full:
        port = full if phase == "connect" else one.port
        with mesh_of(retry, port, filters=delay, more=limit) as mesh:

            def ready() -> bool:
                if phase == "delay":
                    return _faults(mesh) == 1
                known = mesh.live.clusters.get("c")
                if phase == "backoff":
                    return known is not None and known.breakers.default.retries == 1
                return known is not None and known.breakers.default.pending == 1

            if phase == "queue":
                left = _cancel_second(colour, mesh, ready)
                assert one.gone.acquire(timeout=LIMIT)
            else:
                left = _cancel(colour, mesh, "/busy", ready)

    assert left == (0, 0)


def _cancel_second(colour: Colour, mesh: Mesh, ready: Callable[[], bool]) -> tuple[int, int]:
    """One call has the only connection, the other waits for it; both are cancelled."""

    async def work(client: AnyClient) -> tuple[int, int]:
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(client.get, HOST + "/hang")
            assert await anyio.to_thread.run_sync(_waited_for, ready)
            group.cancel_scope.cancel()
        await anyio.lowlevel.checkpoint()
        return await _left(mesh)

    return colour.run(mesh, work)


def test_blocking_calls_leave_no_thread(one: Upstream) -> None:
    before = threading.active_count()

    async def several(client: AnyClient) -> list[int]:
        return [(await client.get(HOST + path)).status_code for path in ("/ok", "/busy", "/hang")]

    with mesh_of("{cluster: c, timeout: 0.1s}", one.port) as mesh:
        assert Colour("sync").run(mesh, several) == [200, 503, 504]
        assert mesh.sync_upstream.connections == 0

    assert one.gone.acquire(timeout=LIMIT)
    assert threading.active_count() == before


# -- arranging -----------------------------------------------------------------------------


def _fault(settings: str) -> str:
    """A fault filter, for `filters`."""
    return FAULT.replace("SETTINGS", settings)


def _faults(mesh: Mesh) -> int:
    return mesh.extensions.filter_states.keep(ActiveFaults, "out", ActiveFaults).count


def _acquired(semaphore: threading.Semaphore) -> threading.Event:
    """An event that is set when the semaphore could be taken."""
    event = threading.Event()

    def wait() -> None:
        if semaphore.acquire(timeout=LIMIT):
            event.set()

    threading.Thread(target=wait).start()
    return event


def _waited_for(ready: Callable[[], bool]) -> bool:
    pause = threading.Event()
    return any(ready() or pause.wait(0.005) for _ in range(2000))


def _until(ready: Callable[[], object]) -> None:
    assert _waited_for(lambda: bool(ready()))


@contextmanager
def _full_queue() -> Generator[int]:
    """The port of a listener whose queue is full: it answers no SYN."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=0)) as listener:
        port = int(listener.getsockname()[1])
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()
