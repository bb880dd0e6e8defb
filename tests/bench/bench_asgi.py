"""What the ASGI layer alone costs: scope, request, scope again, around an application that does
nothing and a flow that decides nothing. `python -m tests.bench.bench_asgi`.

The yardstick is the bare application in the same run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from meshsdk.call.connection import Connection
from meshsdk.call.effects import CallApp, Deliver, Flow
from meshsdk.call.message import BodyEnd, Request, Response
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.asgi_scope import AsgiApp, AsgiReceive, AsgiSend, Message, Scope
from meshsdk.downstream.capture import Captured
from meshsdk.flow.drive import NoFetcher
from meshsdk.integrations.asgi import MeshMiddleware
from tests.downstream.mesh import strict
from tests.integrations.asgi_server import MTLS, PLAIN, scope_of

_RAW = (
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"x-tenant", b"blue"),
    (b"x-trace", b"1"),
    (b"content-type", b"application/json"),
    (b"cookie", b"a=b"),
)
_ANSWER: Sequence[Message] = (
    {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]},
    {"type": "http.response.body", "body": b""},
)


class _Trivial:
    """A mesh that lets every request pass: with the same headers, or with one more."""

    def __init__(self, *, adds: bool) -> None:
        self.server_connections = Acceptor(strict())
        self.fetcher = NoFetcher()
        self._adds = adds

    def start(self) -> None:
        pass

    async def aready(self, _timeout: float | None, /) -> bool:
        return True

    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        if self._adds:
            request.headers.get("x-tenant")
            headers = request.headers.exchanged("", (("x-request-id", "7"),))
            request = replace(request, headers=headers)
        answer = yield CallApp(request)
        assert isinstance(answer, Response)
        end = yield Deliver(answer)
        assert isinstance(end, BodyEnd)


class _Server:
    """A captured connection, as uvicorn's cycles show it."""

    def __init__(self, connection: Connection) -> None:
        self.transport = self
        self.mesh_captured = Captured(connection, ("10.0.0.9", 4711), ("10.0.0.1", 8080))

    def get_protocol(self) -> object:
        return self

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, _message: Message) -> None:
        return


async def _app(_scope: Scope, _receive: AsgiReceive, send: AsgiSend) -> None:
    for message in _ANSWER:
        await send(message)


def microseconds(app: AsgiApp, server: _Server, *, times: int = 200, rounds: int = 200) -> float:
    """The best of several rounds, each the mean of many calls; nothing in them ever suspends."""
    scope = scope_of("/item/42", *_RAW)
    receive, send = server.receive, server.send

    def call() -> None:
        coroutine = app({**scope}, receive, send)
        try:
            coroutine.send(None)  # type: ignore[attr-defined]  # an async def's awaitable
        except StopIteration:
            return

    return min(_mean(call, times) for _ in range(rounds))


def _mean(call: Callable[[], None], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times * 1e6


def main() -> None:
    """Print everything."""
    for name, connection in (("plaintext", PLAIN), ("mTLS", MTLS)):
        server = _Server(connection)
        bare = microseconds(_app, server)
        for what, adds in (("headers as they came", False), ("one header more", True)):
            layer = microseconds(MeshMiddleware(_app, _Trivial(adds=adds)), server)
            print(f"{name:9} {what:20} {layer - bare:6.2f} us over {bare:.2f} us (target 8 us)")


if __name__ == "__main__":
    main()
