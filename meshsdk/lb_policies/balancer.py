"""Building the balancer of a cluster."""

from collections.abc import Sequence

from meshsdk.call.endpoint import Host
from meshsdk.clock import Clock, Random
from meshsdk.lb_policies.hashing import HashBalancer
from meshsdk.lb_policies.policy import (
    STEADY,
    HashPolicy,
    Health,
    Live,
    LoadBalancer,
    PickContext,
    SourcePolicy,
)
from meshsdk.lb_policies.settings import Settings
from meshsdk.lb_policies.sources import SourceBalancer
from meshsdk.lb_policies.subset import Subset, SubsetBalancer
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.lb_policy import LbPolicy
from meshsdk.resources.load_assignment import DEFAULT_OVERPROVISIONING, LoadAssignment

__all__ = ["LoadBalancer", "PickContext", "build"]


def build(
    cluster: Cluster,
    hosts: Sequence[Host],
    previous: LoadBalancer | None,
    clock: Clock,
    random: Random,
    *,
    assignment: LoadAssignment | None = None,
    health: Health = STEADY,
) -> LoadBalancer:
    """The balancer of a cluster with these hosts; rotations go on where `previous` stood.

    `assignment` brings the overprovisioning factor, `health` the ejections. A cluster whose type
    names the host itself (ORIGINAL_DST) needs none: what it gets picks nothing.
    """
    settings = Settings(
        clock,
        random,
        health,
        DEFAULT_OVERPROVISIONING if assignment is None else assignment.overprovisioning_factor,
        assignment is not None and assignment.weighted_priority_health,
        cluster.common_lb.healthy_panic_threshold,
        cluster.common_lb.fail_traffic_on_panic,
    )
    live = Live() if previous is None else previous.live
    _note_arrivals(live, hosts, clock.monotonic())
    if cluster.lb_policy is None:
        return Nobody(live)
    return _of_policy(cluster.lb_policy, hosts, settings, live)


class Nobody:
    """The balancer of a cluster without endpoints of its own."""

    __slots__ = ("live",)

    def __init__(self, live: Live) -> None:
        self.live = live

    def pick(self, context: PickContext) -> Host | None:
        """None always."""


def _of_policy(
    policy: LbPolicy, hosts: Sequence[Host], settings: Settings, live: Live
) -> LoadBalancer:
    if isinstance(policy, Subset):
        child = policy.child

        def of_subset(chosen: Sequence[Host], own: Live) -> LoadBalancer:
            return _of_policy(child, chosen, settings, own)

        return SubsetBalancer(policy, hosts, live, of_subset)
    if isinstance(policy, HashPolicy):
        return HashBalancer(policy, hosts, settings, live)
    if isinstance(policy, SourcePolicy):
        return SourceBalancer(policy, hosts, settings, live)
    raise TypeError(f"{type(policy).__name__} is no load balancing policy")


def _note_arrivals(live: Live, hosts: Sequence[Host], now: float) -> None:
    """Remember since when each host is known; forget the ones that left."""
    known = live.since
    live.since = {host.state: known.get(host.state, now) for host in hosts}
