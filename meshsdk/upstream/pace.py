"""A response body that is let through slowly, as a fault wants it.

Source: Envoy, StreamRateLimiter, and what a running one was seen to do: it looks every 50 ms, and
begins with 50 ms' worth of octets.
"""

from collections.abc import Iterator
from typing import Final

from meshsdk.clock import Clock

TICK: Final = 0.05
"""Seconds between looks."""


class Pace:
    """Of one body."""

    __slots__ = ("_clock", "_filled", "_left", "_rate")

    def __init__(self, kib: int, clock: Clock) -> None:
        """`kib`: KiB that may pass in a second."""
        self._clock = clock
        self._rate = kib * 1024
        self._left = self._rate * TICK
        """Octets that may pass now; at most a second's worth."""
        self._filled = clock.monotonic()

    def slices(self, data: bytes) -> Iterator[tuple[float, bytes]]:
        """The octets in order: seconds to wait, then what may pass. The caller waits in between."""
        while data:
            self._fill()
            while self._left < 1.0:
                yield TICK, b""
                self._fill()
            size = min(int(self._left), len(data))
            self._left -= size
            yield 0.0, data[:size]
            data = data[size:]

    def _fill(self) -> None:
        now = self._clock.monotonic()
        self._left = min(self._left + (now - self._filled) * self._rate, float(self._rate))
        self._filled = now
