"""How long to wait before the next stream."""

from typing import Final

from meshsdk.clock import Random

BASE: Final = 1.0
MAXIMUM: Final = 30.0  # seconds, FEED.md 1.11


class Backoff:
    """Exponential with full jitter; reset when the control plane spoke."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._failures = 0

    def next_delay(self) -> float:
        """Seconds until the next try: uniform in [0, min(30, 2**failures))."""
        ceiling = min(MAXIMUM, BASE * (1 << self._failures))
        self._failures = min(self._failures + 1, 10)
        return self._random.random() * ceiling

    def reset(self) -> None:
        """A response came."""
        self._failures = 0
