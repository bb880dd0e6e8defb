"""Records of decisions on demand: worked out when a hook asks, and only so many a second."""

from threading import Lock
from typing import Final

from meshsdk.call.decision_record import SHOWN, DecisionRecord, Explain, Shown
from meshsdk.clock import Clock

_PER_SECOND: Final = 10.0
_AT_ONCE: Final = 20.0


class RecordBudget:
    """How many records may be made: an attacker's denials must not cost more than their 403."""

    __slots__ = ("_at", "_clock", "_left", "_lock", "shown")

    def __init__(self, clock: Clock, shown: Shown = SHOWN) -> None:
        self.shown = shown
        self._clock = clock
        self._lock = Lock()
        self._left = _AT_ONCE
        self._at = clock.monotonic()

    def take(self) -> bool:
        """Whether one more record may be made now."""
        with self._lock:
            now = self._clock.monotonic()
            self._left = min(_AT_ONCE, self._left + (now - self._at) * _PER_SECOND)
            self._at = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class Why:
    """Why a request was denied. Ask while the hook runs: the request is not kept for later."""

    __slots__ = ("_asked", "_budget", "_explain", "_record")

    def __init__(self, explain: Explain | None = None, budget: RecordBudget | None = None) -> None:
        self._explain = explain
        self._budget = budget
        self._asked = False
        self._record: DecisionRecord | None = None

    def record(self) -> DecisionRecord | None:
        """None: no policy decided, or too many records were asked for this second."""
        if not self._asked and self._explain is not None:
            self._asked = True
            if self._budget is None:
                self._record = self._explain(SHOWN)
            elif self._budget.take():
                self._record = self._explain(self._budget.shown)
        return self._record

    def __repr__(self) -> str:
        return "Why()"


UNEXPLAINED: Final = Why()
