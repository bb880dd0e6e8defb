"""Requests of a streaming call, kept for another attempt while they are few."""

import threading
from collections.abc import Callable, Iterator
from typing import Final

from meshsdk.integrations.grpcio.api import Serializer
from meshsdk.upstream.body import REPLAY_LIMIT

_OVER: Final = "this attempt is over"


class Item:
    """One message, serialized at most once."""

    __slots__ = ("data", "message", "weigh")

    def __init__(self, message: object, weigh: Callable[[int], None]) -> None:
        self.message = message
        self.data: bytes | None = None
        self.weigh = weigh


def item_serializer(serialize: Serializer | None) -> Serializer:
    """The serializer for items; whatever the application's own raises goes through."""

    def of(item: object) -> bytes:
        assert isinstance(item, Item)
        data = item.data
        if data is None:
            message = item.message
            found = message if serialize is None else serialize(message)
            assert isinstance(found, bytes)
            data = item.data = found
            item.weigh(len(data))
        return data

    return of


class Replay:
    """The application's requests, read once, given to one attempt after the other."""

    def __init__(self, source: Iterator[object], on_outgrown: Callable[[], None]) -> None:
        self._source = source
        self._on_outgrown = on_outgrown
        self._changed = threading.Condition()
        self._items: list[Item] = []
        self._gone = 0
        """Items that no attempt can ask for any more."""
        self._weight = 0
        self._keeps = True
        self._is_pulled = False
        self._end: BaseException | None = None
        self._attempts = 0

    def attempt(self) -> Iterator[Item]:
        """All requests from the start, for one more attempt; earlier ones get nothing more."""
        with self._changed:
            self._attempts += 1
            self._changed.notify_all()
            return _Reader(self, self._attempts)

    def commit(self) -> None:
        """There will be no other attempt."""
        with self._changed:
            self._keeps = False

    def weigh(self, octets: int) -> None:
        """A message was serialized."""
        with self._changed:
            self._weight += octets
            if not self._keeps or self._weight <= REPLAY_LIMIT:
                return
            self._keeps = False
        self._on_outgrown()

    def read(self, attempt: int, at: int) -> Item:
        """The item at a place, for an attempt. StopIteration at the end, and for one that is over;
        what the application's iterator raises."""
        while True:
            with self._changed:
                while True:
                    if attempt != self._attempts:
                        raise StopIteration(_OVER)
                    if at - self._gone < len(self._items):
                        return self._taken(at)
                    if self._end is not None:
                        raise self._end
                    if not self._is_pulled:
                        break
                    self._changed.wait()
                self._is_pulled = True
            self._pull()

    def _taken(self, at: int) -> Item:
        item = self._items[at - self._gone]
        if not self._keeps:
            del self._items[: at - self._gone + 1]
            self._gone = at + 1
        return item

    def _pull(self) -> None:
        end: BaseException | None = None
        item = None
        try:
            item = Item(next(self._source), self.weigh)
        except BaseException as error:
            end = error
        with self._changed:
            self._is_pulled = False
            if item is None:
                self._end = end
            else:
                self._items.append(item)
            self._changed.notify_all()


class _Reader:
    __slots__ = ("_at", "_attempt", "_replay")

    def __init__(self, replay: Replay, attempt: int) -> None:
        self._replay = replay
        self._attempt = attempt
        self._at = 0

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Item:
        item = self._replay.read(self._attempt, self._at)
        self._at += 1
        return item
