"""A request body a second time, for a shadow request, while the application still gives it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from threading import Condition
from typing import Final, Protocol

_LIMIT: Final = 4 << 20
"""Octets that wait for a slow shadow before it is given up."""


class CopyDropped(Exception):
    """The shadow was too slow, or the call ended before its body: the shadow request ends too."""


class BodyCopy(Protocol):
    """Where a body is copied to. None of it blocks."""

    def put(self, chunk: bytes) -> None:
        """The next piece."""
        ...

    def end(self) -> None:
        """That was all."""
        ...

    def drop(self) -> None:
        """The rest will never come."""
        ...


class _Pieces:
    """What was put and not taken."""

    __slots__ = ("is_dropped", "is_ended", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: deque[bytes] = deque()
        self.size = 0
        self.is_ended = False
        self.is_dropped = False

    def put(self, chunk: bytes) -> None:
        self.pieces.append(chunk)
        self.size += len(chunk)
        if self.size > _LIMIT:
            self.is_dropped = True

    def take(self) -> bytes | None:
        """A piece; empty where there is none yet; None at the end. CopyDropped."""
        if self.is_dropped:
            raise CopyDropped
        if self.pieces:
            piece = self.pieces.popleft()
            self.size -= len(piece)
            return piece
        return None if self.is_ended else b""


class ThreadCopy:
    """For a shadow on another thread, which iterates."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._changed = Condition()

    def put(self, chunk: bytes) -> None:
        """The next piece."""
        with self._changed:
            self._pieces.put(chunk)
            self._changed.notify()

    def end(self) -> None:
        """That was all."""
        with self._changed:
            self._pieces.is_ended = True
            self._changed.notify()

    def drop(self) -> None:
        """The rest will never come."""
        with self._changed:
            self._pieces.is_dropped = not self._pieces.is_ended
            self._changed.notify()

    def __iter__(self) -> Iterator[bytes]:
        """The pieces; blocks until there are some. CopyDropped."""
        while True:
            with self._changed:
                piece = self._pieces.take()
                while piece == b"":
                    self._changed.wait()
                    piece = self._pieces.take()
            if piece is None:
                return
            yield piece


class LoopCopy:
    """For a shadow in another task of the same event loop."""

    def __init__(self) -> None:
        self._pieces = _Pieces()
        self._changed = asyncio.Event()

    def put(self, chunk: bytes) -> None:
        """The next piece."""
        self._pieces.put(chunk)
        self._changed.set()

    def end(self) -> None:
        """That was all."""
        self._pieces.is_ended = True
        self._changed.set()

    def drop(self) -> None:
        """The rest will never come."""
        self._pieces.is_dropped = not self._pieces.is_ended
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces as they come. CopyDropped."""
        while True:
            piece = self._pieces.take()
            if piece is None:
                return
            if piece:
                yield piece
            else:
                self._changed.clear()
                await self._changed.wait()
