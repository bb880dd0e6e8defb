"""Ring hash (ketama): hosts own arcs of a ring; few keys move when hosts come or go."""

import math
from bisect import bisect_left
from collections.abc import Callable
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
from meshsdk.lb_policies.murmur import murmur2
from meshsdk.lb_policies.policy import HashTable, WeightedHosts
from meshsdk.matching.xxh64 import xxh64

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",
    honoured(
        "hash_function",
        "minimum_ring_size",
        "maximum_ring_size",
        "use_hostname_for_hashing",
        "hash_balance_factor",
        "consistent_hashing_lb_config",
        "locality_weighted_lb_config",
    ),
)
_MAX_SIZE: Final = 8 * 1024 * 1024
_FUNCTIONS: Final[dict[str, Callable[[bytes], int]]] = {
    "DEFAULT_HASH": xxh64,
    "XX_HASH": xxh64,
    "MURMUR_HASH_2": murmur2,
}


@dataclass(frozen=True, slots=True)
class RingHash:
    """The policy's config."""

    minimum_size: int = 1024
    maximum_size: int = _MAX_SIZE
    function: Callable[[bytes], int] = xxh64
    hashing: ConsistentHashing = DEFAULT_HASHING
    locality_weighted: bool = False
    not_built: tuple[str, ...] = ()

    def table(self, hosts: WeightedHosts) -> HashTable:
        """A ring of hashes."""
        return bounded(_Ring(self, hosts), hosts, self.hashing.balance_factor)


class _Ring:
    __slots__ = ("_hashes", "_hosts")

    def __init__(self, config: RingHash, hosts: WeightedHosts) -> None:
        points = _points(config, hosts) if hosts else []
        points.sort(key=lambda point: point[0])
        self._hashes = [hash_ for hash_, _ in points]
        self._hosts = [host for _, host in points]

    def find(self, hash_: int, attempt: int) -> Host | None:
        size = len(self._hosts)
        if not size:
            return None
        return self._hosts[(bisect_left(self._hashes, hash_) + attempt) % size]


def _points(config: RingHash, hosts: WeightedHosts) -> list[tuple[int, Host]]:
    """Each host as often as its weight says; the lightest a whole number of times.

    Source: Envoy, RingHashLoadBalancer::Ring.
    """
    least = min(weight for _, weight in hosts)
    scale = min(math.ceil(least * config.minimum_size) / least, float(config.maximum_size))
    points: list[tuple[int, Host]] = []
    target = 0.0
    for host, weight in hosts:
        prefix = hash_key(host, use_hostname=config.hashing.use_hostname) + b"_"
        target += scale * weight
        number = 0
        while len(points) < target:
            points.append((config.function(prefix + str(number).encode()), host))
            number += 1
    return points


def _parse(config: Reader, extensions: Extensions) -> RingHash:
    del extensions
    missing = check(config, TABLE)
    smallest = config.integer("minimum_ring_size", 1024, at_least=0, at_most=_MAX_SIZE)
    largest = config.integer("maximum_ring_size", _MAX_SIZE, at_least=0, at_most=_MAX_SIZE)
    if smallest > largest:
        raise config.error_at(
            "minimum_ring_size", f"expected at most maximum_ring_size ({largest}), found {smallest}"
        )
    hashing = parse_consistent_hashing(config)
    return RingHash(
        smallest,
        largest,
        config.enum("hash_function", _FUNCTIONS, "DEFAULT_HASH"),
        hashing,
        parse_locality_weighted(config),
        missing + hashing.not_built,
    )


EXTENSION: Final = LbPolicyExtension(
    "envoy.load_balancing_policies.ring_hash",
    ("type.googleapis.com/envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash",),
    _parse,
)
