"""Simulated time: a queue of events, run in order, over which many flows share one clock."""

import heapq
import itertools
from collections.abc import Callable
from typing import TypeAlias

Action: TypeAlias = Callable[[], None]


class Timer:
    """A scheduled action that can be called off."""

    __slots__ = ("action",)

    def __init__(self, action: Action) -> None:
        self.action: Action | None = action

    def cancel(self) -> None:
        """The action will not run."""
        self.action = None


class EventLoop:
    """Events by simulated time. It is the `Clock` of everything that runs on it."""

    def __init__(self, epoch: float = 1_700_000_000.0) -> None:
        self._now = 0.0
        self._epoch = epoch
        self._queue: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        """Simulated seconds."""
        return self._now

    def time(self) -> float:
        """Simulated seconds since the epoch."""
        return self._epoch + self._now

    def call_later(self, seconds: float, action: Action) -> Timer:
        """Run an action after some simulated seconds; equal times keep their order."""
        timer = Timer(action)
        heapq.heappush(self._queue, (self._now + max(0.0, seconds), next(self._order), timer))
        return timer

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Run events until there are none, or until `until` says so."""
        while self._queue and not until():
            when, _, timer = heapq.heappop(self._queue)
            self._now = max(self._now, when)
            action, timer.action = timer.action, None
            if action is not None:
                action()

    def advance(self, seconds: float) -> None:
        """Run everything that is due within some seconds, and be there."""
        end = self._now + seconds
        while self._queue and self._queue[0][0] <= end:
            when, _, timer = heapq.heappop(self._queue)
            self._now = max(self._now, when)
            action, timer.action = timer.action, None
            if action is not None:
                action()
        self._now = end
