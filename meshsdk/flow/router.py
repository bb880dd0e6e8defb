"""The router: tries at the hosts of a cluster until one answers or policy says it is enough.

Source: Envoy, Router::Filter.
"""

from dataclasses import replace

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow, Sleep
from meshsdk.call.endpoint import Host
from meshsdk.call.message import LocalReply, Outcome, Reset, ResetReason, Response
from meshsdk.flow import reply
from meshsdk.flow.attempts import bounded_send, counted, new_attempt, own_answer, prepare
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.flow.hedging import hedged
from meshsdk.flow.mirror import mirror
from meshsdk.flow.routed_call import Call
from meshsdk.lb_policies import PickContext
from meshsdk.resources.load_assignment import DropOverload

_PER_TRY = frozenset({ResetReason.PER_TRY_TIMEOUT, ResetReason.PER_TRY_IDLE_TIMEOUT})
_OVERFLOW = Reset(ResetReason.OVERFLOW, request_sent=False)


def run(call: Call) -> Flow[Response]:
    """The answer: an upstream's, or our own for want of one. The last attempt's place is still
    held when this returns."""
    context, chosen = call.context, call.chosen
    context.cluster = chosen.cluster
    cluster = call.cluster
    if cluster is None:
        context.cluster_is_missing = True
        return own_answer(call, reply.no_cluster(chosen.no_cluster_status))
    if chosen.virtual_cluster is not None:
        context.virtual_cluster = chosen.virtual_cluster(call.request)
    if cluster.not_built:
        answer = reply.not_built(cluster.not_built[0])
        return reply.to_response(answer, call.request, context)
    assignment = cluster.state.assignment
    if assignment is not None and assignment.drop_overload is not None:
        dropped = _dropped(call, assignment.drop_overload)
        if dropped is not None:
            return own_answer(call, dropped)
    patience = prepare(call)
    if call.ends_early and call.deadline is not None and call.deadline <= call.started:
        return own_answer(call, reply.CALLER_TIMEOUT)
    if patience is not None:
        return _end(call, (yield from hedged(call, patience)))
    while True:
        host = call.pick()
        if host is None:
            return own_answer(call, reply.no_host(context))
        attempt = new_attempt(call, host)
        if attempt is None:
            outcome: Response | Reset = _OVERFLOW
        else:
            if call.number == 1 and chosen.mirror_policies:
                yield from mirror(call.plan, chosen, attempt.request, context, call.remaining())
            send, is_idle = bounded_send(call, attempt)
            answered = yield send
            assert isinstance(answered, Response | Reset)
            outcome = answered
            call.record(host, outcome)
            call.timed_out = isinstance(outcome, Reset) and outcome.reason in _PER_TRY
            if isinstance(outcome, Reset) and outcome.reason is ResetReason.TIMEOUT:
                return own_answer(call, reply.STREAM_IDLE if is_idle else call.out_of_time())
        backoff = call.backoff_after(outcome)
        if backoff is None:
            return _end(call, outcome)
        call.let_go()
        remaining = call.remaining()
        if remaining is not None and backoff >= remaining:
            yield Sleep(max(0.0, remaining))
            return own_answer(call, call.out_of_time())
        yield Sleep(backoff)


def _dropped(call: Call, drop: DropOverload) -> LocalReply | None:
    """The answer to a call that the control plane wants dropped (Envoy, checkDropOverload)."""
    if call.context.random.randrange(drop.denominator) >= drop.numerator:
        return None
    answer = reply.DROPPED_ALWAYS if drop.is_unconditional else reply.DROPPED
    return replace(answer, headers=()) if call.settings.suppress_envoy_headers else answer


def _end(call: Call, outcome: Outcome | LocalReply) -> Response:
    """What the caller gets."""
    if isinstance(outcome, Response):
        return call.chosen.on_response(counted(call, outcome), call.context)
    if isinstance(outcome, Reset):
        outcome = reply.of_reset(outcome, retried=call.number > 1)
    return own_answer(call, outcome)


def pick_for_tcp(cluster: ClusterPlan, context: CallContext) -> Host | None:
    """A host for a raw connection."""
    if cluster.is_original_dst:
        return cluster.host_at(context.destination)
    balancer = cluster.state.balancer
    asked = PickContext(context.clock.monotonic(), context.random)
    return None if balancer is None else balancer.pick(asked)
