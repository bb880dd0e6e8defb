"""One attempt, decided once for all colours: a generator that asks for each wait.

A driver performs a step, sends its result back, and throws what the I/O raised *into* the
generator: OSError (TimeoutError too) is data here, everything else goes through and closes the
connection on its way.
"""

import os
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar, cast

from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.clock import Clock
from meshsdk.errors import MeshError
from meshsdk.upstream.body import BodyLengthError, RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.head import Head
from meshsdk.upstream.http1 import Failure, Http1
from meshsdk.upstream.pool import HostPool
from meshsdk.upstream.timeouts import CallerTimedOut, CallerTimeouts, Operation, shortest

C = TypeVar("C", bound=Connection)
R = TypeVar("R")

_BROKEN = ResetReason.CONNECTION_TERMINATION
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2


@dataclass(slots=True)
class Connect(Generic[C]):
    """Open a connection and verify the peer; result: the connection."""

    pool: HostPool[C]
    timeout: float | None


@dataclass(slots=True)
class Park(Generic[C]):
    """Wait until the pool wakes us; result: None. `first`: we have waited already."""

    pool: HostPool[C]
    timeout: float | None
    first: bool


class NotSentError(ConnectionError):
    """A write failed before any octet of the request left this machine."""


@dataclass(slots=True)
class Write(Generic[C]):
    """Send octets, waiting while the socket takes no more; result: None.

    `watch`: also let in what the peer has sent meanwhile.
    """

    connection: C
    data: bytes
    timeout: float | None
    watch: bool = False


@dataclass(slots=True)
class Receive(Generic[C]):
    """Wait until something came and feed it to the connection; result: None."""

    connection: C
    timeout: float | None


@dataclass(slots=True)
class Pull:
    """The application's next piece of body; result: bytes, or None at its end."""

    body: RequestBody


Step: TypeAlias = Connect[C] | Park[C] | Write[C] | Receive[C] | Pull
Result: TypeAlias = C | bytes | None
Steps: TypeAlias = Generator[Step[C], Result[C], R]


@dataclass(slots=True, eq=False)
class Ask(Generic[C]):
    """What an attempt needs to know; the same for every colour."""

    pool: HostPool[C]
    method: str
    head: Head
    body: RequestBody
    timeouts: CallerTimeouts
    clock: Clock
    generation: int
    timeout: float | None = None
    """Seconds until the head of the response, from the end of the request; None: unbounded."""
    idle_timeout: float | None = None
    timeout_reason: ResetReason = ResetReason.PER_TRY_TIMEOUT
    is_verbatim: bool = False
    """The mesh passes through: 101 is the application's business."""
    attempt: object = None


class Exchange(Generic[C]):
    """A response whose body is still to be read: the handle in `Response.body`."""

    __slots__ = ("ask", "connection", "deadline", "received")

    def __init__(self, ask: Ask[C], connection: C) -> None:
        self.ask = ask
        self.connection: C | None = connection
        """None: given back or closed."""
        self.received = 0
        """Octets of the body that were handed out."""
        self.deadline: float | None = None
        """Monotonic seconds by which the whole body must be here; None: unbounded."""

    @property
    def http(self) -> Http1:
        """Only while it has its connection."""
        assert self.connection is not None
        return self.connection.http

    @property
    def is_read(self) -> bool:
        """All of the body was taken."""
        connection = self.connection
        if connection is None:
            return True
        http = connection.http
        return http.is_complete and not http.chunks

    @property
    def is_switched(self) -> bool:
        """101: the connection speaks another protocol now."""
        return self.connection is not None and self.connection.http.switched is not None

    def finish(self) -> None:
        """The body was read to its end: the connection may serve again."""
        connection = self.connection
        if connection is None:
            return
        self.connection = None
        http = connection.http
        if http.is_complete and http.can_reuse and not http.chunks:
            http.end()
            self.ask.pool.give_back(connection, self.ask.clock.monotonic())
        else:
            self.ask.pool.discard(connection)

    def abandon(self) -> None:
        """Nobody wants the rest: the connection ends."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.ask.pool.discard(connection)

    def take_whole(self) -> tuple[bytes, list[RawPair] | None] | None:
        """Body and trailers, where all of it is here already; the connection is given back."""
        connection = self.connection
        if connection is None:
            return None
        http = connection.http
        if not http.is_complete:
            return None
        data = http.take()
        self.received += len(data)
        trailers = http.trailers
        self.finish()
        return data, trailers

    def dispose(self) -> None:
        """Nobody wants the response: keep the connection where all of it is here already."""
        if self.take_whole() is None:
            self.abandon()


def attempt(ask: Ask[C]) -> Steps[C, Outcome]:
    """One attempt at one host. A connection that was closed while it was idle is replaced, where
    that is safe; any other failure is a Reset for the route's retry policy to judge."""
    fresh = False
    while True:
        connection, reused = None, False
        if not fresh:
            connection = ask.pool.take(ask.clock.monotonic(), ask.generation)
            reused = connection is not None
        if connection is None:
            obtained = yield from _obtain(ask, fresh)
            if isinstance(obtained, Reset):
                return obtained
            connection, reused = obtained
        outcome = yield from _exchange(ask, connection, reused)
        if outcome is not None:
            return outcome
        fresh = True


