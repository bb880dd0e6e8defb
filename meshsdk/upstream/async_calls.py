"""Outbound calls of awaiting client libraries, under asyncio, uvloop and trio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import cast

import anyio
from anyio import to_thread

from meshsdk.call.effects import (
    Dial,
    Dialed,
    Effect,
    Fetch,
    GrpcFetch,
    Mirror,
    ReadBody,
    Reply,
    Send,
    Sleep,
    WaitForConfig,
)
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.flow.drive import adrive
from meshsdk.upstream.aio import AnyPools
from meshsdk.upstream.aio_hedges import AioHedges
from meshsdk.upstream.aio_pools import AioPools
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.calls import (
    Call,
    Membership,
    ResponseBody,
    Wanted,
    ask_over,
    body_read,
    refused,
)
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import BodyBroken


class AsyncCall(Call):
    """Runs in the caller's task."""

    __slots__ = ("pools",)

    def __init__(self, mesh: Membership, wanted: Wanted) -> None:
        super().__init__(mesh, wanted)
        self.pools: AnyPools = mesh.async_upstream.here()

    async def run(self) -> Outcome:
        """The delivered outcome. `AsyncBody` reads a response's body; a Reset ended the call.

        CallerTimedOut, NotReadyError, HeadError, BodyLengthError, and what the body raises.
        """
        outcome: Outcome | Dialed
        try:
            outcome = await adrive(self.flow, self._perform)
            self._settle(outcome)
            if isinstance(outcome, Dialed):
                outcome = await self._over(outcome)
            if isinstance(outcome, Reset):
                self.ended(0, reset=outcome)
        except BaseException:
            self.end_early()
            raise
        return outcome

    async def _perform(self, effect: Effect) -> Reply:
        pools, wanted = self.pools, self.wanted
        if self._undelivered is not None:
            self._settle_response()
        match effect:
            case Send():
                if effect.keep_after is not None or self.beside is not None:
                    return self._sent(await self._hedged(effect))
                return self._sent(await pools.send(effect, wanted.body, wanted.timeouts))
            case Sleep(seconds):
                await anyio.sleep(seconds)
                return None
            case Dial():
                return await pools.dial(effect, wanted.origin, wanted.timeouts)
            case Mirror():
                pools.mirror(effect, wanted.body)
                return None
            case ReadBody(limit):
                await _pull(wanted.body, limit)
                return body_read(wanted.body, limit)
            case WaitForConfig():
                return await self._wait(effect)
            case Fetch() | GrpcFetch():
                return await self.mesh.fetcher.afetch(effect)
            case _:
                return refused(effect)

    async def _wait(self, effect: WaitForConfig) -> bool:
        publisher, seen = self.mesh.publisher, self._seen
        if effect.listener:
            self.mesh.feed.want(effect.listener)
        if isinstance(self.pools, AioPools):
            loop = asyncio.get_running_loop()
            changed = loop.create_future()

            def wake() -> None:
                with suppress(RuntimeError):  # the loop closed meanwhile
                    loop.call_soon_threadsafe(_resolve, changed)

            forget = publisher.on_change(seen, wake)
            try:
                async with asyncio.timeout(effect.timeout):
                    await changed
            except TimeoutError:
                pass
            finally:
                forget()
        else:
            await to_thread.run_sync(publisher.wait, seen, effect.timeout, abandon_on_cancel=True)
        self._seen = publisher.plan
        return self._seen is not seen

    async def _hedged(self, send: Send) -> Outcome:
        """A Send that keeps attempts running."""
        if not isinstance(self.pools, AioPools):
            detail = "hedging (attempts that run on beside each other) is not built under trio"
            return Reset(
                ResetReason.PROTOCOL_ERROR, detail, request_sent=False, attempt=send.attempt
            )
        if self.beside is None:
            self.beside = AioHedges(cast("AnyPools", self.pools))
        assert isinstance(self.beside, AioHedges)
        self.beside.settle((send.attempt, *send.also))
        return await self.beside.send(send, self.wanted.body, self.wanted.timeouts)

    async def _over(self, dialed: Dialed) -> Outcome:
        """The application's own HTTP over a raw connection (tcp_proxy)."""
        lent = self.pools.lent(dialed)
        try:
            ask = ask_over(self.wanted, lent, self.pools.clock)
            return await self.pools.send_over(ask, lent)
        finally:
            lent.close()


def _resolve(changed: asyncio.Future[None]) -> None:
    if not changed.done():
        changed.set_result(None)


async def _pull(body: RequestBody, limit: int) -> None:
    while not body.exhausted and body.pulled <= limit:
        chunk = await body.apull()
        if chunk is None:
            body.ended()
        else:
            body.pulled_one(chunk, is_for_a_filter=True)


class AsyncBody(ResponseBody[Connection]):
    """A body that is awaited piece by piece."""

    __slots__ = ("_pools",)

    def __init__(self, call: AsyncCall, response: Response) -> None:
        self._pools = call.pools
        super().__init__(call, call.pools.exchange(response))

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces as they come. BodyBroken, CallerTimedOut."""
        exchange, pools = self._exchange, self._pools
        if exchange.is_switched:
            return  # 101: what follows is no body
        try:
            while not self._is_over:
                piece = await pools.read(exchange)
                if self._pace is not None:
                    for wait, part in self._pace.slices(piece or b""):
                        await anyio.sleep(wait)
                        if part:
                            yield part
                    piece = b"" if piece else None
                if exchange.is_read:
                    self._end()
                if piece is None:
                    return
                if piece:
                    yield piece
        except BodyBroken as broken:
            self._break(broken)
            raise
        except BaseException:
            self.close()
            raise
