"""Things that are done later, on one daemon thread."""

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Final

from meshsdk.clock import Clock
from meshsdk.runtime import fork

_IDLE: Final = 10.0
"""Seconds after which a thread without timers ends."""
_LOG = logging.getLogger("meshsdk.runtime")


class Timer:
    """Something that will be done, unless it is cancelled."""

    __slots__ = ("_what",)

    def __init__(self, what: Callable[[], None]) -> None:
        self._what: Callable[[], None] | None = what

    def cancel(self) -> None:
        """Do not do it. Harmless once it was done."""
        self._what = None

    def fire(self) -> None:
        """Do it."""
        what, self._what = self._what, None
        if what is not None:
            what()


class Timers:
    """Any thread may ask. The thread starts with the first timer, anew in a forked child."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.after_fork_in_child()
        fork.register(self)

    def before_fork(self) -> None:
        """See `fork.Forkable`. Nothing: the child makes everything anew."""

    def after_fork_in_parent(self) -> None:
        """See `fork.Forkable`."""

    def after_fork_in_child(self) -> None:
        """The parent's timers are not ours, and its thread is not here."""
        self._changed = threading.Condition()
        self._waiting: list[tuple[float, int, Timer]] = []
        self._count = itertools.count()
        self._thread: threading.Thread | None = None

    def after(self, seconds: float, what: Callable[[], None]) -> Timer:
        """Call `what` once `seconds` have passed; it must not block."""
        timer = Timer(what)
        with self._changed:
            at = self._clock.monotonic() + seconds
            heapq.heappush(self._waiting, (at, next(self._count), timer))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="meshsdk-timers", daemon=True
                )
                self._thread.start()
            elif self._waiting[0][2] is timer:
                self._changed.notify()
        return timer

    def _run(self) -> None:
        while True:
            with self._changed:
                timer = self._next()
                if timer is None:
                    self._thread = None
                    return
            try:
                timer.fire()
            except Exception:
                _LOG.exception("a timer failed")

    def _next(self) -> Timer | None:
        """The timer that is due; None when there was none for long."""
        while True:
            if not self._waiting:
                if not self._changed.wait(_IDLE) and not self._waiting:
                    return None
                continue
            left = self._waiting[0][0] - self._clock.monotonic()
            if left <= 0:
                return heapq.heappop(self._waiting)[2]
            self._changed.wait(left)