def dial(ask: Ask[C]) -> Steps[C, "Lent[C] | Reset"]:
    """A raw connection, on which the application's own protocol will run."""
    connection = ask.pool.take(ask.clock.monotonic(), ask.generation)
    if connection is not None:
        return Lent(connection, ask.pool, is_reused=True)
    obtained = yield from _obtain(ask, fresh=False)
    if isinstance(obtained, Reset):
        return obtained
    return Lent(obtained[0], ask.pool, is_reused=obtained[1])


@dataclass(slots=True, eq=False)
class Lent(Generic[C]):
    """A raw connection in the adapter's hands: `Dialed.stream`."""

    connection: C | None
    pool: HostPool[C]
    is_reused: bool

    def close(self) -> None:
        """Nothing will run on it."""
        connection, self.connection = self.connection, None
        if connection is not None:
            self.pool.discard(connection)


def attempt_over(ask: Ask[C], lent: Lent[C]) -> Steps[C, Outcome]:
    """The application's request over a raw connection, which this closes or gives back."""
    connection, lent.connection = lent.connection, None
    assert connection is not None
    outcome = yield from _exchange(ask, connection, lent.is_reused)
    while outcome is None:
        obtained = yield from _obtain(ask, fresh=True)
        if isinstance(obtained, Reset):
            return obtained
        outcome = yield from _exchange(ask, *obtained)
    return outcome


# -- getting a connection -------------------------------------------------------------------


def _obtain(ask: Ask[C], fresh: bool) -> Steps[C, tuple[C, bool] | Reset]:
    """A new connection, or one that another call gave back while we waited."""
    pool = ask.pool
    if not pool.limits.try_pending():
        return _reset(ask, ResetReason.OVERFLOW, "", request_sent=False)
    deadline = None if ask.timeout is None else ask.clock.monotonic() + ask.timeout
    pool_deadline = _after(ask, ask.timeouts.pool)
    try:
        waited = False
        while True:
            if pool.count_in():
                return (yield from _connect(ask, deadline))
            connection = None if fresh else pool.take(ask.clock.monotonic(), ask.generation)
            if connection is not None:
                return connection, True
            expired = yield from _park(ask, waited, deadline, pool_deadline)
            if expired is not None:
                return expired
            waited = True
    finally:
        pool.limits.end_pending()


def _park(
    ask: Ask[C], waited: bool, deadline: float | None, pool_deadline: float | None
) -> Steps[C, Reset | None]:
    now = ask.clock.monotonic()
    until = shortest(deadline, pool_deadline)
    try:
        yield Park(ask.pool, None if until is None else max(0.0, until - now), waited)
    except TimeoutError:
        # A wake-up may have come at the same moment: it belongs to the next one.
        ask.pool.wake_one()
        if deadline is not None and ask.clock.monotonic() >= deadline:
            return _reset(ask, ask.timeout_reason, "", request_sent=False)
        raise CallerTimedOut("pool") from None
    except BaseException:
        ask.pool.wake_one()
        raise
    return None


