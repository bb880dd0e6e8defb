"""Time and chance as arguments: the only module that may import `time` and `random`."""

import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where every room reads time. Deadlines use `monotonic`; certificates and logs use `time`."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; its zero means nothing."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, UTC."""
        ...


class Random(Protocol):
    """Where every room draws chance; `random.Random` is one."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...

    def randrange(self, stop: int, /) -> int:
        """Uniform in [0, stop)."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


class SystemRandom:
    """The process's generator, which CPython reseeds in a forked child."""

    __slots__ = ()

    random = staticmethod(random.random)

    @staticmethod
    def randrange(stop: int, /) -> int:
        # int(random() * n) is a third of randrange's cost; exact for the weights that xDS allows.
        return int(random.random() * stop)


def seeded(seed: int) -> Random:
    """Chance that is the same in every run: for simulations and tests."""
    return random.Random(seed)
