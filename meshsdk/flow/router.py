"""The router: tries at the hosts of a cluster until one answers or policy says it is enough.

Source: Envoy, Router::Filter.
"""



from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, Flow, Mirror, Send, sleep
from meshsdk.call.endpoint import Host
from meshsdk.call.message import BodyEnd, LocalReply, Outcome, Request, Reset, ResetReason, Response
from meshsdk.flow import reply
from meshsdk.flow.plan import ClusterPlan, Plan
from meshsdk.lb_policies import PickContext
from meshsdk.resilience import deadline
from meshsdk.resilience.breakers import PriorityBreakers
from meshsdk.resilience.retry import CONSUMED_HEADERS, Retry, RetryState, retry_state
from meshsdk.routing.action import Chosen
from meshsdk.routing.mirror import shadow, shadow_cluster

_CONSUMED = (*CONSUMED_HEADERS, *deadline.CONSUMED_HEADERS)
_ANY_CONSUMED = frozenset(_CONSUMED)
_ATTEMPT_COUNT = "x-envoy-attempt-count"
_MAX_DURATION = LocalReply(
    408, b"downstream duration timeout", details="max_duration_timeout", grpc_status=4
)
_IDLE = LocalReply(504, b"stream timeout", flags=("SI",), details="stream_idle_timeout")
_OVERFLOW = Reset(ResetReason.OVERFLOW, request_sent=False)


class Call:
    """One routed call: its cluster, its clock, and what the attempt under way holds.

    Whoever makes one calls `release` at the end, however the flow ends.
    """

    __slots__ = (
        "breakers",
        "chosen",
        "cluster",
        "context",
        "deadline",
        "duration_ends",
        "hash_key",
        "host",
        "idle",
        "number",
        "plan",
        "request",
        "retries",
        "started",
        "timeouts",
    )

    def __init__(
        self,
        plan: Plan,
        chosen: Chosen,
        request: Request,
        context: CallContext,
        stream_idle: float | None,
    ) -> None:
        """`stream_idle`: the connection manager's stream_idle_timeout, seconds; None: none."""
        self.plan = plan
        self.idle = stream_idle if chosen.idle_timeout is None else chosen.idle_timeout or None
        """Seconds without anything on the stream; None: unbounded."""
        self.chosen = chosen
        self.request = request
        self.context = context
        self.cluster: ClusterPlan | None = plan.cluster(chosen.cluster)
        self.breakers: PriorityBreakers | None = None
        self.retries: RetryState | None = None
        self.timeouts: deadline.Timeouts | None = None
        self.started = context.clock.monotonic()
        self.deadline: float | None = None
        """Monotonic seconds of the route's timeout; None: unbounded."""
        self.duration_ends: float | None = None
        """Monotonic seconds of max_stream_duration; None: unbounded."""
        self.hash_key: int | None = None
        self.number = 0
        """Attempts so far."""
        self.host: Host | None = None
        """Of the attempt whose place in the breakers is held."""

    # -- what an attempt holds --------------------------------------------------------------

    def take(self, host: Host) -> bool:
        """Count an attempt in; False when the circuit breaker is open."""
        assert self.breakers is not None
        if not self.breakers.try_request():
            return False
        host.state.active_requests += 1
        self.host = host
        return True

    def let_go(self) -> None:
        """Count it out; again is harmless."""
        host, self.host = self.host, None
        if host is not None:
            assert self.breakers is not None
            host.state.active_requests -= 1
            self.breakers.end_request()

    def release(self) -> None:
        """Give back everything that the call holds."""
        self.let_go()
        if self.retries is not None:
            self.retries.close()

    def ended(self, end: BodyEnd) -> None:
        """The exchange is over: a body that broke off speaks against its host."""
        if end.reset is None:
            return
        reset = end.reset
        self.context.flag(reply.FLAG_OF_RESET[reset.reason])
        reason = reset.reason.value.replace(" ", "_")
        self.context.details = f"upstream_reset_after_response_started{{{reason}}}"
        if self.host is not None:
            self.record(self.host, reset)

    # -- time -------------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Seconds until the first of the call's bounds; None: unbounded."""
        first, second = self.deadline, self.duration_ends
        if first is None or (second is not None and second < first):
            first = second
        return None if first is None else first - self.context.clock.monotonic()

    def out_of_time(self) -> LocalReply:
        """The answer when the first bound has passed."""
        ends = self.duration_ends
        if ends is not None and (self.deadline is None or ends <= self.deadline):
            return _MAX_DURATION
        return reply.UPSTREAM_TIMEOUT

    # -- hosts ------------------------------------------------------------------------------

    def pick(self) -> Host | None:
        """A host from the cluster's newest balancer, other than the tried ones as policy says."""
        assert self.cluster is not None
        if self.cluster.is_original_dst:
            return self.cluster.host_at(self.context.destination)
        balancer = self.cluster.state.balancer
        if balancer is None:
            return None
        asked = PickContext(self.context.clock.monotonic(), self.context.random, self.hash_key)
        if self.chosen.metadata_match:
            asked.metadata_match = self.chosen.metadata_match
        retries = self.retries
        if retries is not None and self.number:
            asked.avoid = retries.avoid
            asked.reselections = retries.reselections
            asked.reload = retries.reload
        return balancer.pick(asked)

    def record(self, host: Host, outcome: Outcome) -> None:
        """Let outlier detection judge an attempt."""
        assert self.cluster is not None
        outlier = self.cluster.state.outlier
        if outlier is not None:
            outlier.record(
                host.state,
                outcome,
                self.context.clock.monotonic(),
                is_error=self.cluster.cluster.http.is_error,
                is_grpc=reply.is_grpc(self.request),
            )


