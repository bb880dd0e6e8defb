"""Locality load balancing: weights and priorities of groups of endpoints.

Source: istiod, loadbalancer.ApplyLocalityLoadBalancer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from meshsdk.control_plane.istio.load_balancer import LocalityLb
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import Endpoint
from meshsdk.control_plane.istio.traffic_policy import TrafficPolicy

_REGION: Final = "topology.kubernetes.io/region"
_ZONE: Final = "topology.kubernetes.io/zone"
_SUBZONE: Final = "topology.istio.io/subzone"


@dataclass(frozen=True, slots=True)
class Group:
    """Endpoints of one locality and priority."""

    locality: str
    endpoints: tuple[Endpoint, ...]
    priority: int = 0
    weight: int = 0
    """0: the sum of its endpoints'."""
    is_emptied: bool = False
    """A distribution does not name it: it stays, without endpoints."""

    @property
    def natural_weight(self) -> int:
        """The sum of its endpoints' weights."""
        return sum(each.weight or 1 for each in self.endpoints)


def locality_lb(mesh: MeshConfig, policy: TrafficPolicy) -> LocalityLb | None:
    """The setting that holds: the rule's own before the mesh's; None where it is off."""
    balancer = policy.load_balancer
    found = None if balancer is None else balancer.locality
    if found is None:
        found = mesh.locality_lb
    return found if found.is_enabled else None


def balanced(
    groups: Sequence[Group], setting: LocalityLb, proxy: Proxy, *, has_failover: bool
) -> list[Group]:
    """Groups with the weights and priorities that a caller in a locality gives them.

    `has_failover`: there is outlier detection, without which nothing would fail over.
    """
    if setting.distribute:
        return _distributed(groups, setting, proxy.locality)
    if not has_failover:
        return list(groups)
    if not setting.failover_priority:
        return _failed_over(groups, setting, proxy.locality)
    found = _by_labels(groups, setting.failover_priority, proxy)
    return _failed_over(found, setting, proxy.locality) if setting.failover else found


def _distributed(groups: Sequence[Group], setting: LocalityLb, locality: str) -> list[Group]:
    for source, targets in setting.distribute:
        if _matches(locality, source):
            return _weighted(groups, targets)
    return list(groups)


def _weighted(groups: Sequence[Group], targets: Mapping[str, int]) -> list[Group]:
    found = list(groups)
    open_ = set(range(len(found)))
    for target, weight in targets.items():
        chosen = [i for i in sorted(open_) if _matches(found[i].locality, target)]
        open_ -= set(chosen)
        total = sum(found[i].natural_weight for i in chosen)
        for i in chosen:
            share = math.ceil(found[i].natural_weight * weight / total)
            found[i] = replace(found[i], weight=share)
    for i in open_:
        found[i] = replace(found[i], is_emptied=True)
    return found


def _matches(locality: str, pattern: str) -> bool:
    """Whether a locality is one of `region/zone/subzone`, each of which may be `*` or left out."""
    if pattern in ("", "*"):
        return True
    have = _parts(locality)
    wanted = _parts(pattern)
    for own, want in zip(have, wanted, strict=True):
        if want in ("*", ""):
            return True
        if own != want:
            return False
    return True


def _parts(locality: str) -> tuple[str, ...]:
    """Region, zone and subzone."""
    return (*locality.split("/", 2), "", "")[:3]


def _failed_over(groups: Sequence[Group], setting: LocalityLb, locality: str) -> list[Group]:
    """Nearer localities first; regions that the setting does not name last."""
    region = locality.split("/", 1)[0]
    target = next((to for source, to in setting.failover if source == region), None)
    found: list[Group] = []
    for group in groups:
        distance = _distance(locality, group.locality)
        is_wanted = target is None or group.locality.split("/", 1)[0] == target
        if distance == 3 and not is_wanted:
            distance = 4
        # 0 to 4 inside each priority that labels have given before.
        found.append(replace(group, priority=group.priority * 5 + distance))
    return _without_gaps(found)


def _distance(one: str, other: str) -> int:
    """0 the same, 1 the same zone, 2 the same region, 3 another."""
    here = _parts(one)
    there = _parts(other)
    for depth, (own, theirs) in enumerate(zip(here, there, strict=True)):
        if own != theirs:
            return 3 - depth
    return 0


def _by_labels(groups: Sequence[Group], priorities: Sequence[str], proxy: Proxy) -> list[Group]:
    """Endpoints that share more of the caller's labels first, each group split by that."""
    wanted: list[tuple[str, str | None]] = []
    own = _labels(proxy.labels, proxy.locality)
    for each in priorities:
        key, equals, value = each.partition("=")
        wanted.append((key, value if equals else own.get(key)))
    split: dict[tuple[int, int], list[Endpoint]] = {}
    for i, group in enumerate(groups):
        for endpoint in group.endpoints:
            labels = _labels(endpoint.labels, endpoint.locality)
            shared = 0
            for name, want in wanted:
                if labels.get(name, "") != (want or ""):
                    break
                shared += 1
            split.setdefault((i, len(wanted) - shared), []).append(endpoint)
    found = [
        Group(groups[i].locality, tuple(endpoints), priority)
        for (i, priority), endpoints in split.items()
    ]
    return _without_gaps(found)


def _labels(labels: Mapping[str, str], locality: str) -> dict[str, str]:
    parts = zip((_REGION, _ZONE, _SUBZONE), locality.split("/", 2), strict=False)
    return {**labels, **{key: value for key, value in parts if value}}


def _without_gaps(groups: Sequence[Group]) -> list[Group]:
    ranks = {each: i for i, each in enumerate(sorted({group.priority for group in groups}))}
    return [replace(group, priority=ranks[group.priority]) for group in groups]
