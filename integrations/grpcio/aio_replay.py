"""Requests of an asyncio streaming call, kept for another attempt while they are few."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from meshsdk.integrations.grpcio.replay import Item
from meshsdk.upstream.body import REPLAY_LIMIT


class AioReplay:
    """The application's requests, read once, given to one attempt after the other."""

    def __init__(
        self,
        source: AsyncIterable[object] | Iterable[object] | None,
        on_outgrown: Callable[[], None],
    ) -> None:
        """`source`: None where the application writes."""
        self._source = None if source is None else _async(source)
        self._on_outgrown = on_outgrown
        self.items: list[Item] = []
        self._gone = 0
        self._weight = 0
        self._keeps = True
        self._end: BaseException | None = None
        self._is_over = False
        self._attempts = 0
        self._pulling: asyncio.Task[None] | None = None

    def item(self, message: object) -> Item:
        """One message that the application wrote."""
        item = Item(message, self._weigh)
        if self._keeps:
            self.items.append(item)
        return item

    def commit(self) -> None:
        """There will be no other attempt."""
        self._keeps = False
        if self._source is None:
            self.items = []

    def _weigh(self, octets: int) -> None:
        self._weight += octets
        if self._keeps and self._weight > REPLAY_LIMIT:
            self._keeps = False
            self._on_outgrown()

    async def attempt(self) -> AsyncIterator[Item]:
        """All requests from the start, for one more attempt; earlier ones get nothing more."""
        self._attempts += 1
        number, at = self._attempts, 0
        while True:
            while at - self._gone >= len(self.items):
                if number != self._attempts:
                    return
                if self._is_over:
                    if self._end is not None:
                        raise self._end
                    return
                if self._pulling is None:
                    self._pulling = asyncio.get_running_loop().create_task(self._pull())
                # An attempt that is cancelled must not end the application's own iterator.
                await asyncio.shield(self._pulling)
            if number != self._attempts:
                return
            item = self.items[at - self._gone]
            if not self._keeps:
                del self.items[: at - self._gone + 1]
                self._gone = at + 1
            at += 1
            yield item

    async def _pull(self) -> None:
        assert self._source is not None
        try:
            self.items.append(Item(await anext(self._source), self._weigh))
        except StopAsyncIteration:
            self._is_over = True
        except BaseException as error:
            self._is_over, self._end = True, error
        finally:
            self._pulling = None

    def close(self) -> None:
        """The call was cancelled: so is what waits for the application's next request."""
        self._attempts += 1
        if self._pulling is not None:
            self._pulling.cancel()


async def _async(source: AsyncIterable[object] | Iterable[object]) -> AsyncIterator[object]:
    if isinstance(source, AsyncIterable):
        async for each in source:
            yield each
    else:
        for each in source:
            yield each