def run(call: Call) -> Flow[Response]:
    """The answer: an upstream's, or our own for want of one. The last attempt's place is still
    held when this returns."""
    context, chosen = call.context, call.chosen
    context.cluster = chosen.cluster
    if call.cluster is None:
        missing = reply.no_cluster(chosen.no_cluster_status)
        return reply.to_response(missing, call.request, context)
    if call.cluster.cluster.not_built:
        answer = reply.not_built(call.cluster.cluster.not_built[0])
        return reply.to_response(answer, call.request, context)
    _prepare(call)
    outcome = yield from _tries(call)
    if isinstance(outcome, LocalReply):
        return _own_answer(call, outcome)
    if isinstance(outcome, Reset):
        return _own_answer(call, reply.of_reset(outcome, retried=call.number > 1))
    return chosen.on_response(_counted(call, outcome), context)


def _prepare(call: Call) -> None:
    """Everything that is the same for all attempts."""
    context, chosen, request = call.context, call.chosen, call.request
    assert call.cluster is not None
    call.breakers = call.cluster.breakers.of(chosen.priority)
    policy = chosen.retry_policy
    call.timeouts = timeouts = deadline.resolve(chosen, policy, request)
    call.retries = retry_state(policy, request, call.breakers, context.clock, context.random)
    call.hash_key = chosen.hash(request, context)
    if timeouts.total is not None:
        call.deadline = call.started + timeouts.total
    duration = deadline.stream_duration(chosen.max_stream_duration, request)
    if duration.limit is not None:
        call.duration_ends = context.start + duration.limit
    context.deadline = call.deadline
    request = chosen.finalize(request, context)
    headers = request.headers
    if headers.has_any(_ANY_CONSUMED):
        headers = headers.without(*_CONSUMED)
    if duration.grpc_timeout is not None:
        headers = headers.set("grpc-timeout", duration.grpc_timeout)
    call.request = request if headers is request.headers else request.with_headers(headers)


