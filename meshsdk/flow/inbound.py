"""A request that the application's own server accepted."""

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Deliver, Flow, Reply
from meshsdk.call.message import BodyEnd, LocalReply, Request, Response
from meshsdk.flow import network, reply, select
from meshsdk.flow.http import Answered, Routed, unwind, walk
from meshsdk.flow.outbound import Source
from meshsdk.flow.plan import Plan
from meshsdk.flow.select import Selected
from meshsdk.routing.downstream import finish_response
from meshsdk.telemetry import CallDenied

# Fail closed before any policy is known (THREATS section 10): the caller learns nothing more.
_NO_CONFIGURATION = LocalReply(503, b"", details="meshsdk_no_configuration", close=True)
_NO_CHAIN = LocalReply(503, b"", flags=("NR",), details="filter_chain_not_found", close=True)
_NOT_MTLS = LocalReply(403, b"", flags=("NR",), details="meshsdk_mtls_required", close=True)


def inbound(source: Source, request: Request, connection: Connection) -> Flow[None]:
    """The flow of one request. The chain is found anew in the newest plan, so that a policy change
    holds for the next request of an old connection."""
    live = source.live
    context = CallContext(live.clock, live.random, connection, is_inbound=True)
    context.start = live.clock.monotonic()
    plan = source.plan()
    if plan is None:
        yield Deliver(_close(_NO_CONFIGURATION, request, context))
        return
    selected = select.inbound(plan, connection)
    refusal = _refusal(selected, connection)
    if refusal is not None or selected is None:
        yield Deliver(_close(refusal or _NO_CHAIN, request, context))
        return
    context.listener = selected.listener.listener.name
    missing = selected.listener.listener.not_built
    if missing:
        yield Deliver(_close(reply.not_built(missing[0]), request, context))
        return
    assert selected.chain is not None
    context.filter_chain = selected.chain.name
    denied = network.refusal(selected.chain, context)
    if denied is not None:
        yield Deliver(_close(denied, request, context))
        return
    if selected.hcm is None:
        yield from _tcp(request)
    else:
        yield from _http(source, plan, selected, request, context)


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


def _close(local: LocalReply, request: Request, context: CallContext) -> Response:
    response = reply.to_response(local, request, context)
    return response.with_headers(response.headers.add("connection", "close"))


def _tcp(request: Request) -> Flow[None]:
    """A chain of a port that was declared TCP: network filters decided, no HTTP feature applies."""
    response = yield CallApp(request)
    assert isinstance(response, Response)
    yield Deliver(response)


def _http(
    source: Source, plan: Plan, selected: Selected, request: Request, context: CallContext
) -> Flow[None]:
    assert selected.hcm is not None
    http = selected.listener.http_plan(selected.hcm)
    end: Reply = None
    try:
        walked = yield from walk(plan, http, request, context)
        if isinstance(walked, Answered):
            response = walked.response
            if response.status in (401, 403):
                _tell(source, request, context, response.status)
        else:
            response = yield from _app(walked, context)
            options = http.hcm.options
            response = finish_response(response, walked.request, options, names_server=False)
        end = yield Deliver(response)
        assert isinstance(end, BodyEnd)
    finally:
        if context.at_end:
            context.end(end if isinstance(end, BodyEnd) else None)


def _app(routed: Routed, context: CallContext) -> Flow[Response]:
    """The application's answer, as the route and the filters make it."""
    chosen = routed.chosen
    context.cluster = chosen.cluster
    response = yield CallApp(chosen.finalize(routed.request, context))
    assert isinstance(response, Response)
    return unwind(chosen.on_response(response, context), routed.on_response, context)


def _tell(source: Source, request: Request, context: CallContext, status: int) -> None:
    peer = context.connection.peer
    principal = "" if peer.spiffe_id is None else str(peer.spiffe_id)
    path = request.path.partition("?")[0]
    source.live.emit(
        CallDenied("inbound", request.method, path, status, context.details, principal)
    )
