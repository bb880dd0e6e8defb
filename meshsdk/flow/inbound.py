"""A request that the application's own server accepted."""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import ref

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Deliver, Flow, Reply
from meshsdk.call.message import BodyEnd, LocalReply, Request, Response
from meshsdk.call.serving import Serving
from meshsdk.flow import network, reply, select, tell
from meshsdk.flow.http import Answered, unwind, walk
from meshsdk.flow.inherited import serving_of
from meshsdk.flow.observed import seen_by
from meshsdk.flow.outbound import Source
from meshsdk.flow.plan import HttpPlan, Plan
from meshsdk.flow.select import Selected
from meshsdk.routing.downstream import finish_response, with_via

# Fail closed before any policy is known (THREATS section 10): the caller learns nothing more.
_NO_CONFIGURATION = LocalReply(503, b"", details="meshsdk_no_configuration", close=True)
_NO_CHAIN = LocalReply(503, b"", flags=("NR",), details="filter_chain_not_found", close=True)
_NOT_MTLS = LocalReply(403, b"", flags=("NR",), details="meshsdk_mtls_required", close=True)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What one plan makes of a connection: the same for each of its requests."""

    plan: "ref[Plan]"
    """Weak: an idle connection must not keep an old plan."""
    selected: Selected | None
    refusal: LocalReply | None


_JUDGED = object()
"""Its key among the facts of a connection."""


def inbound(
    source: Source,
    request: Request,
    connection: Connection,
    observe: Callable[[CallContext], None] | None = None,
) -> Flow[None]:
    """The flow of one request. The chain is found anew in the newest plan, so that a policy change
    holds for the next request of an old connection."""
    live = source.live
    context = CallContext(live.clock, live.random, connection, is_inbound=True)
    context.start = live.clock.monotonic()
    if observe is not None:
        observe(context)
    plan = source.plan()
    if plan is None:
        return _closed(_NO_CONFIGURATION, request, context)
    judged = connection.state.get(_JUDGED)
    if not isinstance(judged, _Judged) or judged.plan() is not plan:
        selected = select.inbound(plan, connection)
        judged = _Judged(ref(plan), selected, _refusal(selected, connection))
        connection.state[_JUDGED] = judged
    selected = judged.selected
    if judged.refusal is not None or selected is None:
        return _closed(judged.refusal or _NO_CHAIN, request, context)
    context.listener = selected.listener.listener.name
    missing = selected.listener.listener.not_built
    if missing:
        return _closed(reply.not_built(missing[0]), request, context)
    assert selected.chain is not None
    context.filter_chain = selected.chain.name
    denied = network.refusal(selected.chain, context)
    if denied is not None:
        tell.judgements(source.live, plan.version, request, context)
        tell.denied(source.live, plan.version, request, context, denied.status, denied.details)
        return _closed(denied, request, context)
    if selected.hcm is None:
        tell.judgements(source.live, plan.version, request, context)
        return _tcp(request, context)
    http = selected.listener.http_plan(selected.hcm)
    flow = _http(source, plan, http, request, context)
    telemetry = live.telemetry
    return flow if telemetry is None else seen_by(telemetry, http, flow, request, context)


def _refusal(selected: Selected | None, connection: Connection) -> LocalReply | None:
    """Why a connection may not speak at all. Chains say it by matching; this does not rely on it."""
    if selected is None or selected.chain is None:
        return _NO_CHAIN
    tls = selected.chain.tls
    if tls is None:
        # TLS that nobody but the application can read never reaches an HTTP server of ours.
        return _NO_CHAIN if connection.transport_protocol == "tls" else None
    if connection.transport_protocol != "tls":
        return _NOT_MTLS
    if tls.require_client_certificate and connection.peer.certificate is None:
        return _NOT_MTLS
    return None


def _closed(local: LocalReply, request: Request, context: CallContext) -> Flow[None]:
    """The answer that ends the connection."""
    response = reply.to_response(local, request, context)
    yield Deliver(response.with_headers(response.headers.add("connection", "close")))


def _tcp(request: Request, context: CallContext) -> Flow[None]:
    """A chain of a port that was declared TCP: network filters decided, no HTTP feature applies."""
    response = yield CallApp(request, None, context)
    assert isinstance(response, Response)
    yield Deliver(response)


def _http(
    source: Source, plan: Plan, http: HttpPlan, request: Request, context: CallContext
) -> Flow[None]:
    end: Reply = None
    serving: Serving | None = None
    try:
        walked = yield from walk(plan, http, request, context)
        if context.judgements:
            tell.judgements(source.live, plan.version, request, context)
        if isinstance(walked, Answered):
            response = with_via(walked.response, http.hcm.options)
            if response.status in (401, 403):
                tell.denied(
                    source.live, plan.version, request, context, response.status, context.details
                )
        else:
            chosen = walked.chosen
            context.cluster = chosen.cluster
            if chosen.virtual_cluster is not None:
                context.virtual_cluster = chosen.virtual_cluster(walked.request)
            asked = chosen.finalize(walked.request, context)
            serving = serving_of(request, asked, chosen, context)
            answer = yield CallApp(asked, serving, context)
            assert isinstance(answer, Response)
            response = unwind(chosen.on_response(answer, context), walked.on_response, context)
            options = http.hcm.options
            response = finish_response(response, walked.request, options, names_server=False)
        end = yield Deliver(response)
        assert isinstance(end, BodyEnd)
    finally:
        if serving is not None:
            serving.is_over = True
        if context.at_end:
            context.end(end if isinstance(end, BodyEnd) else None)
