"""The router: tries at the hosts of a cluster until one answers or policy says it is enough.

Source: Envoy, Router::Filter.
"""

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, Flow, Send, Sleep
from meshsdk.call.endpoint import Host
from meshsdk.call.message import BodyEnd, LocalReply, Outcome, Request, Reset, ResetReason, Response
from meshsdk.flow import reply
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.flow.mirror import mirror
from meshsdk.flow.plan import HttpPlan, Plan
from meshsdk.lb_policies import PickContext
from meshsdk.resilience import deadline
from meshsdk.resilience.breakers import PriorityBreakers
from meshsdk.resilience.retry import CONSUMED_HEADERS, Retry, RetryState, retry_state
from meshsdk.resources.retry_policy import RetryPolicy
from meshsdk.routing.action import Chosen
from meshsdk.telemetry import HostEjected

_CONSUMED = (*CONSUMED_HEADERS, *deadline.CONSUMED_HEADERS)
_ANY_CONSUMED = frozenset((*_CONSUMED, "grpc-timeout", deadline.EXPECTED_TIMEOUT))
_ASKS_FOR_RETRIES = frozenset({"x-envoy-retry-on", "x-envoy-retry-grpc-on"})
_JUDGED_FIELDS = frozenset({"grpc-status", "x-envoy-ratelimited"})
_REMEMBERED = 4096
"""Routes whose bounds are known; one plan seldom has as many."""
_IS_TIMEOUT_RETRY = "x-envoy-is-timeout-retry"
_ATTEMPT_COUNT = "x-envoy-attempt-count"
_MAX_DURATION = LocalReply(
    408, b"downstream duration timeout", details="max_duration_timeout", grpc_status=4
)
_IDLE = LocalReply(504, b"stream timeout", flags=("SI",), details="stream_idle_timeout")
_PER_TRY = frozenset({ResetReason.PER_TRY_TIMEOUT, ResetReason.PER_TRY_IDLE_TIMEOUT})
_OVERFLOW = Reset(ResetReason.OVERFLOW, request_sent=False)


class Call:
    """One routed call: its cluster, its clock, and what the attempt under way holds.

    Whoever makes one calls `release` at the end, however the flow ends.
    """

    __slots__ = (
        "bounds",
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
        "original",
        "plan",
        "request",
        "retries",
        "settings",
        "started",
        "stream_duration",
        "timed_out",
        "timeouts",
        "tried",
    )

    def __init__(
        self,
        plan: Plan,
        chosen: Chosen,
        request: Request,
        context: CallContext,
        http: HttpPlan,
    ) -> None:
        self.plan = plan
        self.settings = http.router
        self.bounds = http.bounds
        self.stream_duration = http.hcm.options.max_stream_duration
        stream_idle = http.hcm.options.stream_idle_timeout or None
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
        self.original = request
        """As the filters left it: what it asks of retries and timeouts."""
        self.number = 0
        """Attempts so far."""
        self.tried: list[Host] = []
        self.timed_out = False
        """Whether the last attempt ran out of its own time."""
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
        if self.context.override_host and not self.number:
            session = self.cluster.session_host(self.context)
            if session is not None or self.context.override_is_strict:
                return session
        asked = PickContext(self.context.clock.monotonic(), self.context.random, self.hash_key)
        if self.chosen.metadata_match:
            asked.metadata_match = self.chosen.metadata_match
        retries = self.retries
        if retries is not None and self.number:
            asked.avoid = retries.avoid
            asked.reselections = retries.reselections
            asked.reload = retries.reload
        return balancer.pick(asked)

    def backoff_after(self, outcome: Outcome) -> float | None:
        """Seconds until the next try; None: the outcome stands."""
        policy = self.chosen.retry_policy
        if policy is None and not self.original.headers.has_any(_ASKS_FOR_RETRIES):
            return None
        if not self.context.body_replayable or _is_plain_success(outcome, policy):
            return None
        retries = self.retries
        if retries is None:
            assert self.breakers is not None
            clock, random = self.context.clock, self.context.random
            retries = retry_state(policy, self.original, self.breakers, clock, random)
            if retries is None:
                return None
            self.retries = retries
        retries.attempted(self.tried[-1])
        decision = retries.wants(outcome)
        if isinstance(decision, Retry):
            return decision.backoff
        if decision.flag:
            self.context.flag(decision.flag)
        return None

    def record(self, host: Host, outcome: Outcome) -> None:
        """Let outlier detection judge an attempt."""
        assert self.cluster is not None
        outlier = self.cluster.state.outlier
        if outlier is None:
            return
        now, was_ejected = self.context.clock.monotonic(), outlier.is_ejected(host.state)
        outlier.record(
            host.state,
            outcome,
            now,
            is_error=self.cluster.cluster.http.is_error,
            is_grpc=reply.is_grpc(self.request),
        )
        until = host.state.ejected_until
        if until is not None and not was_ejected:
            why = outcome.reason.value if isinstance(outcome, Reset) else str(outcome.status)
            address = str(host.endpoint.address)
            self.plan.live.emit(
                HostEjected(self.cluster.cluster.name, address, until - now, f"last of them {why}")
            )


def _is_plain_success(outcome: Outcome, policy: RetryPolicy | None) -> bool:
    """An answer that no retry policy looks at: a cheap way out of the usual case."""
    return (
        isinstance(outcome, Response)
        and outcome.status < 400
        and (policy is None or not policy.retriable_headers)
        and not outcome.headers.has_any(_JUDGED_FIELDS)
        and not (policy is not None and outcome.status in policy.retriable_status_codes)
    )


