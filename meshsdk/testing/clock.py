"""Time and chance that a test sets by hand."""

import random as _random  # noqa: TID251 - a generator of its own, seeded by the test


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, monotonic: float = 1000.0, time: float = 1_700_000_000.0) -> None:
        self._monotonic = monotonic
        self._time = time

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return self._monotonic

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._time

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self._monotonic += seconds
        self._time += seconds


class SeededRandom:
    """The same draws in every run."""

    def __init__(self, seed: int = 0) -> None:
        self._random = _random.Random(seed)  # noqa: S311 - not for secrets

    def random(self) -> float:
        """Uniform in [0, 1)."""
        return self._random.random()

    def randrange(self, stop: int, /) -> int:
        """Uniform in [0, stop)."""
        return self._random.randrange(stop)
