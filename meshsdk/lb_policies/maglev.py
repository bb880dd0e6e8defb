"""Maglev: a lookup table that hosts fill in turns, each in an order of its own."""

from array import array
from dataclasses import dataclass
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.config.extension import Extensions, LbPolicyExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.bounded import bounded
from meshsdk.lb_policies.hashing import (
    DEFAULT_HASHING,
    ConsistentHashing,
    hash_key,
    parse_consistent_hashing,
    parse_locality_weighted,
)
from meshsdk.lb_policies.policy import HashTable, WeightedHosts
from meshsdk.matching.xxh64 import xxh64

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.maglev.v3.Maglev",
    honoured("table_size", "consistent_hashing_lb_config", "locality_weighted_lb_config"),
)
_DEFAULT_SIZE: Final = 65537
_MAX_SIZE: Final = 5_000_011
_UINT64: Final = 0xFFFFFFFFFFFFFFFF
_FREE: Final = -1


@dataclass(frozen=True, slots=True)
class Maglev:
    """The policy's config."""

    size: int = _DEFAULT_SIZE
    hashing: ConsistentHashing = DEFAULT_HASHING
    locality_weighted: bool = False
    not_built: tuple[str, ...] = ()

    def table(self, hosts: WeightedHosts) -> HashTable:
        """A table of `size` entries."""
        return bounded(_Table(self, hosts), hosts, self.hashing.balance_factor)


class _Table:
    __slots__ = ("_entries", "_hosts", "_size")

    def __init__(self, config: Maglev, hosts: WeightedHosts) -> None:
        keyed = [(hash_key(h, use_hostname=config.hashing.use_hostname), h, w) for h, w in hosts]
        # The order of turns must not depend on the order in which hosts are listed.
        keyed.sort(key=lambda entry: entry[0])
        self._size = config.size
        self._hosts = [host for _, host, _ in keyed]
        self._entries = _fill(config.size, [(key, weight) for key, _, weight in keyed])

    def find(self, hash_: int, attempt: int) -> Host | None:
        if not self._hosts:
            return None
        if attempt:
            hash_ ^= _UINT64 - attempt + 1
        return self._hosts[self._entries[hash_ % self._size]]


def _fill(size: int, hosts: list[tuple[bytes, float]]) -> "array[int]":
    """The host's index for each entry.

    Source: Envoy, MaglevTable (listing 1 of the Maglev paper, with weights).
    """
    entries = array("l", [_FREE]) * size
    if not hosts:
        return entries
    heaviest = max(weight for _, weight in hosts)
    at = [xxh64(key) % size for key, _ in hosts]
    skips = [xxh64(key, 1) % (size - 1) + 1 for key, _ in hosts]
    targets = [0.0] * len(hosts)
    filled = turn = 0
    while filled < size:
        turn += 1
        for index, (_, weight) in enumerate(hosts):
            if filled == size:
                break
            # A host of a third of the greatest weight has a turn in every third round.
            if turn * weight < targets[index]:
                continue
            targets[index] += heaviest
            entry, skip = at[index], skips[index]
            while entries[entry] != _FREE:
                entry = (entry + skip) % size
            entries[entry] = index
            at[index] = (entry + skip) % size
            filled += 1
    return entries


def is_prime(number: int) -> bool:
    """Whether a table of this size is filled by every order of turns."""
    if number < 2:
        return False
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def _parse(config: Reader, extensions: Extensions) -> Maglev:
    del extensions
    missing = check(config, TABLE)
    size = config.integer("table_size", _DEFAULT_SIZE, at_most=_MAX_SIZE)
    if not is_prime(size):
        raise config.error_at("table_size", f"expected a prime number, found {size}")
    hashing = parse_consistent_hashing(config)
    return Maglev(size, hashing, parse_locality_weighted(config), missing + hashing.not_built)


EXTENSION: Final = LbPolicyExtension(
    "envoy.load_balancing_policies.maglev",
    ("type.googleapis.com/envoy.extensions.load_balancing_policies.maglev.v3.Maglev",),
    _parse,
)
