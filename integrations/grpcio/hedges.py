"""Hedging: attempts of one call, of one request and one answer, that run beside each other."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from meshsdk.call.effects import Attempt, Send
from meshsdk.call.message import Outcome, Reset, ResetReason
from meshsdk.integrations.grpcio.api import SubFuture
from meshsdk.integrations.grpcio.endpoints import Endpoint


@dataclass(frozen=True, slots=True)
class Begun:
    """An attempt under way."""

    send: Send
    sub: SubFuture
    endpoint: Endpoint
    started: float
    """Monotonic seconds."""


Begin = Callable[[Send], Begun]
Judge = Callable[[Begun], Outcome]


class SyncHedges:
    """Attempts are futures of gRPC's; the caller's thread waits for the first."""

    def __init__(self, begin: Begin, judge: Judge) -> None:
        self._begin = begin
        self._judge = judge
        self._running: dict[Attempt, Begun] = {}
        self._changed = threading.Condition()

    def send(self, send: Send) -> Outcome:
        """The first outcome; a Reset that says `still_running` after `keep_after` seconds."""
        awaited = (send.attempt, *send.also)
        if send.attempt not in self._running:
            begun = self._running[send.attempt] = self._begin(send)
            begun.sub.add_done_callback(lambda _: self._tell())
        with self._changed:
            self._changed.wait_for(
                lambda: any(self._running[each].sub.done() for each in awaited), send.keep_after
            )
        for each in awaited:
            if self._running[each].sub.done():
                return self._judge(self._running.pop(each))
        return still_running(send.attempt)

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def settle(self, kept: Collection[Attempt]) -> None:
        """End every attempt that is not named."""
        for each in [one for one in self._running if one not in kept]:
            self._running.pop(each).sub.cancel()


class AioHedges:
    """Attempts are tasks."""

    def __init__(self, attempt: Callable[[Send], Awaitable[Outcome]]) -> None:
        self._attempt = attempt
        self._running: dict[Attempt, asyncio.Future[Outcome]] = {}

    async def send(self, send: Send) -> Outcome:
        """As `SyncHedges.send`."""
        awaited = (send.attempt, *send.also)
        if send.attempt not in self._running:
            self._running[send.attempt] = asyncio.ensure_future(self._attempt(send))
        tasks = [self._running[each] for each in awaited]
        await asyncio.wait(tasks, timeout=send.keep_after, return_when=asyncio.FIRST_COMPLETED)
        for each in awaited:
            if self._running[each].done():
                return self._running.pop(each).result()
        return still_running(send.attempt)

    def settle(self, kept: Collection[Attempt]) -> None:
        """End every attempt that is not named."""
        for each in [one for one in self._running if one not in kept]:
            task = self._running.pop(each)
            if not task.cancel() and not task.cancelled():
                task.exception()  # nobody asks for it any more


def still_running(attempt: Attempt) -> Reset:
    """The attempt goes on."""
    return Reset(ResetReason.PER_TRY_TIMEOUT, attempt=attempt, still_running=True)


def not_built(send: Send) -> Reset:
    """The reply to a Send that keeps attempts running, where that is not built."""
    detail = "hedging (attempts that run on beside each other) of futures and streams is not built"
    return Reset(ResetReason.PROTOCOL_ERROR, detail, request_sent=False, attempt=send.attempt)
