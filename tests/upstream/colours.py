"""The same test in every colour: blocking, asyncio, uvloop, trio.

A test is a coroutine over `AnyClient`. In the blocking colour nothing in it ever suspends.
"""

import asyncio
import pickle
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import anyio
import httpx
import pytest
import trio
import uvloop

from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.upstream.calls import Membership

T = TypeVar("T")
Work = Callable[[], Coroutine[object, object, T]]
LIMIT = 10.0


def _run_blocking(work: Work[T]) -> T:
    coroutine = work()
    try:
        coroutine.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    raise AssertionError("a blocking test waited")


def _run_uvloop(work: Work[T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work())


def _run_asyncio(work: Work[T]) -> T:
    return asyncio.run(work())


def _run_trio(work: Work[T]) -> T:
    return trio.run(work)


RUN: dict[str, Callable[[Work[object]], object]] = {
    "sync": _run_blocking,
    "asyncio": _run_asyncio,
    "uvloop": _run_uvloop,
    "trio": _run_trio,
}


@dataclass(slots=True)
class Seen:
    """What a caller can see of a call."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    body: bytes = b""
    version: object = None
    reason: object = None
    error: str = ""
    state: object = None
    """What a response says of its own reading."""

    @classmethod
    def of(cls, response: httpx.Response, body: bytes) -> "Seen":
        extensions = response.extensions
        return cls(
            response.status_code,
            response.headers.raw,
            body,
            extensions.get("http_version"),
            extensions.get("reason_phrase"),
            state=_state(response),
        )


def _state(response: httpx.Response) -> tuple[object, ...]:
    return (
        response.is_closed,
        response.is_stream_consumed,
        response.num_bytes_downloaded,
        response.is_closed and response.elapsed.total_seconds() >= 0.0,
        pickle.loads(pickle.dumps(response)).content if response.is_closed else b"",
    )


class AnyClient:
    """An httpx client of either kind, behind coroutines."""

    def __init__(self, colour: str, mesh: Membership | None, **options: object) -> None:
        self.colour = colour
        self.sync: httpx.Client | None = None
        self._async: httpx.AsyncClient | None = None
        if colour == "sync":
            transport = None if mesh is None else MeshTransport(mesh, **options)  # type: ignore[arg-type]
            self.sync = httpx.Client(transport=transport, trust_env=False)
        else:
            other = None if mesh is None else AsyncMeshTransport(mesh, **options)  # type: ignore[arg-type]
            self._async = httpx.AsyncClient(transport=other, trust_env=False)

    async def request(self, method: str, url: str, **options: object) -> httpx.Response:
        """A whole response."""
        if self.sync is not None:
            return self.sync.request(method, url, **options)  # type: ignore[arg-type]
        assert self._async is not None
        return await self._async.request(method, url, **options)  # type: ignore[arg-type]

    async def get(self, url: str, **options: object) -> httpx.Response:
        """A whole response to GET."""
        return await self.request("GET", url, **options)

    @asynccontextmanager
    async def stream(self, method: str, url: str, **options: object) -> AsyncGenerator["AnyBody"]:
        """A response whose body is read by hand."""
        if self.sync is not None:
            with self.sync.stream(method, url, **options) as response:  # type: ignore[arg-type]
                yield AnyBody(response, self.colour)
        else:
            assert self._async is not None
            async with self._async.stream(method, url, **options) as response:  # type: ignore[arg-type]
                yield AnyBody(response, self.colour)

    async def close(self) -> None:
        """Close the client and its transport."""
        if self.sync is not None:
            self.sync.close()
        else:
            assert self._async is not None
            await self._async.aclose()

    def content(self, *chunks: bytes, between: Callable[[], object] = lambda: None) -> object:
        """A request body in pieces, of the client's colour."""

        def pieces() -> Iterable[bytes]:
            for chunk in chunks:
                yield chunk
                between()

        async def apieces() -> AsyncIterator[bytes]:
            for chunk in pieces():
                yield chunk

        return pieces() if self.sync is not None else apieces()


@dataclass(slots=True)
class AnyBody:
    """A response whose body is read piece by piece."""

    response: httpx.Response
    colour: str

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        if self.colour == "sync":
            for piece in self.response.iter_raw():
                yield piece
        else:
            async for piece in self.response.aiter_raw():
                yield piece


class Colour:
    """One way of running tests."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(
        self,
        mesh: Membership | None,
        test: Callable[[AnyClient], Awaitable[T]],
        **options: object,
    ) -> T:
        """Run a test with a client of its own."""

        async def work() -> T:
            client = AnyClient(self.name, mesh, **options)
            try:
                return await test(client)
            finally:
                await client.close()

        found: T = RUN[self.name](work)  # type: ignore[assignment]
        return found

    async def together(self, *works: Work[object]) -> None:
        """Run several at once: threads, or tasks."""
        if self.name == "sync":
            threads = [threading.Thread(target=_run_blocking, args=(work,)) for work in works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(LIMIT)
        else:
            async with anyio.create_task_group() as group:
                for work in works:
                    group.start_soon(work)

    async def wait(self, event: threading.Event) -> bool:
        """Wait for a thread's event without blocking the loop."""
        if self.name == "sync":
            return event.wait(LIMIT)
        return await anyio.to_thread.run_sync(event.wait, LIMIT)


COLOURS = tuple(Colour(name) for name in RUN)
every_colour = pytest.mark.parametrize("colour", COLOURS, ids=lambda each: each.name)
awaiting = pytest.mark.parametrize("colour", COLOURS[1:], ids=lambda each: each.name)