def _connect(ask: Ask[C], deadline: float | None) -> Steps[C, tuple[C, bool] | Reset]:
    """Open a connection that is counted in already."""
    pool, now = ask.pool, ask.clock.monotonic()
    own = pool.cluster.connect_timeout
    left = None if deadline is None else max(0.0, deadline - now)
    timeout = shortest(shortest(own, left), ask.timeouts.connect)
    is_open = False
    try:
        connection = yield Connect(pool, timeout)
        assert connection is not None and not isinstance(connection, bytes)
        is_open = True
        return connection, False
    except TimeoutError as error:
        waited = ask.clock.monotonic() - now
        if ask.timeouts.connect is not None and waited >= ask.timeouts.connect:
            raise CallerTimedOut("connect") from error
        if left is not None and waited >= left:
            return _reset(ask, ask.timeout_reason, "", request_sent=False, error=error)
        return _reset(ask, ResetReason.CONNECT_TIMEOUT, "", request_sent=False, error=error)
    except ssl.SSLError as error:
        detail = (
            f"TLS error: {error.reason or error}" if type(error) is ssl.SSLError else str(error)
        )
        return _reset(ask, ResetReason.TLS_FAILURE, detail, request_sent=False, error=error)
    except OSError as error:
        detail = f"delayed connect error: {_said(error)}"
        return _reset(ask, ResetReason.CONNECT_FAILURE, detail, request_sent=False, error=error)
    except MeshError as error:
        return _reset(ask, ResetReason.TLS_FAILURE, str(error), request_sent=False, error=error)
    finally:
        if not is_open:
            pool.count_out()


def _said(error: BaseException) -> str:
    """What the machine said, under the words of an event loop: `Connection refused`."""
    while True:
        if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
            return os.strerror(error.errno)
        inside = _inside(error)
        if inside is None:
            return str(error) or type(error).__name__
        error = inside


