"""An ASGI application behind a real uvicorn: what calls through a mesh end at."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Semaphore, Thread
from typing import cast

import uvicorn

from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Scope

LIMIT = 10.0


@dataclass(slots=True, eq=False)
class Upstream:
    """The application, and what it saw. Paths: /ok /busy /hang /echo /drip."""

    name: str = "up"
    port: int = 0
    paths: list[str] = field(default_factory=list[str])
    headers: list[dict[bytes, bytes]] = field(default_factory=list[dict[bytes, bytes]])
    bodies: list[bytes] = field(default_factory=list[bytes])
    reached: Semaphore = field(default_factory=lambda: Semaphore(0))
    """Once for each request."""
    gone: Semaphore = field(default_factory=lambda: Semaphore(0))
    """Once for each client that went away."""

    async def __call__(self, scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        path = str(scope["path"])
        self.paths.append(path)
        self.headers.append(dict(cast("list[tuple[bytes, bytes]]", scope["headers"])))
        self.reached.release()
        if path == "/hang":
            await self._until_gone(receive)
        elif path == "/echo":
            await self._echo(receive, send)
        elif path == "/drip":
            await self._drip(receive, send)
        else:
            self.bodies.append(await self._body(receive))
            await self._answer(send, 503 if path == "/busy" else 200, self.name.encode())

    async def _body(self, receive: AsgiReceive) -> bytes:
        body = b""
        while True:
            message = await receive()
            body += cast("bytes", message.get("body", b""))
            if not message.get("more_body"):
                return body

    async def _until_gone(self, receive: AsgiReceive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.gone.release()

    async def _answer(self, send: AsgiSend, status: int, body: bytes) -> None:
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length]})
        await send({"type": "http.response.body", "body": body})

    async def _echo(self, receive: AsgiReceive, send: AsgiSend) -> None:
        """Each piece goes back when it comes."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.release()
                return
            more = bool(message.get("more_body"))
            body = message.get("body", b"")
            await send({"type": "http.response.body", "body": body, "more_body": more})
            if not more:
                return

    async def _drip(self, receive: AsgiReceive, send: AsgiSend) -> None:
        """A body that never ends."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        gone = asyncio.ensure_future(self._until_gone(receive))
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            await asyncio.wait([gone], timeout=0.01)


class _Announcing(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listens.set()


@contextmanager
def serving_asgi(*names: str) -> Generator[list[Upstream]]:
    """One application for each name, each behind a server of its own."""
    upstreams = [Upstream(name) for name in names]
    servers = [
        _Announcing(
            uvicorn.Config(
                upstream,
                host="127.0.0.1",
                port=0,
                log_config=None,
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        for upstream in upstreams
    ]
    threads = [Thread(target=server.run) for server in servers]
    for thread in threads:
        thread.start()
    try:
        for server, upstream in zip(servers, upstreams, strict=True):
            assert server.listens.wait(LIMIT)
            upstream.port = server.servers[0].sockets[0].getsockname()[1]
        yield upstreams
    finally:
        for server in servers:
            server.should_exit = True
        for thread in threads:
            thread.join(LIMIT)
