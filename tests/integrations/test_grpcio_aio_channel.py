"""`AioMeshChannel` over real sockets: what `MeshChannel` does, awaited."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from meshsdk.integrations.grpcio import AioMeshChannel, aio_channel
from meshsdk.integrations.grpcio.api import EOF
from meshsdk.mesh import Mesh
from tests.integrations.grpc_service import SS, SU, US, UU, Service, serving
from tests.integrations.test_grpcio_channel import ADDED, HEDGED, PLAIN, RETRY, SlowAtFirst
from tests.integrations.traffic import in_flight, mesh_of


@asynccontextmanager
async def meshed(route: str, *services: Service, dead: int = 0) -> AsyncGenerator[tuple[Any, Mesh]]:
    with ExitStack() as stack:
        ports = [stack.enter_context(serving(service)) for service in services]
        mesh = stack.enter_context(mesh_of(route, *ports, *([1] * dead)))
        async with aio_channel("reviews:80", mesh) as found:
            yield found, mesh
            for service in services:
                service.released.set()
            assert await eventually(lambda: in_flight(mesh) == 0)


async def eventually(is_so: Callable[[], bool]) -> bool:
    for _ in range(2000):
        if is_so():
            return True
        await asyncio.sleep(0.005)
    return False


async def uu(c: Any, word: bytes, **options: Any) -> object:
    return await c.unary_unary(UU)(word, **options)


async def us(c: Any, word: bytes, **options: Any) -> object:
    return b",".join([each async for each in c.unary_stream(US)(word, **options)])


async def us_read(c: Any, word: bytes, **options: Any) -> object:
    call = c.unary_stream(US)(word, **options)
    found: list[bytes] = []
    while (message := await call.read()) is not EOF:
        found.append(message)
    return b",".join(found)


async def su(c: Any, word: bytes, **options: Any) -> object:
    return await c.stream_unary(SU)(_each(word), **options)


async def su_write(c: Any, word: bytes, **options: Any) -> object:
    call = c.stream_unary(SU)(**options)
    await call.write(word)
    await call.done_writing()
    return await call


async def ss(c: Any, word: bytes, **options: Any) -> object:
    return b",".join([each async for each in c.stream_stream(SS)(iter([word]), **options)])


async def ss_write(c: Any, word: bytes, **options: Any) -> object:
    call = c.stream_stream(SS)(**options)
    await call.write(word)
    await call.done_writing()
    return b",".join([each async for each in call])


async def _each(*words: bytes) -> AsyncIterator[bytes]:
    for word in words:
        yield word


Call = Callable[..., Awaitable[object]]
ALL = pytest.mark.parametrize("call", [uu, us, us_read, su, su_write, ss, ss_write])


async def failed(waited: Awaitable[object]) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await waited
    return raised.value


def run(what: Awaitable[None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(20):
            await what

    asyncio.run(main())


@ALL
def test_a_failed_attempt_is_made_again(call: Call) -> None:
    service = Service(fail=2)

    async def main() -> None:
        async with meshed(RETRY, service) as (c, _):
            assert await call(c, b"hello") == b"hello"

    run(main())
    assert service.calls == 3


# Not of streamed requests: grpc.aio loses the status where a write finds that the stream has ended.
@pytest.mark.parametrize("call", [uu, us, us_read])
def test_what_the_last_attempt_says_is_what_the_application_gets(call: Call) -> None:
    service = Service(fail=9)

    async def main() -> None:
        async with meshed(RETRY, service) as (c, _):
            error = await failed(call(c, b"hello"))
            assert (error.code(), error.details()) == (
                grpc.StatusCode.UNAVAILABLE,
                "a is not ready",
            )
            assert list(error.trailing_metadata()) == [("x-from", "a")]

    run(main())
    assert service.calls == 3


@ALL
def test_nobody_listens(call: Call) -> None:
    async def main() -> None:
        async with meshed(PLAIN, dead=1) as (c, _):
            error = await failed(call(c, b"x"))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            assert error.details().startswith("upstream connect error or disconnect")

    run(main())


@ALL
def test_the_applications_timeout_ends_the_call(call: Call) -> None:
    service = Service()

    async def main() -> None:
        async with meshed(RETRY, service) as (c, _):
            error = await failed(call(c, b"sleep 5", timeout=0.1))
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert error.details() == "Deadline Exceeded"

    run(main())
    assert service.calls <= 1


@ALL
def test_a_slow_try_is_given_up_for_the_next(call: Call) -> None:
    service, slow = Service(), threading.Event()
    act = service.act

    def first_is_slow(word: bytes, context: Any) -> bytes:
        if not slow.is_set():
            slow.set()
            service.released.wait(5)
        return act(word, context)

    service.act = first_is_slow  # type: ignore[method-assign]
    route = (
        "{cluster: c, timeout: 10s, retry_policy: {retry_on: '5xx,reset,deadline-exceeded',"
        " num_retries: 1, per_try_timeout: 0.5s}}"
    )

    async def main() -> None:
        async with meshed(route, service) as (c, _):
            assert await call(c, b"x") == b"x"

    run(main())
    assert service.calls == 2


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_the_mesh_may_change_what_is_sent_and_what_comes_back(kind: str) -> None:
    service = Service()

    async def main() -> None:
        async with meshed(ADDED, service) as (c, _):
            method = c.unary_unary(UU) if kind == "unary" else c.unary_stream(US)
            call = method(b"initial", metadata=(("q-in", "1"),))
            found = dict(iter(await call.initial_metadata()))  # as grpcio 1.60 can be read
            assert (found["x-early"], found["x-early-bin"], found["x-back"]) == (
                "1",
                b"\xff",
                "yes",
            )
            assert await call.code() is grpc.StatusCode.OK if kind == "unary" else True
            if kind == "stream":
                assert [each async for each in call] == [b"initial"]

    run(main())
    assert service.metadata[0]["x-added"] == "1"


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_a_cancelled_call_lets_go_of_its_host(kind: str) -> None:
    service = Service()

    async def main() -> None:
        async with meshed(PLAIN, service) as (c, mesh):
            call = (c.unary_unary(UU) if kind == "unary" else c.unary_stream(US))(b"sleep 5")
            assert await eventually(lambda: service.calls == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await (call if kind == "unary" else call.read())
            assert call.cancelled()
            assert await call.code() is grpc.StatusCode.CANCELLED
            assert await eventually(lambda: in_flight(mesh) == 0)

    run(main())


@pytest.mark.parametrize("path", [SU, SS])
def test_a_cancelled_call_ends_the_applications_iterator(path: str) -> None:
    waits, ended = asyncio.Event(), asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            waits.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def main() -> None:
        async with meshed(PLAIN, Service()) as (c, _), asyncio.timeout(20):
            call = (c.stream_unary if path == SU else c.stream_stream)(path)(requests())
            await waits.wait()
            call.cancel()
            await ended.wait()

    run(main())


def test_closing_gives_grace_and_then_cancels() -> None:
    service = Service()

    async def main() -> None:
        async with meshed(PLAIN, service) as (c, _):
            short, long = c.unary_unary(UU)(b"sleep 0.02"), c.unary_unary(UU)(b"sleep 5")
            assert await eventually(lambda: service.calls == 2)
            await c.close(0.15)
            assert await short == b"sleep 0.02"
            with pytest.raises(asyncio.CancelledError):
                await long
            with pytest.raises(grpc.aio.UsageError):
                c.unary_unary(UU)(b"x")

    run(main())


def test_readiness_is_that_of_the_mesh() -> None:
    async def main() -> None:
        async with meshed(PLAIN, Service()) as (c, _):
            assert isinstance(c, AioMeshChannel)
            await c.channel_ready()
            assert c.get_state() is grpc.ChannelConnectivity.READY

    run(main())


def test_a_slow_try_gets_company_and_is_reset_when_that_wins() -> None:
    service = SlowAtFirst()

    async def main() -> None:
        async with meshed(HEDGED, service) as (c, _):
            assert await uu(c, b"x") == b"second"
            assert await eventually(service.cancelled.is_set)

    run(main())
    assert service.calls == 2
