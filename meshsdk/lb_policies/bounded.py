"""Consistent hashing with bounded loads: who has too much passes calls on.

Source: Envoy, BoundedLoadHashingLoadBalancer (arXiv:1608.01350, with the random jumps of 1908.08762).
"""

import math
from collections.abc import Iterator
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.lb_policies.policy import HashTable, WeightedHosts

_WORD: Final = 0xFFFFFFFF
_N: Final = 624
_M: Final = 397


def bounded(table: HashTable, hosts: WeightedHosts, factor: int | None) -> HashTable:
    """A table whose hosts take at most `factor` percent of their share; None: as it is."""
    return table if factor is None else Bounded(table, hosts, factor)


class Bounded:
    """A hash table that looks at what its hosts are doing."""

    __slots__ = ("_factor", "_hosts", "_table", "_weights")

    def __init__(self, table: HashTable, hosts: WeightedHosts, factor: int) -> None:
        self._table = table
        self._hosts = tuple(hosts)
        self._weights = {id(host): weight for host, weight in self._hosts}
        self._factor = factor

    def find(self, hash_: int, attempt: int) -> Host | None:
        """The table's host, unless it is overloaded; then the first that is not, else the least."""
        host = self._table.find(hash_, attempt)
        if host is None:
            return None
        active = sum(h.state.active_requests for h, _ in self._hosts)
        slots = ((active + 1) * self._factor + 99) // 100
        least = _overload(host, self._weights[id(host)], slots)
        if least <= 1.0:
            return host
        found = host
        for other, weight in self._jumps(hash_):
            if other is host:
                continue
            load = _overload(other, weight, slots)
            if load <= 1.0:
                return other
            if load < least:
                found, least = other, load
        return found

    def _jumps(self, seed: int) -> Iterator[tuple[Host, float]]:
        """Every host once, in an order that only the hash decides."""
        order = list(range(len(self._hosts)))
        numbers = mt19937(seed)
        for i in range(len(order)):
            left = len(order) - i
            jump = left
            while jump >= left:
                jump = next(numbers) // ((_WORD + 1) // left)
            order[i], order[i + jump] = order[i + jump], order[i]
            yield self._hosts[order[i]]


def _overload(host: Host, weight: float, slots: int) -> float:
    """Calls under way for each that it may have; 1 is full."""
    return host.state.active_requests / max(math.ceil(slots * weight), 1)


def mt19937(seed: int) -> Iterator[int]:
    """std::mt19937: 32 bits each. Only as much of its state is made as the numbers taken need."""
    state = [seed & _WORD]

    def at(index: int) -> int:
        while len(state) <= index:
            before = state[-1]
            state.append((1812433253 * (before ^ before >> 30) + len(state)) & _WORD)
        return state[index]

    made: list[int] = []
    """The state after its first turn, and on from there."""

    def word(index: int) -> int:
        return at(index) if index < _N else made[index - _N]

    while True:
        k = len(made)
        mixed = (word(k) & 0x80000000) | (word(k + 1) & 0x7FFFFFFF)
        value = word(k + _M) ^ mixed >> 1 ^ (0x9908B0DF if mixed & 1 else 0)
        made.append(value)
        value ^= value >> 11
        value ^= value << 7 & 0x9D2C5680
        value ^= value << 15 & 0xEFC60000
        yield value ^ value >> 18
