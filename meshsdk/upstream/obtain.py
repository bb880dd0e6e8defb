"""Getting a connection: an idle one, a new one, or one that another call gives back."""

import os
import ssl
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, cast

from meshsdk.call.message import Reset, ResetReason
from meshsdk.errors import MeshError
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.pool import HostPool
from meshsdk.upstream.steps import Ask, Connect, Park, Steps
from meshsdk.upstream.timeouts import CallerTimedOut, shortest

C = TypeVar("C", bound=Connection)


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


def raw_connection(ask: Ask[C]) -> Steps[C, Lent[C] | Reset]:
    """A raw connection, on which the application's own protocol will run."""
    ask.start_clock()
    connection = ask.pool.take(ask.clock.monotonic(), ask.generation)
    if connection is not None:
        return Lent(connection, ask.pool, is_reused=True)
    obtained = yield from obtain(ask, fresh=False)
    if isinstance(obtained, Reset):
        return obtained
    return Lent(obtained[0], ask.pool, is_reused=obtained[1])


def obtain(ask: Ask[C], fresh: bool) -> Steps[C, tuple[C, bool] | Reset]:
    """A new connection, or one that another call gave back while we waited."""
    pool = ask.pool
    if not pool.limits.try_pending():
        return ask.reset(ResetReason.OVERFLOW, request_sent=False)
    wait = ask.timeouts.pool
    pool_deadline = None if wait is None else ask.clock.monotonic() + wait
    try:
        waited = False
        while True:
            if pool.count_in():
                return (yield from _connect(ask))
            connection = None if fresh else pool.take(ask.clock.monotonic(), ask.generation)
            if connection is not None:
                return connection, True
            expired = yield from _park(ask, waited, pool_deadline)
            if expired is not None:
                return expired
            waited = True
    finally:
        pool.limits.end_pending()


def _park(ask: Ask[C], waited: bool, pool_deadline: float | None) -> Steps[C, Reset | None]:
    now = ask.clock.monotonic()
    until = shortest(ask.deadline, pool_deadline)
    try:
        yield Park(ask.pool, None if until is None else max(0.0, until - now), waited)
    except TimeoutError:
        # A wake-up may have come at the same moment: it belongs to the next one.
        ask.pool.wake_one()
        if ask.deadline is not None and ask.clock.monotonic() >= ask.deadline:
            return ask.reset(ask.timeout_reason, request_sent=False)
        raise CallerTimedOut("pool") from None
    except BaseException:
        ask.pool.wake_one()
        raise
    return None


def _connect(ask: Ask[C]) -> Steps[C, tuple[C, bool] | Reset]:
    """Open a connection that is counted in already."""
    pool, now = ask.pool, ask.clock.monotonic()
    own = pool.cluster.connect_timeout
    left = None if ask.deadline is None else max(0.0, ask.deadline - now)
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
            return ask.reset(ask.timeout_reason, request_sent=False, error=error)
        return ask.reset(ResetReason.CONNECT_TIMEOUT, request_sent=False, error=error)
    except (OSError, MeshError) as error:
        return replace(reason_of(error), attempt=ask.attempt)
    finally:
        if not is_open:
            pool.count_out()


def reason_of(error: OSError | MeshError) -> Reset:
    """Why a connection was not made."""
    match error:
        case ssl.SSLError():
            reason = ResetReason.TLS_FAILURE
            is_plain = type(error) is ssl.SSLError
            detail = f"TLS error: {error.reason or error}" if is_plain else str(error)
        case TimeoutError():
            reason, detail = ResetReason.CONNECT_TIMEOUT, ""
        case MeshError():
            reason, detail = ResetReason.TLS_FAILURE, str(error)
        case _:
            reason, detail = ResetReason.CONNECT_FAILURE, f"delayed connect error: {_said(error)}"
    return Reset(reason, detail, request_sent=False, error=error)


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
