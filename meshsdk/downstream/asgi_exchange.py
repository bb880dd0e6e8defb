"""Driving an inbound flow from inside an ASGI call: no task, no queue.

The application's `send` resumes the flow, so the answer that goes out is the one the flow delivers.
"""

import logging
from collections.abc import Iterable
from typing import Final, Protocol, cast

import anyio

from meshsdk.call.connection import Connection
from meshsdk.call.effects import (
    BodyRead,
    CallApp,
    Deliver,
    Dialed,
    Effect,
    Fetch,
    Flow,
    GrpcFetch,
    ReadBody,
    Reply,
    Sleep,
)
from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import BodyEnd, Request, Reset, ResetReason, Response
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Message, Scope
from meshsdk.errors import UsageError
from meshsdk.flow.drive import Fetcher, NoFetcher, asettle

_LOG = logging.getLogger("meshsdk.downstream")
DENIAL: Final = "websocket.http.response"
_APP_BODY: Final = "the application's own"
_NO_BODY: Final = frozenset({204, 304})
_NO_FETCHER: Final = NoFetcher()


class InboundMesh(Protocol):
    """What adapters of servers need of a mesh."""

    @property
    def server_connections(self) -> Acceptor:
        """Decides about accepted connections."""
        ...

    @property
    def fetcher(self) -> Fetcher:
        """Makes the side calls of filters."""
        ...

    def start(self) -> None:
        """Start what keeps the plan fresh; again is nothing."""
        ...

    async def aready(self, timeout: float | None, /) -> bool:  # noqa: ASYNC109 - of the wait
        """Whether the mesh is ready, after `timeout` seconds at most."""
        ...

    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        """The flow of one request."""
        ...


class Body:
    """A request body that filters may read before the application does."""

    __slots__ = ("_kept", "_receive", "received")

    def __init__(self, receive: AsgiReceive) -> None:
        self._receive = receive
        self._kept: list[Message] = []
        self.received = 0

    async def receive(self) -> Message:
        """The application's `receive`: what was read before comes again."""
        if self._kept:
            return self._kept.pop(0)
        return await self._next()

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(cast("bytes", message.get("body") or b""))
        return message

    async def read(self, limit: int) -> BodyRead:
        """At most `limit` bytes, kept for the application."""
        while True:
            data = b"".join(cast("bytes", m.get("body") or b"") for m in self._kept)
            last = self._kept[-1] if self._kept else None
            if last is not None and (last["type"] != "http.request" or not last.get("more_body")):
                is_whole = last["type"] == "http.request" and len(data) <= limit
                return BodyRead(data[:limit], is_whole)
            if len(data) > limit:
                return BodyRead(data[:limit], complete=False)
            self._kept.append(await self._next())


async def settle(
    flow: Flow[None], effect: Effect, body: Body, fetcher: Fetcher = _NO_FETCHER
) -> CallApp | Deliver:
    """Perform what a flow asks for until it lets the application answer, or answers itself."""
    return await asettle(flow, effect, lambda asked: _perform(asked, body, fetcher))


async def _perform(effect: Effect, body: Body, fetcher: Fetcher) -> Reply:
    match effect:
        case ReadBody(limit=limit):
            return await body.read(limit)
        case Sleep(seconds=seconds):
            await anyio.sleep(seconds)
            return None
        case Fetch() | GrpcFetch():
            return await fetcher.afetch(effect)
        case _:
            raise UsageError(f"an ASGI server cannot perform {type(effect).__name__}")


def delivered(effect: CallApp | Deliver) -> Response:
    """The response that a flow delivers."""
    if isinstance(effect, Deliver):
        outcome = effect.outcome
        if isinstance(outcome, Response):
            return outcome
        if isinstance(outcome, Reset):
            raise ConnectionAbortedError(outcome.detail or outcome.reason.value)
        assert isinstance(outcome, Dialed)
    raise UsageError("an inbound flow asked for the application twice, or for a raw connection")


def app_response(status: int, message: Message) -> Response:
    """The answer that the application begins with this message."""
    fields = list(cast("Iterable[RawPair]", message.get("headers") or ()))
    return Response(status, Headers.from_raw(fields), _APP_BODY)


def is_apps_own(response: Response) -> bool:
    """Whether the body of a delivered response is still the application's to send."""
    return response.body is _APP_BODY


def local_messages(response: Response, prefix: str = "http.response") -> tuple[Message, Message]:
    """The two messages of an answer that the mesh gives."""
    body = response.body if isinstance(response.body, bytes) else b""
    raw = list(response.headers.raw())
    if not body and "content-length" not in response.headers and response.status not in _NO_BODY:
        raw.append((b"content-length", b"0"))  # as Envoy's codec; else servers send it chunked
    return (
        {"type": f"{prefix}.start", "status": response.status, "headers": raw},
        {"type": f"{prefix}.body", "body": body, "more_body": False},
    )


def can_deny(scope: Scope) -> bool:
    """Whether a server can refuse a websocket with more than a bare 403."""
    extensions = scope.get("extensions")
    return isinstance(extensions, dict) and DENIAL in extensions


async def refuse(scope: Scope, send: AsgiSend, response: Response) -> None:
    """Answer a request or a websocket's handshake in the application's place."""
    if scope["type"] == "http":
        messages = local_messages(response)
    elif can_deny(scope):
        messages = local_messages(response, DENIAL)
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})
        return
    for message in messages:
        await send(message)


def close(flow: Flow[None], error: BaseException | None = None) -> None:
    """End a flow that will not deliver: its `finally` releases what it holds."""
    try:
        if error is not None:
            flow.throw(error)
    except BaseException as raised:
        if raised is not error and not isinstance(raised, StopIteration):
            _LOG.exception("a flow failed while it was told of an error")
    finally:
        flow.close()


def broken_off(sent: int, received: int, error: BaseException | None) -> BodyEnd:
    """The end of an answer that did not arrive whole."""
    detail = "the application stopped before its answer was whole" if error is None else str(error)
    reset = Reset(ResetReason.LOCAL_RESET, detail, body_started=True, error=error)
    return BodyEnd(sent, received, reset=reset)
