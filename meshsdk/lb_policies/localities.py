"""Choosing a locality by weight before a host is chosen in it.

Source: Envoy, locality weighted load balancing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshsdk.call.endpoint import Host, Locality
from meshsdk.clock import Random
from meshsdk.lb_policies.edf import Edf
from meshsdk.lb_policies.priority import is_degraded, is_healthy


@dataclass(frozen=True, slots=True)
class LocalityHosts:
    """The hosts of one locality in one priority."""

    locality: Locality
    weight: int
    hosts: tuple[Host, ...]
    healthy: tuple[Host, ...]
    degraded: tuple[Host, ...]


def by_locality(hosts: Sequence[Host]) -> tuple[LocalityHosts, ...]:
    """Hosts grouped by locality, in the order in which localities come."""
    groups: dict[Locality, list[Host]] = {}
    for host in hosts:
        groups.setdefault(host.endpoint.locality, []).append(host)
    return tuple(
        LocalityHosts(
            locality,
            group[-1].endpoint.locality_weight,
            tuple(group),
            tuple(h for h in group if is_healthy(h)),
            tuple(h for h in group if is_degraded(h)),
        )
        for locality, group in groups.items()
    )


def scheduler(
    localities: Sequence[LocalityHosts], overprovisioning: int, random: Random, *, degraded: bool
) -> Edf[tuple[int, float]] | None:
    """Picks (index, effective weight) of a locality; None: no locality has weight and hosts."""
    items: list[tuple[tuple[int, float], float]] = []
    for index, group in enumerate(localities):
        eligible = group.degraded if degraded else group.healthy
        weight = _effective_weight(group, len(eligible), overprovisioning)
        if weight > 0:
            items.append(((index, weight), weight))
    if not items:
        return None
    return Edf(items, random.randrange(max(1, min(4096, int(sum(w for _, w in items))))))


def _effective_weight(group: LocalityHosts, eligible: int, overprovisioning: int) -> float:
    ratio = eligible / len(group.hosts)
    return group.weight * min(1.0, overprovisioning / 100.0 * ratio)
