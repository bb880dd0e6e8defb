"""A side call of a filter (ext_authz, keys, rate limits): its host, and what it holds there.

As Envoy's async client: the cluster's balancer, circuit breakers and outlier detection apply, the
route's retries do not.
"""

from meshsdk.call.effects import Attempt, SideCall
from meshsdk.call.endpoint import Host
from meshsdk.call.message import Outcome, Request, Reset, ResetReason
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.flow.plan import Plan
from meshsdk.lb_policies import PickContext


class Held:
    """A place at a host, until `release`."""

    __slots__ = ("_plan", "cluster", "host")

    def __init__(self, plan: Plan, cluster: ClusterPlan, host: Host) -> None:
        self._plan = plan
        self.cluster = cluster
        self.host = host

    def attempt(self, request: Request) -> Attempt:
        """The one attempt of an HTTP call."""
        return Attempt(request, self.host, self.cluster)

    def record(self, outcome: Outcome, *, is_grpc: bool = False) -> None:
        """Let outlier detection judge."""
        outlier = self.cluster.state.outlier
        if outlier is not None:
            outlier.record(
                self.host.state,
                outcome,
                self._plan.live.clock.monotonic(),
                is_error=self.cluster.cluster.http.is_error,
                is_grpc=is_grpc,
            )

    def release(self) -> None:
        """Give the place back."""
        self.host.state.active_requests -= 1
        self.cluster.breakers.default.end_request()


def hold(plan: Plan | None, effect: SideCall) -> Held | Reset:
    """A place at a host of the cluster that a side call names; a Reset says why there is none."""
    if plan is None:
        return _refused("there is no configuration yet")
    cluster = plan.cluster(effect.cluster)
    if cluster is None:
        return _refused(f"cluster {effect.cluster} does not exist")
    if cluster.not_built:
        return _refused(f"{cluster.not_built[0]} is not built")
    if cluster.is_original_dst:
        return _refused(f"cluster {effect.cluster} has no hosts of its own (ORIGINAL_DST)")
    balancer, live = cluster.state.balancer, plan.live
    asked = PickContext(live.clock.monotonic(), live.random)
    host = None if balancer is None else balancer.pick(asked)
    if host is None:
        return _refused(f"cluster {effect.cluster} has no healthy host")
    if not cluster.breakers.default.try_request():
        return Reset(ResetReason.OVERFLOW, request_sent=False)
    host.state.active_requests += 1
    return Held(plan, cluster, host)


def _refused(detail: str) -> Reset:
    return Reset(ResetReason.CONNECT_FAILURE, detail, request_sent=False)