def run(call: Call) -> Flow[Response]:
    """The answer: an upstream's, or our own for want of one. The last attempt's place is still
    held when this returns."""
    context, chosen = call.context, call.chosen
    context.cluster = chosen.cluster
    cluster = call.cluster
    if cluster is None:
        missing = reply.no_cluster(chosen.no_cluster_status)
        return reply.to_response(missing, call.request, context)
    if cluster.not_built:
        answer = reply.not_built(cluster.not_built[0])
        return reply.to_response(answer, call.request, context)
    _prepare(call)
    while True:
        host = call.pick()
        if host is None:
            return _own_answer(call, reply.no_host(context))
        call.number += 1
        context.host = host
        context.attempts = call.number
        call.tried.append(host)
        if call.take(host):
            attempt = Attempt(
                _for_this_try(call, host),
                host,
                cluster,
                call.number,
                context.original,
                chosen.priority,
            )
            context.attempt = attempt
            if call.number == 1 and chosen.mirror_policies:
                yield from mirror(call.plan, chosen, attempt.request, context, call.remaining())
            send, is_idle = _send(call, attempt)
            outcome = yield send
            assert isinstance(outcome, Response | Reset)
            call.record(host, outcome)
            call.timed_out = isinstance(outcome, Reset) and outcome.reason in _PER_TRY
            if isinstance(outcome, Reset) and outcome.reason is ResetReason.TIMEOUT:
                return _own_answer(call, _IDLE if is_idle else call.out_of_time())
        else:
            outcome = _OVERFLOW
        backoff = call.backoff_after(outcome)
        if backoff is None:
            break
        call.let_go()
        remaining = call.remaining()
        if remaining is not None and backoff >= remaining:
            yield Sleep(max(0.0, remaining))
            return _own_answer(call, call.out_of_time())
        yield Sleep(backoff)
    if isinstance(outcome, Reset):
        return _own_answer(call, reply.of_reset(outcome, retried=call.number > 1))
    return chosen.on_response(_counted(call, outcome), context)


def _prepare(call: Call) -> None:
    """Everything that is the same for all attempts."""
    context, chosen, request = call.context, call.chosen, call.request
    assert call.cluster is not None
    call.breakers = call.cluster.breakers.of(chosen.priority)
    headers = request.headers
    told = headers.has_any(_ANY_CONSUMED) or reply.is_grpc(request)
    call.timeouts, duration = _bounds(call, request) if told else _usual_bounds(call, request)
    if chosen.hash_policies:
        call.hash_key = chosen.hash(request, context)
    if call.timeouts.total is not None:
        call.deadline = context.deadline = call.started + call.timeouts.total
    if duration.limit is not None:
        call.duration_ends = context.start + duration.limit
    request = chosen.finalize(request, context)
    if told:
        headers = request.headers.without(*_CONSUMED)
        if duration.grpc_timeout is not None:
            headers = headers.set("grpc-timeout", duration.grpc_timeout)
        request = request.with_headers(headers)
    call.request = request


_Bounds = tuple[deadline.Timeouts, deadline.Duration]


def _bounds(call: Call, request: Request) -> _Bounds:
    chosen = call.chosen
    return (
        deadline.resolve(
            chosen,
            chosen.retry_policy,
            request,
            respect_expected=call.settings.respect_expected_rq_timeout,
        ),
        deadline.stream_duration(chosen.max_stream_duration, request, call.stream_duration),
    )


def _usual_bounds(call: Call, request: Request) -> _Bounds:
    """The bounds of a request that says nothing of time: the route's own, worked out once."""
    usual, key = call.bounds, call.chosen.bounds_key
    known = usual.get(key)
    if known is None:
        if len(usual) >= _REMEMBERED:
            usual.clear()
        known = usual[key] = _bounds(call, request)
    return known


def _send(call: Call, attempt: Attempt) -> tuple[Send, bool]:
    """The attempt with the first of its bounds; and whether that is the stream's idle timeout."""
    assert call.timeouts is not None
    per_try, remaining, idle = call.timeouts.per_try, call.remaining(), call.idle
    is_idle = idle is not None and (remaining is None or idle < remaining)
    bound = idle if is_idle else remaining
    is_per_try = per_try is not None and (bound is None or per_try < bound)
    timeout = per_try if is_per_try else bound
    if timeout is not None and timeout < 0.0:
        timeout = 0.0
    return Send(attempt, timeout, call.timeouts.per_try_idle, is_per_try), is_idle


def _for_this_try(call: Call, host: Host) -> Request:
    """The request as it goes to this host now."""
    request, chosen = call.request, call.chosen
    assert call.timeouts is not None
    headers = request.headers
    if not call.settings.suppress_envoy_headers:
        headers = call.timeouts.tell(headers, call.context.clock.monotonic() - call.started)
        if chosen.include_request_attempt_count:
            headers = headers.set(_ATTEMPT_COUNT, str(call.number))
        if chosen.include_is_timeout_retry_header and call.number > 1:
            headers = headers.set(_IS_TIMEOUT_RETRY, "true" if call.timed_out else "false")
    if headers is not request.headers:
        request = request.with_headers(headers)
    if chosen.auto_host_rewrite and host.endpoint.hostname:
        request = chosen.host_of_endpoint(request, host.endpoint.hostname, call.context)
    return request


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
    asked = PickContext(context.clock.monotonic(), context.random)
    return None if balancer is None else balancer.pick(asked)
