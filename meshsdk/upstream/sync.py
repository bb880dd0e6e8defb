"""Attempts of blocking callers, in any number of threads."""

import threading
from contextlib import suppress

from meshsdk.call.effects import Dial, Dialed, Mirror, Send
from meshsdk.call.message import Outcome, Reset
from meshsdk.runtime.background import Background
from meshsdk.upstream import steps
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.body_copy import CopyDropped, ThreadCopy
from meshsdk.upstream.exchange import (
    BodyBroken,
    Exchange,
    attempt,
    attempt_over,
    next_piece,
)
from meshsdk.upstream.obtain import Lent, raw_connection
from meshsdk.upstream.pool import HostPool, Origin
from meshsdk.upstream.pools import Pools
from meshsdk.upstream.steps import Ask, Steps
from meshsdk.upstream.sync_connection import SyncConnection, open_socket
from meshsdk.upstream.timeouts import MIRROR_TIMEOUT, UNBOUNDED, CallerTimeouts

_HEDGES = 256
"""Threads at once; above that a slow attempt stays alone."""


class SyncUpstream(Pools[SyncConnection]):
    """Pools that all threads share."""

    def reset(self) -> None:
        """As `Pools.reset`."""
        super().reset()
        self._background = Background()
        self.hedging = Background(_HEDGES)
        """Threads of attempts that run beside others of their calls."""

    def send(self, send: Send, body: RequestBody, timeouts: CallerTimeouts = UNBOUNDED) -> Outcome:
        """One attempt. CallerTimedOut, HeadError, BodyLengthError, and what the body raises."""
        return self.run(attempt(self.ask(send, body, timeouts)))

    def dial(
        self, dial: Dial, origin: Origin, timeouts: CallerTimeouts = UNBOUNDED
    ) -> Dialed | Reset:
        """A raw connection; `Dialed.stream` is a `Lent`, for `send_over` or to be closed."""
        lent = self.run(raw_connection(self.ask_to_dial(dial, origin, timeouts)))
        return lent if isinstance(lent, Reset) else Dialed(lent, dial.host)

    def send_over(self, ask: Ask[SyncConnection], lent: Lent[SyncConnection]) -> Outcome:
        """The application's own request on a raw connection."""
        return self.run(attempt_over(ask, lent))

    def read(self, exchange: Exchange[SyncConnection]) -> bytes | None:
        """The next piece of a body; None at its end. BodyBroken, CallerTimedOut."""
        return self.run(next_piece(exchange))

    def mirror(self, mirror: Mirror, body: RequestBody) -> None:
        """Send a shadow request on another thread; its answer is read and dropped.

        A body that is still coming is sent as it comes.
        """
        if body.exhausted:
            shadow = RequestBody(body.read_whole())
        else:
            copy = ThreadCopy()
            body.copy_to(copy)
            shadow = RequestBody(source=iter(copy))

        def send() -> None:
            with suppress(CopyDropped):
                outcome = self.send(Send(mirror.attempt, mirror.timeout), shadow)
                exchange = self.exchange(outcome)
                if exchange is not None:
                    self._drain(exchange, mirror.timeout)

        self._background.run(send)

    def _drain(self, exchange: Exchange[SyncConnection], timeout: float | None) -> None:
        exchange.deadline = self.clock.monotonic() + (timeout or MIRROR_TIMEOUT)
        try:
            while not exchange.is_read:
                self.read(exchange)
        except BodyBroken:
            pass
        finally:
            exchange.finish()

    def close(self) -> None:
        """Close idle connections; those in use end with their calls."""
        self.close_idle()

    # -- performing steps -------------------------------------------------------------------

    def run(self, asking: Steps[SyncConnection, steps.R]) -> steps.R:
        """Perform what it asks for, on this thread."""
        try:
            step = next(asking)
            while True:
                try:
                    result = self._perform(step)
                except BaseException as error:
                    step = asking.throw(error)
                else:
                    step = asking.send(result)
        except StopIteration as stop:
            found: steps.R = stop.value
            return found

    def _perform(self, step: steps.Step[SyncConnection]) -> steps.Result[SyncConnection]:
        match step:
            case steps.Write(connection, data, timeout, watch):
                connection.write(data, timeout, watch=watch)
            case steps.Receive(connection, timeout):
                connection.receive(timeout)
            case steps.Connect(pool, timeout):
                return self._connect(pool, timeout)
            case steps.Pull(body):
                return body.pull()
            case steps.Park(pool, timeout, first):
                _park(pool, timeout, first)
        return None

    def _connect(self, pool: HostPool[SyncConnection], timeout: float | None) -> SyncConnection:
        layer = self.layer(pool)
        lease = self.lease(pool)
        ends = None if timeout is None else self.clock.monotonic() + timeout

        def left() -> float | None:
            """Else a peer that gives octet by octet would hold this thread beyond every limit."""
            seconds = None if ends is None else ends - self.clock.monotonic()
            if seconds is not None and seconds <= 0.0:
                raise TimeoutError("the handshake was not over in time")
            return seconds

        sock = open_socket(self.addresses.dial(pool.address), timeout, pool.cluster.tcp_keepalive)
        connection = SyncConnection(sock, lease, self.http(pool))
        try:
            if layer is not None:
                connection.handshake(layer, left)
        except BaseException:
            connection.close()
            raise
        self.opened(pool, connection)
        return connection


def _park(pool: HostPool[SyncConnection], timeout: float | None, first: bool) -> None:
    woken = threading.Event()
    if first:
        pool.waiters.appendleft(woken.set)
    else:
        pool.waiters.append(woken.set)
    if pool.idle or pool.has_room:
        # Something came free between our look and our place in the queue.
        pool.wake_one()
    if not woken.wait(timeout):
        try:
            pool.waiters.remove(woken.set)
        except ValueError:
            return  # woken at the last moment
        raise TimeoutError("no connection came free in time")
