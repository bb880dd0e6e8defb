"""One routed call: its cluster, its clock, and what its attempts hold.

Source: Envoy, Router::Filter.
"""

from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import Host
from meshsdk.call.message import BodyEnd, LocalReply, Outcome, Request, Reset, Response
from meshsdk.flow import reply
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.flow.plan import HttpPlan, Plan
from meshsdk.lb_policies import PickContext
from meshsdk.resilience import deadline
from meshsdk.resilience.breakers import PriorityBreakers
from meshsdk.resilience.caller_retries import is_unrepeatable
from meshsdk.resilience.retry import Retry, RetryState, retry_state
from meshsdk.resources.retry_policy import RetryPolicy
from meshsdk.routing.action import Chosen
from meshsdk.telemetry import HostEjected

_ASKS_FOR_RETRIES = frozenset({"x-envoy-retry-on", "x-envoy-retry-grpc-on"})
_JUDGED_FIELDS = frozenset({"grpc-status", "x-envoy-ratelimited"})
_MAX_DURATION = LocalReply(
    408, b"downstream duration timeout", details="max_duration_timeout", grpc_status=4
)


class Call:
    """One routed call: its cluster, its clock, and what the attempt under way holds.

    Whoever makes one calls `release` at the end, however the flow ends.
    """

    __slots__ = (
        "_told",
        "aside",
        "bounds",
        "breakers",
        "chosen",
        "cluster",
        "context",
        "deadline",
        "duration_ends",
        "ends_early",
        "hash_key",
        "host",
        "idle",
        "local_replies",
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
        self.local_replies = http.hcm.local_replies
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
        self.ends_early = False
        """Whether `deadline` is that of the request for which the call is made."""
        self.duration_ends: float | None = None
        """Monotonic seconds of max_stream_duration; None: unbounded."""
        self.hash_key: int | None = None
        self.original = request
        """As its route has rewritten it: what it asks of retries."""
        self.number = 0
        """Attempts so far."""
        self.tried: list[Host] = []
        self._told = 0
        """Of those, how many `retries` knows."""
        self.timed_out = False
        """Whether the last attempt ran out of its own time."""
        self.host: Host | None = None
        """Of the attempt whose place in the breakers is held."""
        self.aside: list[Host] = []
        """Of attempts that run on beside it (hedging): their places are held too."""

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

    def set_aside(self) -> None:
        """The attempt under way goes on beside the next one (hedging)."""
        host, self.host = self.host, None
        if host is not None:
            self.aside.append(host)

    def let_go_of(self, host: Host) -> None:
        """Count out one attempt at a host, of several."""
        if host is not self.host:
            self.aside.remove(host)
            self.set_aside()
            self.host = host
        self.let_go()

    def keep(self, host: Host) -> None:
        """Count out every attempt but one at this host."""
        if host is not self.host:
            self.aside.remove(host)
            self.set_aside()
            self.host = host
        self._let_go_of_those_aside()

    def _let_go_of_those_aside(self) -> None:
        kept, aside, self.aside = self.host, self.aside, []
        for self.host in aside:
            self.let_go()
        self.host = kept

    def release(self) -> None:
        """Give back everything that the call holds."""
        if self.aside:
            self._let_go_of_those_aside()
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
        return reply.CALLER_TIMEOUT if self.ends_early else reply.UPSTREAM_TIMEOUT

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
        policy, strategy = self.chosen.retry_policy, self.plan.live.retry
        if strategy is None:
            if policy is None and not self.original.headers.has_any(_ASKS_FOR_RETRIES):
                return None
            if _is_plain_success(outcome, policy):
                return None
        elif not strategy.judges_successes and _is_plain_success(outcome, policy):
            return None
        retries = self.retry_state()
        if retries is None:
            return None
        decision = retries.wants(outcome)
        if isinstance(decision, Retry):
            return decision.backoff
        if decision.flag:
            self.context.flag(decision.flag)
        return None

    def retry_state(self) -> RetryState | None:
        """What decides on retries, told of the hosts tried so far; None: there are none."""
        if not self.context.body_replayable:
            return None
        retries, live = self.retries, self.plan.live
        if retries is None:
            if live.guards_writes and is_unrepeatable(self.original):
                return None
            assert self.breakers is not None
            retries = retry_state(
                self.chosen.retry_policy,
                self.original,
                self.breakers,
                self.context.clock,
                self.context.random,
                live.retry,
                self.started,
            )
            if retries is None:
                return None
            self.retries = retries
        for host in self.tried[self._told :]:
            retries.attempted(host)
        self._told = len(self.tried)
        return retries

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