def _tries(call: Call) -> Flow[Outcome | LocalReply]:
    """Attempts, until one stands."""
    context = call.context
    while True:
        host = call.pick()
        if host is None:
            return reply.NO_HEALTHY_UPSTREAM
        outcome = yield from _attempt(call, host)
        if isinstance(outcome, LocalReply):
            return outcome
        if call.retries is None or not context.body_replayable:
            return outcome
        decision = call.retries.wants(outcome)
        if not isinstance(decision, Retry):
            if decision.flag:
                context.flag(decision.flag)
            return outcome
        call.let_go()
        remaining = call.remaining()
        if remaining is not None and decision.backoff >= remaining:
            yield from sleep(max(0.0, remaining))
            return call.out_of_time()
        yield from sleep(decision.backoff)


def _attempt(call: Call, host: Host) -> Flow[Outcome | LocalReply]:
    """One attempt and its consequences for the host."""
    call.number += 1
    context = call.context
    context.host = host
    context.attempts = call.number
    if call.retries is not None:
        call.retries.attempted(host)
    if not call.take(host):
        return _OVERFLOW
    assert call.cluster is not None
    attempt = Attempt(_for_this_try(call, host), host, call.cluster, call.number, context.original)
    context.attempt = attempt
    if call.number == 1 and call.chosen.mirror_policies:
        yield from _mirror(call, attempt.request)
    assert call.timeouts is not None
    per_try = call.timeouts.per_try
    remaining = call.remaining()
    is_idle = call.idle is not None and (remaining is None or call.idle < remaining)
    bound = call.idle if is_idle else remaining
    is_per_try = per_try is not None and (bound is None or per_try < bound)
    timeout = per_try if is_per_try else bound
    outcome = yield Send(
        attempt,
        timeout=None if timeout is None else max(0.0, timeout),
        idle_timeout=call.timeouts.per_try_idle,
        reset_reason_timeout=is_per_try,
    )
    assert isinstance(outcome, Response | Reset)
    call.record(host, outcome)
    if isinstance(outcome, Reset) and outcome.reason is ResetReason.TIMEOUT:
        return _IDLE if is_idle else call.out_of_time()
    return outcome


def _for_this_try(call: Call, host: Host) -> Request:
    """The request as it goes to this host now."""
    request, chosen = call.request, call.chosen
    assert call.timeouts is not None
    headers = call.timeouts.tell(request.headers, call.context.clock.monotonic() - call.started)
    if chosen.include_request_attempt_count:
        headers = headers.set(_ATTEMPT_COUNT, str(call.number))
    if headers is not request.headers:
        request = request.with_headers(headers)
    if chosen.auto_host_rewrite and host.endpoint.hostname:
        request = chosen.host_of_endpoint(request, host.endpoint.hostname, call.context)
    return request


def _mirror(call: Call, request: Request) -> Flow[None]:
    """Shadow requests: sent, not waited for, never part of the answer."""
    context = call.context
    for policy in call.chosen.mirror_policies:
        if not policy.fraction.samples(context.random):
            continue
        cluster = call.plan.cluster(shadow_cluster(policy, request))
        balancer = None if cluster is None else cluster.state.balancer
        if cluster is None or balancer is None:
            continue
        host = balancer.pick(PickContext(context.clock.monotonic(), context.random))
        if host is not None:
            copy = shadow(policy, request, context)
            yield Mirror(Attempt(copy, host, cluster, 1, context.original), call.remaining())


def _counted(call: Call, response: Response) -> Response:
    if not call.chosen.include_attempt_count_in_response:
        return response
    return response.with_headers(response.headers.set(_ATTEMPT_COUNT, str(call.number)))


def _own_answer(call: Call, local: LocalReply) -> Response:
    return _counted(call, reply.to_response(local, call.request, call.context))


def pick_for_tcp(cluster: ClusterPlan, context: CallContext) -> Host | None:
    """A host for a raw connection."""
    if cluster.is_original_dst:
        return cluster.host_at(context.destination)
    balancer = cluster.state.balancer
    if balancer is None:
        return None
    return balancer.pick(PickContext(context.clock.monotonic(), context.random))
