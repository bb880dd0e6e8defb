"""Hedging on an asyncio event loop: attempts of one call that run beside each other."""

import asyncio
from collections.abc import Collection
from typing import cast

from meshsdk.call.effects import Attempt, Send
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.upstream.async_pools import AsyncPools
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import Exchange, attempt
from meshsdk.upstream.steps import Steps
from meshsdk.upstream.timeouts import CallerTimeouts
from meshsdk.upstream.waiting import Waiting, patient_attempt, resumed


class AioHedges:
    """The first attempt runs in the caller's task for as long as it is alone."""

    def __init__(self, pools: AsyncPools[Connection]) -> None:
        self._pools = pools
        self._running: dict[Attempt, asyncio.Task[Outcome]] = {}

    async def send(self, send: Send, body: RequestBody, timeouts: CallerTimeouts) -> Outcome:
        """As `AsyncPools.send`, for a Send with `keep_after` or `also`."""
        new = send.attempt
        if new not in self._running:
            ask = self._pools.ask(send, body, timeouts)
            if send.also or send.keep_after is None:
                self._start(new, attempt(ask))
            else:
                first = await self._pools.run(patient_attempt(ask, send.keep_after))
                if not isinstance(first, Waiting):
                    return first
                self._start(new, resumed(first))
                return _still_running(new)
        awaited = [self._running[a] for a in (new, *send.also)]
        await asyncio.wait(awaited, timeout=send.keep_after, return_when=asyncio.FIRST_COMPLETED)
        for one in (new, *send.also):
            if self._running[one].done():
                return self._running.pop(one).result()
        return _still_running(new)

    def settle(self, kept: Collection[Attempt]) -> None:
        """End every attempt that is not named."""
        for one in [a for a in self._running if a not in kept]:
            task = self._running.pop(one)
            if not task.cancel():
                _dispose(task)

    def _start(self, new: Attempt, asking: Steps[Connection, Outcome]) -> None:
        self._running[new] = asyncio.get_running_loop().create_task(self._pools.run(asking))


def _still_running(one: Attempt) -> Reset:
    return Reset(ResetReason.PER_TRY_TIMEOUT, attempt=one, still_running=True)


def _dispose(task: asyncio.Task[Outcome]) -> None:
    """Let go of an answer that came but was not asked for any more."""
    if task.cancelled() or task.exception() is not None:
        return
    outcome = task.result()
    body = outcome.body if isinstance(outcome, Response) else None
    if isinstance(body, Exchange):
        cast("Exchange[Connection]", body).dispose()
