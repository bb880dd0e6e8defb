"""How calls are spread over priorities, and when health is no longer looked at (panic).

Source: Envoy, LoadBalancerBase; all arithmetic is integral, as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshsdk.call.endpoint import HealthStatus, Host
from meshsdk.lb_policies.policy import Loads

_HEALTHY = (HealthStatus.UNKNOWN, HealthStatus.HEALTHY)


def is_healthy(host: Host) -> bool:
    """Neither ejected nor reported as anything worse than healthy."""
    return host.state.ejected_until is None and host.endpoint.health in _HEALTHY


def is_degraded(host: Host) -> bool:
    """To be used where no healthy host is left."""
    return host.state.ejected_until is None and host.endpoint.health is HealthStatus.DEGRADED


@dataclass(frozen=True, slots=True)
class HostSet:
    """The hosts of one priority."""

    hosts: tuple[Host, ...] = ()
    healthy: tuple[Host, ...] = ()
    degraded: tuple[Host, ...] = ()

    @staticmethod
    def of(hosts: Sequence[Host]) -> "HostSet":
        """Hosts sorted by health."""
        return HostSet(
            tuple(hosts),
            tuple(h for h in hosts if is_healthy(h)),
            tuple(h for h in hosts if is_degraded(h)),
        )


@dataclass(frozen=True, slots=True)
class PriorityState:
    """The spread over the priorities of a cluster."""

    availability: Loads
    loads: Loads
    """Sum to 100."""
    panic: tuple[bool, ...]
    """Priorities whose hosts are all used, whatever their health."""


def by_priority(hosts: Sequence[Host]) -> tuple[HostSet, ...]:
    """A host set for each priority from 0 to the highest; at least one."""
    highest = max((h.endpoint.priority for h in hosts), default=0)
    groups: list[list[Host]] = [[] for _ in range(highest + 1)]
    for host in hosts:
        groups[host.endpoint.priority].append(host)
    return tuple(HostSet.of(group) for group in groups)


def spread(
    sets: Sequence[HostSet], *, overprovisioning: int, weighted: bool, panic_threshold: int
) -> PriorityState:
    """Loads and panic for host sets; percentages."""
    availability = (
        tuple(_available(s, s.healthy, overprovisioning, weighted) for s in sets),
        tuple(_available(s, s.degraded, overprovisioning, weighted) for s in sets),
    )
    total = min(100, sum(availability[0]) + sum(availability[1]))
    calm = tuple(False for _ in sets)
    if total == 0 and panic_threshold == 0:
        # Nothing can be picked, but the loads must sum to 100.
        return PriorityState(availability, (_first(len(sets)), _zeros(len(sets))), calm)
    panic = calm if total == 100 else tuple(_in_panic(s, panic_threshold) for s in sets)
    if all(panic):
        return PriorityState(availability, _by_size(sets), panic)
    return PriorityState(availability, _loads(availability, total), panic)


def choose(loads: Loads, percent: int) -> tuple[int, bool]:
    """The priority for a number from 1 to 100, and whether its degraded hosts are meant."""
    reached = 0
    for degraded, shares in enumerate(loads):
        for priority, share in enumerate(shares):
            reached += share
            if percent <= reached:
                return priority, bool(degraded)
    return 0, False


def _available(
    hosts: HostSet, usable: tuple[Host, ...], overprovisioning: int, weighted: bool
) -> int:
    if not hosts.hosts:
        return 0
    if weighted:
        some = sum(h.endpoint.weight for h in usable)
        whole = sum(h.endpoint.weight for h in hosts.hosts)
    else:
        some, whole = len(usable), len(hosts.hosts)
    return min(100, overprovisioning * some // whole)


def _in_panic(hosts: HostSet, threshold: int) -> bool:
    if not hosts.hosts:
        return threshold > 0
    # Two quotients, as Envoy adds them.
    healthy = 100.0 * len(hosts.healthy) / len(hosts.hosts)
    degraded = 100.0 * len(hosts.degraded) / len(hosts.hosts)
    return healthy + degraded < threshold


def _loads(availability: Loads, total: int) -> Loads:
    if total == 0:
        return _zeros(len(availability[0])), _zeros(len(availability[0]))
    healthy, left = _distribute(availability[0], 100, total)
    degraded, left = _distribute(availability[1], left, total)
    # What is left is rounding: the first priority that has anything gets it.
    for shares, available in ((healthy, availability[0]), (degraded, availability[1])):
        first = next((i for i, a in enumerate(available) if a), None)
        if left and first is not None:
            shares[first] += left
            left = 0
    return tuple(healthy), tuple(degraded)


def _distribute(available: tuple[int, ...], left: int, total: int) -> tuple[list[int], int]:
    shares: list[int] = []
    for part in available:
        share = min(left, part * 100 // total)
        shares.append(share)
        left -= share
    return shares, left


def _by_size(sets: Sequence[HostSet]) -> Loads:
    """Where every priority panics, each gets calls in proportion to its number of hosts."""
    total = sum(len(s.hosts) for s in sets)
    if not total:
        return _first(len(sets)), _zeros(len(sets))
    shares = [100 * len(s.hosts) // total for s in sets]
    first = next(i for i, s in enumerate(sets) if s.hosts)
    shares[first] += 100 - sum(shares)
    return tuple(shares), _zeros(len(sets))


def _first(length: int) -> tuple[int, ...]:
    return (100, *_zeros(length - 1))


def _zeros(length: int) -> tuple[int, ...]:
    return (0,) * length
