"""Request bodies: whole, or pulled from the application and kept for a replay while small."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from meshsdk.errors import UsageError
from meshsdk.upstream.body_copy import BodyCopy

REPLAY_LIMIT: Final = 1 << 20
"""Octets kept for retries: Envoy's default per_connection_buffer_limit_bytes, 1 MiB."""


class BodyLengthError(UsageError):
    """The application's body is not as long as the content-length that it declared."""


class RequestBody:
    """One call's request body, through all of its attempts."""

    __slots__ = (
        "_copies",
        "_kept",
        "_limit",
        "_on_outgrown",
        "_size",
        "async_source",
        "exhausted",
        "pulled",
        "source",
    )

    def __init__(
        self,
        data: bytes = b"",
        *,
        source: Iterator[bytes] | None = None,
        async_source: AsyncIterator[bytes] | None = None,
        limit: int = REPLAY_LIMIT,
    ) -> None:
        """`data` whole, or a source that is read once."""
        self.source = source
        self.async_source = async_source
        self.exhausted = source is None and async_source is None
        """Nothing more will come out of the source."""
        self._kept: list[bytes] | None = [data] if data else []
        self._size = len(data)
        self._limit = limit
        self._copies: list[BodyCopy] = []
        self._on_outgrown: Callable[[], None] | None = None
        self.pulled = len(data)
        """Octets taken from the application so far."""

    @property
    def length(self) -> int | None:
        """Octets of the whole body; None while they are not known."""
        return self.pulled if self.exhausted else None

    @property
    def is_replayable(self) -> bool:
        """Whether another attempt can send it from the start."""
        return self._kept is not None

    @property
    def kept(self) -> list[bytes]:
        """What was pulled so far. Only while `is_replayable`."""
        if self._kept is None:
            raise AssertionError("the body outgrew its replay buffer")
        return self._kept

    def on_outgrown(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the body cannot be replayed any more."""
        self._on_outgrown = tell
        if self._kept is None:
            tell()

    def pulled_one(self, chunk: bytes, *, is_for_a_filter: bool = False) -> None:
        """The application gave this. What a filter has read must stay for the first attempt."""
        self.pulled += len(chunk)
        self._size += len(chunk)
        for copy in self._copies:
            copy.put(chunk)
        if self._kept is None:
            return
        if self._size <= self._limit or is_for_a_filter:
            self._kept.append(chunk)
            return
        self._kept = None
        if self._on_outgrown is not None:
            self._on_outgrown()

    def copy_to(self, copy: BodyCopy) -> None:
        """Give another the body too: what was pulled at once, the rest as it is pulled. Before the
        body outgrows its buffer."""
        for chunk in self.kept:
            copy.put(chunk)
        if self.exhausted:
            copy.end()
        else:
            self._copies.append(copy)

    def ended(self) -> None:
        """The source is exhausted."""
        self.exhausted = True
        for copy in self._copies:
            copy.end()
        self._copies = []

    def end_copies(self) -> None:
        """Nothing more will be pulled: the call is over."""
        if self._copies:
            for copy in self._copies:
                copy.drop()
            self._copies = []

    def read_whole(self) -> bytes:
        """All that was pulled, joined. Only while `is_replayable`."""
        kept = self.kept
        if len(kept) > 1:
            kept = self._kept = [b"".join(kept)]
        return kept[0] if kept else b""

    def pull(self) -> bytes | None:
        """The application's next piece; None at its end. For blocking callers."""
        if self.source is None:
            raise UsageError("a blocking call was given an asynchronous body")
        return next(self.source, None)

    async def apull(self) -> bytes | None:
        """`pull` for coroutines."""
        if self.async_source is not None:
            return await anext(self.async_source, None)
        return self.pull()
