"""The balancer of policies that map a hash to a host (ring hash, maglev).

Source: Envoy, ThreadAwareLoadBalancerBase.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.clock import Random
from meshsdk.config.fields import MessageTable, check, honoured, not_built
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.localities import by_locality
from meshsdk.lb_policies.policy import HashPolicy, HashTable, Live, PickContext, WeightedHosts
from meshsdk.lb_policies.priority import HostSet, PriorityState, by_priority, choose, spread
from meshsdk.lb_policies.settings import Settings

CONSISTENT_HASHING: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.common.v3.ConsistentHashingLbConfig",
    honoured("use_hostname_for_hashing", "hash_balance_factor")
    | {
        "hash_policy": not_built("hash policies of the cluster"),
    },
)
LOCALITY_WEIGHTED: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig.LocalityWeightedLbConfig",
    {},
)
_KEPT_TABLES: Final = 4
"""Tables of recent host sets: an ejection that ends brings an old one back."""


@dataclass(frozen=True, slots=True)
class _View:
    version: int
    state: PriorityState
    tables: tuple[HashTable, ...]


class HashBalancer:
    """Chooses a priority by the hash, then asks that priority's table."""

    __slots__ = ("_hosts", "_policy", "_settings", "_tables", "_view", "live")

    def __init__(
        self, policy: HashPolicy, hosts: Sequence[Host], settings: Settings, live: Live
    ) -> None:
        self._policy = policy
        self._hosts = tuple(hosts)
        self._settings = settings
        self.live = live
        self._tables: dict[object, HashTable] = {}
        self._view = self._look()

    def pick(self, context: PickContext) -> Host | None:
        """A host, or None when none may be used."""
        health = self._settings.health
        health.sweep(context.now)
        view = self._view
        if view.version != health.version:
            view = self._view = self._look()
        drawn = _draw(context.random) if context.hash is None else context.hash
        loads = view.state.loads
        if context.reload is not None:
            loads = context.reload(view.state.availability, loads)
        priority, _ = choose(loads, drawn % 100 + 1)
        table = view.tables[priority]
        host: Host | None = None
        for attempt in range(context.reselections + 1):
            host = table.find(drawn, attempt)
            if host is None or context.avoid is None or not context.avoid(host):
                return host
        return host

    def _look(self) -> _View:
        settings = self._settings
        version = settings.health.version
        sets = by_priority(self._hosts)
        state = spread(
            sets,
            overprovisioning=settings.overprovisioning,
            weighted=settings.weighted_priority_health,
            panic_threshold=settings.panic_threshold,
        )
        tables = tuple(
            self._table(index, hosts, panic)
            for index, (hosts, panic) in enumerate(zip(sets, state.panic, strict=True))
        )
        return _View(version, state, tables)

    def _table(self, priority: int, hosts: HostSet, panic: bool) -> HashTable:
        usable = hosts.hosts if panic else hosts.healthy
        key = (priority, panic, usable)
        known = self._tables.get(key)
        if known is None:
            if len(self._tables) >= _KEPT_TABLES * (priority + 1):
                self._tables.clear()
            known = self._policy.table(self._weights(hosts, usable))
            self._tables[key] = known
        return known

    def _weights(self, hosts: HostSet, usable: tuple[Host, ...]) -> WeightedHosts:
        if not self._policy.locality_weighted or not any(
            h.endpoint.locality_weight for h in hosts.hosts
        ):
            return _normalized(usable, 1.0)
        groups = by_locality(hosts.hosts)
        total = sum(group.weight for group in groups)
        chosen = set(map(id, usable))
        weights: list[tuple[Host, float]] = []
        for group in groups:
            if group.weight:
                here = [h for h in group.hosts if id(h) in chosen]
                weights.extend(_normalized(here, group.weight / total))
        return weights


def _draw(random: Random) -> int:
    """64 random bits; one draw of SystemRandom has only 53."""
    return random.randrange(1 << 32) << 32 | random.randrange(1 << 32)


def _normalized(hosts: Sequence[Host], share: float) -> WeightedHosts:
    total = sum(h.endpoint.weight for h in hosts)
    return [(h, h.endpoint.weight * share / total) for h in hosts]


def hash_key(host: Host, *, use_hostname: bool) -> bytes:
    """What stands for a host in a table: its `hash_key` metadata, else host name or address."""
    own = host.endpoint.metadata.get("envoy.lb", {}).get("hash_key")
    if isinstance(own, str) and own:
        return own.encode()
    return (host.endpoint.hostname if use_hostname else str(host.endpoint.address)).encode()


@dataclass(frozen=True, slots=True)
class ConsistentHashing:
    """What the configs of hashing policies share."""

    use_hostname: bool = False
    balance_factor: int | None = None
    """Percent of its share that a host takes at most (bounded loads); None: without bound."""
    not_built: tuple[str, ...] = ()


DEFAULT_HASHING: Final = ConsistentHashing()


def parse_consistent_hashing(config: Reader) -> ConsistentHashing:
    """`consistent_hashing_lb_config`, or the old fields in the policy itself."""
    nested = config.message("consistent_hashing_lb_config")
    reader = config if nested is None else nested
    factor = reader.optional_integer("hash_balance_factor")
    if factor is not None and factor < 100:
        raise reader.error_at("hash_balance_factor", f"expected at least 100, found {factor}")
    missing = () if nested is None else check(nested, CONSISTENT_HASHING)
    return ConsistentHashing(reader.boolean("use_hostname_for_hashing"), factor, missing)


def parse_locality_weighted(config: Reader) -> bool:
    """Whether a hashing policy spreads over localities by their weight."""
    reader = config.message("locality_weighted_lb_config")
    if reader is None:
        return False
    check(reader, LOCALITY_WEIGHTED)
    return True
