"""The retry priority `previous_priorities`: retries leave the priorities that failed."""

from typing import TypeAlias

from meshsdk.call.endpoint import Host

Loads: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Percent per priority: of healthy hosts, of degraded ones."""


class PreviousPriorities:
    """Called by the balancer with (availability, loads) of the priorities; gives other loads.

    Source: Envoy, PreviousPrioritiesRetryPriority.
    """

    __slots__ = ("_attempted", "_excluded", "_frequency", "_loads")

    def __init__(self, update_frequency: int) -> None:
        self._frequency = update_frequency
        self._attempted: list[int] = []
        self._excluded: set[int] = set()
        self._loads: Loads | None = None

    def attempted(self, host: Host) -> None:
        """Remember the priority of a host that was tried."""
        self._attempted.append(host.endpoint.priority)

    def __call__(self, availability: Loads, loads: Loads) -> Loads:
        tries = len(self._attempted)
        if tries < self._frequency:
            return loads
        if tries % self._frequency == 0:
            self._excluded.update(self._attempted)
            self._loads = self._without_excluded(availability)
        return loads if self._loads is None else self._loads

    def _without_excluded(self, availability: Loads) -> Loads | None:
        """Loads of the priorities that are left; None: every one is unavailable anyway."""
        left = self._left(availability)
        if not _total(left):
            # Every priority has failed: begin again with all of them.
            self._excluded.clear()
            self._attempted.clear()
            left = self._left(availability)
        total = min(100, _total(left))
        if not total:
            return None
        shares = [[0] * len(part) for part in left]
        remaining = 100
        while remaining:  # once more for what rounding left over
            for part, available in zip(shares, left, strict=True):
                for index, percent in enumerate(available):
                    share = min(remaining, percent * 100 // total)
                    part[index] += share
                    remaining -= share
        return tuple(shares[0]), tuple(shares[1])

    def _left(self, availability: Loads) -> Loads:
        healthy, degraded = availability
        return self._masked(healthy), self._masked(degraded)

    def _masked(self, available: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(0 if i in self._excluded else p for i, p in enumerate(available))


def _total(loads: Loads) -> int:
    return sum(loads[0]) + sum(loads[1])
