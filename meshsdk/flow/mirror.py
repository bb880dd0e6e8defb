"""Shadow requests: sent, not waited for, never part of the answer."""

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, Flow, Mirror
from meshsdk.call.message import Request
from meshsdk.flow.plan import Plan
from meshsdk.lb_policies.policy import PickContext
from meshsdk.routing.action import Chosen
from meshsdk.routing.mirror import shadow, shadow_cluster


def mirror(
    plan: Plan, chosen: Chosen, request: Request, context: CallContext, timeout: float | None
) -> Flow[None]:
    """Copies of an attempt's request for the route's mirror policies; `timeout` in seconds."""
    for policy in chosen.mirror_policies:
        if not policy.fraction.samples(context.random):
            continue
        cluster = plan.cluster(shadow_cluster(policy, request))
        balancer = None if cluster is None else cluster.state.balancer
        if cluster is None or balancer is None or cluster.not_built:
            continue
        host = balancer.pick(PickContext(context.clock.monotonic(), context.random))
        if host is not None:
            copy = shadow(policy, request, context)
            yield Mirror(Attempt(copy, host, cluster, 1, context.original), timeout)
