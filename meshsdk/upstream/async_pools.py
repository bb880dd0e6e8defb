"""Attempts of coroutines: what asyncio and trio have in common."""

from abc import abstractmethod
from collections.abc import Awaitable
from typing import TypeVar

from meshsdk.call.effects import Dial, Dialed, Mirror, Send
from meshsdk.call.message import Outcome, Reset
from meshsdk.upstream import steps
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import (
    BodyBroken,
    Exchange,
    attempt,
    attempt_over,
    next_piece,
)
from meshsdk.upstream.obtain import Lent, raw_connection
from meshsdk.upstream.pool import Origin
from meshsdk.upstream.pools import Pools
from meshsdk.upstream.steps import Ask, Steps
from meshsdk.upstream.timeouts import MIRROR_TIMEOUT, UNBOUNDED, CallerTimeouts

C = TypeVar("C", bound=Connection)


class AsyncPools(Pools[C]):
    """Pools of one event loop."""

    async def send(
        self, send: Send, body: RequestBody, timeouts: CallerTimeouts = UNBOUNDED
    ) -> Outcome:
        """One attempt. CallerTimedOut, HeadError, BodyLengthError, and what the body raises."""
        return await self.run(attempt(self.ask(send, body, timeouts)))

    async def dial(
        self, dial: Dial, origin: Origin, timeouts: CallerTimeouts = UNBOUNDED
    ) -> Dialed | Reset:
        """A raw connection; `Dialed.stream` is a `Lent`, for `send_over` or to be closed."""
        lent = await self.run(raw_connection(self.ask_to_dial(dial, origin, timeouts)))
        return lent if isinstance(lent, Reset) else Dialed(lent, dial.host)

    async def send_over(self, ask: Ask[C], lent: Lent[C]) -> Outcome:
        """The application's own request on a raw connection."""
        return await self.run(attempt_over(ask, lent))

    async def read(self, exchange: Exchange[C]) -> bytes | None:
        """The next piece of a body; None at its end. BodyBroken, CallerTimedOut."""
        return await self.run(next_piece(exchange))

    @abstractmethod
    def mirror(self, mirror: Mirror, body: RequestBody) -> None:
        """Send a shadow request and do not wait for it; a body that is still coming is sent as it
        comes."""

    async def shadow(self, mirror: Mirror, body: RequestBody) -> None:
        """Send a shadow request with a body of its own; its answer is read and dropped."""
        outcome = await self.send(Send(mirror.attempt, mirror.timeout), body)
        exchange = self.exchange(outcome)
        if exchange is None:
            return
        exchange.deadline = self.clock.monotonic() + (mirror.timeout or MIRROR_TIMEOUT)
        try:
            while not exchange.is_read:
                await self.read(exchange)
        except BodyBroken:
            pass
        finally:
            exchange.finish()

    async def run(self, asking: Steps[C, steps.R]) -> steps.R:
        """Perform what it asks for, in this task."""
        try:
            step = next(asking)
            while True:
                try:
                    result = await self._perform(step)
                except BaseException as error:
                    step = asking.throw(error)
                else:
                    step = asking.send(result)
        except StopIteration as stop:
            found: steps.R = stop.value
            return found

    @abstractmethod
    def _perform(self, step: steps.Step[C]) -> Awaitable[steps.Result[C]]: ...
