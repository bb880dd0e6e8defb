"""Driving an inbound flow from inside a WSGI call, on the server's own thread."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Final, Protocol

from meshsdk.call.connection import Connection
from meshsdk.call.effects import (
    BodyRead,
    CallApp,
    Deliver,
    Effect,
    Fetch,
    Flow,
    GrpcFetch,
    ReadBody,
    Reply,
    Sleep,
)
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Request, Response
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.asgi_exchange import broken_off, close, delivered
from meshsdk.downstream.current import is_forbidden
from meshsdk.downstream.guard import FORBIDDEN
from meshsdk.downstream.wsgi_environ import Environ, ExcInfo, StartResponse, WsgiApp
from meshsdk.errors import ForbiddenError, UsageError
from meshsdk.flow.drive import Fetcher, complete, settle
from meshsdk.runtime.sleeping import sleep

_APP_BODY: Final = "the application's own"
_NO_BODY: Final = frozenset({204, 304})
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}


class WsgiMesh(Protocol):
    """What the adapter of WSGI servers needs of a mesh."""

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

    def ready(self, timeout: float | None, /) -> bool:
        """Whether the mesh is ready, after `timeout` seconds at most."""
        ...

    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        """The flow of one request."""
        ...


class Readable(Protocol):
    """What `wsgi.input` is."""

    def read(self, size: int = -1, /) -> bytes: ...
    def readline(self, size: int = -1, /) -> bytes: ...


class Input:
    """A request body that filters may read before the application does."""

    def __init__(self, inner: Readable) -> None:
        self._inner = inner
        self._kept = b""
        self.received = 0

    def peek(self, limit: int) -> BodyRead:
        """At most `limit` bytes, kept for the application."""
        while len(self._kept) <= limit:
            more = self._inner.read(limit + 1 - len(self._kept))
            if not more:
                return BodyRead(self._kept, complete=True)
            self._kept += more
            self.received += len(more)
        return BodyRead(self._kept[:limit], complete=False)

    def read(self, size: int = -1, /) -> bytes:
        """As a file does. What the server raises passes through (THREATS A13)."""
        kept = self._take(size)
        if size >= 0 and len(kept) >= size:
            return kept
        return kept + self._count(self._inner.read(size - len(kept) if size >= 0 else size))

    def readline(self, size: int = -1, /) -> bytes:
        """As a file does."""
        if not self._kept:
            return self._count(self._inner.readline(size))
        end = self._kept.find(b"\n") + 1 or len(self._kept)
        kept = self._take(end if size < 0 else min(size, end))
        if kept.endswith(b"\n") or len(kept) == size:
            return kept
        return kept + self._count(self._inner.readline(size - len(kept) if size >= 0 else size))

    def readlines(self, hint: int = -1, /) -> list[bytes]:
        """As a file does."""
        del hint
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def _take(self, size: int) -> bytes:
        kept, self._kept = (self._kept, b"") if size < 0 else (self._kept[:size], self._kept[size:])
        return kept

    def _count(self, data: bytes) -> bytes:
        self.received += len(data)
        return data


class WsgiExchange:
    """From the flow's first effect to the end of the response body; the iterable that the server
    gets."""

    def __init__(
        self, flow: Flow[None], start_response: StartResponse, body: Input, fetcher: Fetcher
    ) -> None:
        self._flow = flow
        self._start_response = start_response
        self._fetcher = fetcher
        self.body = body
        self._begun: tuple[str, list[tuple[str, str]], ExcInfo] | None = None
        self._chunks: Iterator[bytes] = iter(())
        self._app_iterable: object = None
        self._is_muted = False
        self._delivered = False
        self._is_over = False
        self._sent = 0
        self._writer: Callable[[bytes], object] | None = None
        self._local: bytes | None = None
        """What is left of an answer of the mesh's own; None: the application answers."""

    def settle(self, effect: Effect) -> CallApp | Deliver:
        """Perform what the flow asks for until it lets the application answer, or answers itself."""
        return settle(self._flow, effect, self._perform)

    def _perform(self, effect: Effect) -> Reply:
        match effect:
            case ReadBody(limit=limit):
                return self.body.peek(limit)
            case Sleep(seconds=seconds):
                sleep(seconds)
                return None
            case Fetch() | GrpcFetch():
                return self._fetcher.fetch(effect)
            case _:
                raise UsageError(f"a WSGI server cannot perform {type(effect).__name__}")

    def answer(self, response: Response) -> "WsgiExchange":
        """The mesh's own answer, which the flow delivered."""
        self._delivered = True
        self._whole(response, None)
        return self

    def run(self, app: WsgiApp, environ: Environ) -> "WsgiExchange":
        """Let the application answer, up to its first chunk: until then its answer may change."""
        try:
            iterable = app(environ, self._begin)
            self._app_iterable = iterable
            self._chunks = iter(iterable)
            first = self._first()
        except ForbiddenError:
            self._forbid()
            return self
        except BaseException as error:
            self._end(error)
            raise
        self._chunks = _chain(first, self._chunks)
        return self

    def _first(self) -> bytes:
        """The first chunk that is not empty; the head goes out before it."""
        first = b""
        for first in self._chunks:
            if first:
                break
        if not self._delivered:
            self._deliver()
        return first

    def _begin(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo = None
    ) -> "_Write":
        if self._begun is not None and exc_info is None:
            raise UsageError("start_response was called twice without exc_info")
        if self._delivered and not self._is_muted:
            # Too late to change it: the server raises what the application's exception was.
            self._start_response(status, headers, exc_info)
        self._begun = status, list(headers), exc_info
        return _Write(self)

    def write(self, data: bytes) -> None:
        """The legacy `write` of start_response."""
        if not self._delivered:
            self._deliver()
        if data and not self._is_muted:
            self._sent += len(data)
            assert self._writer is not None
            self._writer(data)

    def _deliver(self) -> None:
        """The flow sees the answer's head; what it delivers goes out."""
        if self._begun is None:
            raise UsageError("the application answered without start_response")
        status, headers, exc_info = self._begun
        code = int(status[:3])
        pairs = [(name.lower(), value) for name, value in headers]
        asked = Response(code, Headers.of(pairs), _APP_BODY)
        sent = FORBIDDEN if code >= 500 and is_forbidden() else asked
        response = delivered(self.settle(self._flow.send(sent)))
        self._delivered = True
        if response.body is not _APP_BODY:
            self._is_muted = True
            self._whole(response, exc_info)
        elif response is asked:
            self._writer = self._start_response(status, headers, exc_info)
        else:
            line = status if response.status == code else _line(response.status)
            self._writer = self._start_response(line, list(response.headers.pairs), exc_info)

    def _whole(self, response: Response, exc_info: ExcInfo) -> None:
        body = response.body if isinstance(response.body, bytes) else b""
        pairs = list(response.headers.pairs)
        is_sized = "content-length" in response.headers or response.status in _NO_BODY
        if not body and not is_sized:
            pairs.append(("content-length", "0"))
        # Hop-by-hop fields are the server's (PEP 3333).
        pairs = [pair for pair in pairs if pair[0] != "connection"]
        self._start_response(_line(response.status), pairs, exc_info)
        self._local = body

    def _forbid(self) -> None:
        """A guard's refusal came through the application."""
        if not self._delivered:
            self._begun = "500 Internal Server Error", [], None
            self._deliver()

    # -- what the server iterates -----------------------------------------------------------

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._local is not None:
            data, self._local = self._local, b""
            if not data:
                self._end(None)
                raise StopIteration
            self._sent += len(data)
            return data
        try:
            data = next(self._chunks)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        self._sent += len(data)
        return data

    def close(self) -> None:
        """The server is done, whether or not it has sent everything."""
        closing = getattr(self._app_iterable, "close", None)
        try:
            if callable(closing):
                closing()
        finally:
            if not self._is_over:
                self._is_over = True
                if self._delivered:
                    complete(self._flow, broken_off(self._sent, self.body.received, None))
                else:
                    close(self._flow)

    def abandon(self, error: BaseException | None) -> None:
        """The check itself failed."""
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if self._is_over:
            return
        self._is_over = True
        if not self._delivered:
            close(self._flow, error)
        elif error is None:
            complete(self._flow, BodyEnd(self._sent, self.body.received))
        else:
            complete(self._flow, broken_off(self._sent, self.body.received, error))


class _Write:
    """The callable that start_response gives."""

    def __init__(self, exchange: WsgiExchange) -> None:
        self._exchange = exchange

    def __call__(self, data: bytes) -> None:
        self._exchange.write(data)


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from rest


def _line(status: int) -> str:
    return f"{status} {_PHRASES.get(status, 'Unknown')}"


def whole(start_response: StartResponse, status: int) -> Iterable[bytes]:
    """An answer without a flow: the check failed, or the request is none."""
    body = b"" if status < 500 else b"Internal Server Error"
    headers = [("content-type", "text/plain"), ("content-length", str(len(body)))]
    with suppress(AssertionError):
        start_response(_line(status), headers)
    return [body]