def _inside(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        several: tuple[BaseException, ...] = cast(
            "BaseExceptionGroup[BaseException]", error
        ).exceptions
        return several[0]
    return error.__cause__


# -- one request and the head of its response -------------------------------------------------


def _exchange(ask: Ask[C], connection: C, reused: bool) -> Steps[C, Outcome | None]:
    """None: a reused connection was dead, and the request may go out again on a fresh one."""
    http = connection.http
    http.begin(ask.method)
    connection.lease.requests += 1
    keeps = False
    try:
        write_error = yield from _send(ask, connection)
        if write_error is not None:
            http.can_reuse = False
            if isinstance(write_error, NotSentError) and reused:
                if ask.body.is_replayable:
                    return None
                return _reset(ask, _BROKEN, str(write_error), request_sent=False, error=write_error)
        now = ask.clock.monotonic()
        deadline = None if ask.timeout is None else now + ask.timeout
        while not http.is_head and http.failure is None and http.switched is None:
            expired = yield from _receive(ask, connection, deadline)
            if expired is not None:
                return expired
        if http.is_head:
            if http.switched is not None and not ask.is_verbatim:
                return _reset(ask, ResetReason.PROTOCOL_ERROR, "101 to a request without upgrade")
            keeps = True
            return _response(ask, connection)
        failure = http.failure
        assert failure is not None
        if write_error is not None and not http.received:
            failure = Failure(failure.reason, str(write_error), write_error)
        if reused and _may_replay(ask, http):
            return None
        return _reset(ask, failure.reason, failure.detail, error=failure.error)
    finally:
        if not keeps:
            ask.pool.discard(connection)


def _may_replay(ask: Ask[C], http: Http1) -> bool:
    failure = http.failure
    return (
        failure is not None
        and failure.reason is _BROKEN
        and not http.received
        and ask.method in IDEMPOTENT
        and ask.body.is_replayable
    )


def _send(ask: Ask[C], connection: C) -> Steps[C, OSError | None]:
    """The request; the result is what broke the sending. A response may have come all the same."""
    body, head = ask.body, ask.head
    if not body.is_replayable:
        raise AssertionError("an attempt after its body outgrew the replay buffer")
    limit = ask.timeouts.write
    try:
        if body.exhausted:
            data = body.read_whole()
            _check_length(head, len(data), ended=True)
            if not data:
                data = head.data + b"0\r\n\r\n" if head.is_chunked else head.data
            elif head.is_chunked:
                data = b"%b%x\r\n%b\r\n0\r\n\r\n" % (head.data, len(data), data)
            else:
                data = head.data + data
            yield Write(connection, data, limit)
            return None
        yield Write(connection, head.data, limit)
    except TimeoutError:
        raise CallerTimedOut("write") from None
    except OSError as error:
        return error
    return (yield from _stream(ask, connection))


def _stream(ask: Ask[C], connection: C) -> Steps[C, OSError | None]:
    """A body in pieces: first what an earlier attempt or a filter has pulled, then the rest."""
    body, head, http = ask.body, ask.head, connection.http
    pending = list(body.kept)
    sent = 0
    while not http.is_complete and http.failure is None:
        if pending:
            chunk = pending.pop(0)
        elif body.exhausted:
            break
        else:
            pulled = yield Pull(body)
            if pulled is None:
                body.ended()
                break
            assert isinstance(pulled, bytes)
            body.pulled_one(pulled)
            chunk = pulled
        if not chunk:
            continue
        sent += len(chunk)
        _check_length(head, sent, ended=False)
        if head.is_chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
        error = yield from _write(ask, connection, chunk)
        if error is not None:
            return error
    if http.is_complete or http.failure is not None:
        http.can_reuse = False  # an early answer: the rest of the body is never sent
        return None
    _check_length(head, sent, ended=True)
    return (yield from _write(ask, connection, b"0\r\n\r\n")) if head.is_chunked else None


def _write(ask: Ask[C], connection: C, data: bytes) -> Steps[C, OSError | None]:
    try:
        yield Write(connection, data, ask.timeouts.write, watch=True)
    except TimeoutError:
        raise CallerTimedOut("write") from None
    except OSError as error:
        return error
    return None


def _check_length(head: Head, length: int, *, ended: bool) -> None:
    if head.is_chunked:
        return
    declared = head.content_length or 0
    if length > declared:
        raise BodyLengthError("Too much data for declared Content-Length")
    if ended and length < declared:
        raise BodyLengthError("Too little data for declared Content-Length")


def _receive(ask: Ask[C], connection: C, deadline: float | None) -> Steps[C, Reset | None]:
    """Wait for more of the head; a Reset when a limit of the mesh ran out."""
    read, idle = ask.timeouts.read, ask.idle_timeout
    left = None if deadline is None else max(0.0, deadline - ask.clock.monotonic())
    timeout = shortest(shortest(read, idle), left)
    try:
        yield Receive(connection, timeout)
    except TimeoutError:
        if left is not None and timeout == left:
            return _reset(ask, ask.timeout_reason, "")
        if idle is not None and timeout == idle:
            return _reset(ask, ResetReason.PER_TRY_IDLE_TIMEOUT, "")
        raise CallerTimedOut("read") from None
    except OSError as error:
        connection.http.receive_eof(error)
    return None


def _response(ask: Ask[C], connection: C) -> Response:
    http = connection.http
    return Response(
        http.status,
        Headers.from_raw(http.headers),
        Exchange(ask, connection),
        attempt=ask.attempt,
        version=http.http_version,
        reason=http.reason,
    )


# -- the body ---------------------------------------------------------------------------------


class BodyBroken(Exception):
    """The body will not arrive whole; adapters raise their library's own exception from it."""

    def __init__(self, reset: Reset) -> None:
        super().__init__(reset.detail or reset.reason.value)
        self.reset = reset


def next_piece(exchange: Exchange[C]) -> Steps[C, bytes | None]:
    """Some of the body, at least an octet; None at its end. BodyBroken, CallerTimedOut."""
    ask, connection = exchange.ask, exchange.connection
    if connection is None:
        return None
    http = connection.http
    while not http.chunks:
        if http.is_complete:
            return None
        failure = http.failure
        if failure is not None:
            raise BodyBroken(_cut(exchange, failure.reason, failure.detail, failure.error))
        read, idle = ask.timeouts.read, ask.idle_timeout
        left: float | None = None
        if exchange.deadline is not None:
            left = max(0.0, exchange.deadline - ask.clock.monotonic())
        timeout = shortest(shortest(read, idle), left)
        try:
            yield Receive(connection, timeout)
        except TimeoutError as error:
            if left is not None and timeout == left:
                raise BodyBroken(_cut(exchange, ResetReason.TIMEOUT, "", error)) from None
            if idle is not None and timeout == idle:
                reason = ResetReason.PER_TRY_IDLE_TIMEOUT
                raise BodyBroken(_cut(exchange, reason, "", error)) from None
            raise CallerTimedOut(_READ) from None
        except OSError as error:
            http.receive_eof(error)
    piece = http.take()
    exchange.received += len(piece)
    return piece


_READ: Operation = "read"


def _cut(
    exchange: Exchange[C], reason: ResetReason, detail: str, error: BaseException | None
) -> Reset:
    return Reset(reason, detail, body_started=True, attempt=exchange.ask.attempt, error=error)


def _reset(
    ask: Ask[C],
    reason: ResetReason,
    detail: str,
    *,
    request_sent: bool = True,
    error: BaseException | None = None,
) -> Reset:
    return Reset(reason, detail, request_sent=request_sent, attempt=ask.attempt, error=error)


def _after(ask: Ask[C], seconds: float | None) -> float | None:
    return None if seconds is None else ask.clock.monotonic() + seconds
