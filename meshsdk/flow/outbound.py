"""A call that the application makes."""

from collections.abc import Callable
from dataclasses import dataclass

from meshsdk.call.address import Address
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Deliver, Dial, Dialed, Flow, Reply, WaitForConfig
from meshsdk.call.message import BodyEnd, Request, Reset, ResetReason
from meshsdk.errors import NotReadyError
from meshsdk.flow import network, router, select
from meshsdk.flow.cluster_plan import ClusterPlan, LiveState
from meshsdk.flow.http import Answered, unwind, walk
from meshsdk.flow.inherited import inherit, patience
from meshsdk.flow.observed import seen_by
from meshsdk.flow.plan import HttpPlan, Plan
from meshsdk.flow.routed_call import Call
from meshsdk.flow.select import Selected, Target
from meshsdk.resources.tcp_proxy import TcpProxy
from meshsdk.routing.downstream import with_via

WAIT_FOR_CONFIG = 15.0
"""Seconds that a call without a deadline of its own waits for configuration (gRFC A57)."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where calls find the plan in force, and whether listeners come on demand."""

    plan: Callable[[], Plan | None]
    live: LiveState
    on_demand: bool = False
    """A proxyless feed: a listener that nobody asked for yet is subscribed by name."""
    why_none: Callable[[], str] = str
    """What ails the control plane's stream; empty where nothing is known to."""


def new_context(source: Source, connection_of: Selected, target: Target) -> CallContext:
    """The context of an outbound call."""
    live = source.live
    context = CallContext(live.clock, live.random, connection_of.connection)
    context.start = live.clock.monotonic()
    context.listener = connection_of.listener.listener.name
    context.destination = Address(target.host, target.port)
    if connection_of.chain is not None:
        context.filter_chain = connection_of.chain.name
    return context


def outbound(
    source: Source,
    request: Request,
    target: Target,
    *,
    wait: float | None = None,
    observe: Callable[[CallContext], None] | None = None,
) -> Flow[None]:
    """The flow of one call. `wait` bounds the wait for configuration, in seconds (None: 15).

    `observe` gets the context before anything is decided. NotReadyError when configuration did
    not come in time.
    """
    plan = source.plan()
    if plan is not None:
        selected = select.outbound(plan, target)
        if selected is not None:
            return _begun(source, plan, selected, request, target, observe)
    bound = patience(source.live, WAIT_FOR_CONFIG if wait is None else wait)
    return _waiting(source, request, target, bound, observe)


Observe = Callable[[CallContext], None]


def _begun(
    source: Source,
    plan: Plan,
    selected: Selected,
    request: Request,
    target: Target,
    observe: Observe | None,
) -> Flow[None]:
    context = new_context(source, selected, target)
    if observe is not None:
        observe(context)
    return through(plan, selected, inherit(source.live, request, context), context)


def _waiting(
    source: Source, request: Request, target: Target, wait: float, observe: Observe | None
) -> Flow[None]:
    """A call that came before its configuration."""
    plan, selected = yield from _selected(source, target, wait)
    if selected is None:
        yield Deliver(_refused(f"no listener takes {target.host}:{target.port}"))
    else:
        yield from _begun(source, plan, selected, request, target, observe)


def through(plan: Plan, selected: Selected, request: Request, context: CallContext) -> Flow[None]:
    """The rest of a call, once its filter chain is known: what an Envoy with this chain does."""
    context.original = request
    missing = selected.listener.listener.not_built
    if missing:
        return _reset(_refused(f"{missing[0]} is not built"))
    denied = network.refusal(selected.chain, context)
    if denied is not None:
        for flag in denied.flags:
            context.flag(flag)
        closed = ResetReason.CONNECTION_TERMINATION
        return _reset(Reset(closed, denied.details, request_sent=False))
    if selected.refusal:
        return _reset(_refused(selected.refusal))
    if selected.hcm is None:
        return _tcp(plan, selected, context)
    http = selected.listener.http_plan(selected.hcm)
    flow = _http(plan, http, request, context)
    telemetry = plan.live.telemetry
    return flow if telemetry is None else seen_by(telemetry, http, flow, request, context)


def _reset(reset: Reset) -> Flow[None]:
    yield Deliver(reset)


def _selected(source: Source, target: Target, wait: float) -> Flow[tuple[Plan, Selected | None]]:
    """The newest plan and what it selects, waiting for the first configuration."""
    clock = source.live.clock
    deadline = clock.monotonic() + wait
    listener = f"{target.host}:{target.port}" if source.on_demand else ""
    while True:
        plan = source.plan()
        selected = None if plan is None else select.outbound(plan, target)
        if plan is not None and (selected is not None or not source.on_demand):
            return plan, selected
        if plan is not None and plan.refusal_of(listener) is not None:
            return plan, None
        what = f"listener {listener}" if listener else "the first complete configuration"
        remaining = deadline - clock.monotonic()
        if remaining <= 0:
            raise NotReadyError(what, wait, source.why_none())
        yield WaitForConfig(what, remaining, listener)


def _http(plan: Plan, http: HttpPlan, request: Request, context: CallContext) -> Flow[None]:
    call: Call | None = None
    end: Reply = None
    try:
        walked = yield from walk(plan, http, request, context)
        if isinstance(walked, Answered):
            end = yield Deliver(with_via(walked.response, http.hcm.options))
            return
        call = Call(plan, walked.chosen, walked.request, context, http)
        response = yield from router.run(call)
        response = with_via(unwind(response, walked.on_response, context), http.hcm.options)
        end = yield Deliver(response)
        assert isinstance(end, BodyEnd)
        call.ended(end)
    finally:
        if call is not None:
            call.release()
        if context.at_end:
            context.end(end if isinstance(end, BodyEnd) else None)


def _tcp(plan: Plan, selected: Selected, context: CallContext) -> Flow[None]:
    """A chain that ends in tcp_proxy: dial as the application asked; no HTTP feature applies."""
    assert selected.chain is not None
    proxy = selected.chain.terminal
    assert isinstance(proxy, TcpProxy)
    name = proxy.pick_cluster(context.random)
    context.cluster = name
    cluster = plan.cluster(name)
    if cluster is None:
        yield Deliver(_refused(f"cluster {name} does not exist"))
        return
    missing = proxy.not_built or cluster.not_built
    if missing:
        yield Deliver(_refused(f"{missing[0]} is not built"))
        return
    outcome: Dialed | Reset = _refused("no attempt was allowed")
    host = None
    try:
        for _ in range(proxy.max_connect_attempts):
            if host is not None:
                host.state.active_requests -= 1
            host = router.pick_for_tcp(cluster, context)
            if host is None:
                outcome = _refused(_why_no_host(cluster))
                break
            host.state.active_requests += 1
            context.host = host
            reply = yield Dial(host, cluster, cluster.cluster.connect_timeout)
            assert isinstance(reply, Dialed | Reset)
            outcome = reply
            if isinstance(reply, Dialed):
                break
        yield Deliver(outcome)
    finally:
        if host is not None:
            host.state.active_requests -= 1


def _refused(detail: str) -> Reset:
    return Reset(ResetReason.CONNECT_FAILURE, detail, request_sent=False)


def _why_no_host(cluster: ClusterPlan) -> str:
    if cluster.name == "BlackHoleCluster":
        return "blocked by REGISTRY_ONLY: the mesh knows no such destination (BlackHoleCluster)"
    return f"cluster {cluster.name} has no healthy host"
