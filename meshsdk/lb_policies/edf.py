"""Earliest deadline first: weighted picking in which equal weights take turns."""

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Edf(Generic[T]):
    """Items, each due once every 1/weight. Picks from several threads lose no item.

    Source: Envoy, EdfScheduler: among equal deadlines the one that was added first comes first.
    """

    __slots__ = ("_heap", "_order")

    def __init__(self, items: Sequence[tuple[T, float]], already_picked: int = 0) -> None:
        """`already_picked`: begin as if that many picks had been made. Weights are above 0."""
        self._order = count()
        total = sum(weight for _, weight in items)
        rounds = already_picked / total if total else 0.0
        taken = 0
        heap: list[tuple[float, int, T]] = []
        for item, weight in items:
            picks = int(rounds * weight)
            taken += picks
            heap.append(((picks + 1) / weight, next(self._order), item))
        heapify(heap)
        self._heap = heap
        weights = {id(item): weight for item, weight in items}
        for _ in range(already_picked - taken):
            self.pick(lambda item: weights[id(item)])

    def pick(self, weight: Callable[[T], float]) -> T | None:
        """The item that is due; `weight` says when it is due again. None: there are no items."""
        try:
            deadline, _, item = heappop(self._heap)
        except IndexError:  # none, or other threads hold every item this very moment
            return None
        heappush(self._heap, (deadline + 1.0 / weight(item), next(self._order), item))
        return item

    def __len__(self) -> int:
        return len(self._heap)
