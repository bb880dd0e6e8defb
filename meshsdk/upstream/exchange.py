"""One request on one connection, and its response until the body was read."""

from typing import Generic, TypeVar, cast

from meshsdk.call.address import Address
from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.upstream.body import BodyLengthError
from meshsdk.upstream.connection import Connection, Http
from meshsdk.upstream.head import Head
from meshsdk.upstream.http1 import Failure
from meshsdk.upstream.network_stream import extra_info
from meshsdk.upstream.obtain import Lent, obtain
from meshsdk.upstream.steps import Ask, NotSentError, Pull, Receive, Steps, Write
from meshsdk.upstream.timeouts import CallerTimedOut, shortest

C = TypeVar("C", bound=Connection)

_BROKEN = ResetReason.CONNECTION_TERMINATION
IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"))  # RFC 9110, 9.2.2


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
    def http(self) -> Http:
        """Only while it has its connection."""
        assert self.connection is not None
        return self.connection.http

    @property
    def local_address(self) -> str:
        """Of our end of the connection, as an access log writes it; empty when it was given back."""
        connection = self.connection
        found = None if connection is None else extra_info(connection, "client_addr")
        if not isinstance(found, tuple):
            return ""
        host, port = cast("tuple[str, int]", found)[:2]
        return str(Address(host, port))

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
    ask.start_clock()
    fresh = False
    while True:
        connection, reused = None, False
        if not fresh:
            connection = ask.pool.take(ask.clock.monotonic(), ask.generation)
            reused = connection is not None
        if connection is None:
            obtained = yield from obtain(ask, fresh)
            if isinstance(obtained, Reset):
                return obtained
            connection, reused = obtained
        outcome = yield from _exchange(ask, connection, reused)
        if outcome is not None:
            return outcome
        fresh = True


def attempt_over(ask: Ask[C], lent: Lent[C]) -> Steps[C, Outcome]:
    """The application's request over a raw connection, which this closes or gives back."""
    connection, lent.connection = lent.connection, None
    assert connection is not None
    outcome = yield from _exchange(ask, connection, lent.is_reused)
    while outcome is None:
        obtained = yield from obtain(ask, fresh=True)
        if isinstance(obtained, Reset):
            return obtained
        outcome = yield from _exchange(ask, *obtained)
    return outcome


def _exchange(ask: Ask[C], connection: C, reused: bool) -> Steps[C, Outcome | None]:
    """None: a reused connection was dead, and the request may go out again on a fresh one."""
    http = connection.http
    http.begin(ask.method)
    connection.lease.requests += 1
    keeps, pulled = False, ask.body.pulled
    try:
        write_error = yield from _send(ask, connection)
        if write_error is not None:
            http.can_reuse = False
            if isinstance(write_error, NotSentError) and reused:
                if ask.body.is_replayable:
                    return None
                return ask.reset(_BROKEN, str(write_error), request_sent=False, error=write_error)
        if ask.body.pulled != pulled:
            ask.start_clock()  # from the end of the request, as Envoy counts
        while not http.is_head and http.failure is None and http.switched is None:
            expired = yield from _receive(ask, connection)
            if expired is not None:
                return expired
        if http.is_head:
            if http.switched is not None and not ask.is_verbatim:
                return ask.reset(ResetReason.PROTOCOL_ERROR, "101 to a request without upgrade")
            keeps = True
            return _response(ask, connection)
        failure = http.failure
        assert failure is not None
        if write_error is not None and not http.received:
            failure = Failure(failure.reason, str(write_error), write_error)
        if reused and _may_replay(ask, http):
            return None
        return ask.reset(failure.reason, failure.detail, error=failure.error)
    finally:
        if not keeps:
            ask.pool.discard(connection)


def _may_replay(ask: Ask[C], http: Http) -> bool:
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
    body, head, http = ask.body, ask.head, connection.http
    if not body.is_replayable:
        raise AssertionError("an attempt after its body outgrew the replay buffer")
    limit = ask.timeouts.write
    try:
        if body.exhausted:
            data = body.read_whole()
            _check_length(head, len(data), ended=True)
            yield Write(connection, http.whole(head, data), limit)
            while http.has_backlog and not http.is_complete and http.failure is None:
                yield Receive(connection, limit)
            return None
        yield Write(connection, http.first(head), limit)
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
        error = yield from _write(ask, connection, http.piece(head, chunk))
        if error is not None:
            return error
    if http.is_complete or http.failure is not None:
        http.can_reuse = False  # an early answer: the rest of the body is never sent
        return None
    _check_length(head, sent, ended=True)
    return (yield from _write(ask, connection, http.last(head)))


def _write(ask: Ask[C], connection: C, data: bytes) -> Steps[C, OSError | None]:
    http, limit = connection.http, ask.timeouts.write
    try:
        if data:
            yield Write(connection, data, limit, watch=True)
        while http.has_backlog and not http.is_complete and http.failure is None:
            yield Receive(connection, limit)
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


def _receive(ask: Ask[C], connection: C) -> Steps[C, Reset | None]:
    """Wait for more of the head; a Reset when a limit of the mesh ran out."""
    read, idle = ask.timeouts.read, ask.idle_timeout
    left: float | None = None
    if ask.deadline is not None:
        left = max(0.0, ask.deadline - ask.clock.monotonic())
    timeout = shortest(shortest(read, idle), left)
    try:
        yield Receive(connection, timeout)
    except TimeoutError:
        if left is not None and timeout == left:
            return ask.reset(ask.timeout_reason)
        if idle is not None and timeout == idle:
            return ask.reset(ResetReason.PER_TRY_IDLE_TIMEOUT)
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
            raise CallerTimedOut("read") from None
        except OSError as error:
            http.receive_eof(error)
    piece = http.take()
    exchange.received += len(piece)
    return piece


def _cut(
    exchange: Exchange[C], reason: ResetReason, detail: str, error: BaseException | None
) -> Reset:
    return Reset(reason, detail, body_started=True, attempt=exchange.ask.attempt, error=error)
