"""Local replies as responses: what Envoy's sendLocalReply makes of them."""

from dataclasses import replace
from urllib.parse import quote

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request, Reset, ResetReason, Response

# Envoy, Http::Utility::httpToGrpcStatus; every other status is UNKNOWN.
_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_UNKNOWN = 2
# RFC 3986 unreserved and what gRPC leaves as it is in grpc-message: all printable but '%'.
_PLAIN_MESSAGE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")

FLAG_OF_RESET = {
    ResetReason.CONNECT_FAILURE: "UF",
    ResetReason.CONNECT_TIMEOUT: "UF",
    ResetReason.TLS_FAILURE: "UF",
    ResetReason.LOCAL_RESET: "LR",
    ResetReason.REMOTE_RESET: "UR",
    ResetReason.REFUSED_STREAM: "UR",
    ResetReason.CONNECTION_TERMINATION: "UC",
    ResetReason.PROTOCOL_ERROR: "UPE",
    ResetReason.OVERFLOW: "UO",
    ResetReason.PER_TRY_TIMEOUT: "UT",
    ResetReason.PER_TRY_IDLE_TIMEOUT: "UT",
    ResetReason.TIMEOUT: "UT",
}
_TIMEOUT_DETAILS = {
    ResetReason.PER_TRY_TIMEOUT: "upstream_per_try_timeout",
    ResetReason.PER_TRY_IDLE_TIMEOUT: "upstream_per_try_idle_timeout",
    ResetReason.TIMEOUT: "response_timeout",
}
_SEEN_AS_CONNECT_FAILURE = frozenset({ResetReason.TLS_FAILURE})

NO_CLUSTER = "cluster_not_found"
NO_ROUTE = LocalReply(404, flags=("NR",), details="route_not_found")
NO_ROUTE_CONFIGURATION = LocalReply(404, flags=("NR",), details="route_configuration_not_found")
NO_HEALTHY_UPSTREAM = LocalReply(
    503, b"no healthy upstream", flags=("UH",), details="no_healthy_upstream"
)
NO_STATUS = LocalReply(
    502,
    b"missing required header: :status",
    details="filter_removed_required_response_headers{missing_required_header:_:status}",
)
STREAM_IDLE = LocalReply(504, b"stream timeout", flags=("SI",), details="stream_idle_timeout")
DROPPED = LocalReply(
    503,
    b"drop overload",
    (("x-envoy-drop-overload", "true"),),
    flags=("DO",),
    details="drop_overload",
)
DROPPED_ALWAYS = LocalReply(
    503,
    b"unconditional drop overload",
    (("x-envoy-unconditional-drop-overload", "true"),),
    flags=("UDO",),
    details="unconditional_drop_overload",
)
UPSTREAM_TIMEOUT = LocalReply(
    504, b"upstream request timeout", flags=("UT",), details="response_timeout"
)

# The request that the call was made for has no time left: ours, so its details are.
CALLER_TIMEOUT = LocalReply(
    504, b"upstream request timeout", flags=("UT",), details="meshsdk_inherited_deadline"
)


def not_built(what: str) -> LocalReply:
    """A call met configuration whose code does not exist: it fails by that name."""
    return LocalReply(
        500, f"meshsdk: {what} is not built".encode(), details=f"meshsdk_not_built{{{what}}}"
    )


def no_cluster(status: int) -> LocalReply:
    """The route names a cluster that does not exist."""
    return LocalReply(status, flags=("NC",), details=NO_CLUSTER)


def no_host(context: CallContext) -> LocalReply:
    """No host may be used, or not the one that a strict session wants."""
    if context.override_host and context.override_is_strict:
        return replace(NO_HEALTHY_UPSTREAM, status=context.override_missing_status)
    return NO_HEALTHY_UPSTREAM


def incomplete(request: Request) -> LocalReply | None:
    """The answer when a filter took away what a request cannot do without (Envoy, codec)."""
    if request.method and (request.path or request.method == "CONNECT"):
        return None
    missing = ":path" if request.method else ":method"
    return LocalReply(
        503,
        f"missing required header: {missing}".encode(),
        flags=("DPE",),
        details=f"filter_removed_required_request_headers{{missing_required_header:_{missing}}}",
    )


def of_reset(reset: Reset, retried: bool) -> LocalReply:
    """What the caller gets when the last attempt brought no response (Envoy, onUpstreamReset)."""
    flag = FLAG_OF_RESET[reset.reason]
    timeout = _TIMEOUT_DETAILS.get(reset.reason)
    if timeout is not None:
        return LocalReply(504, b"upstream request timeout", flags=(flag,), details=timeout)
    reason = reset.reason
    if reason in _SEEN_AS_CONNECT_FAILURE:
        reason = ResetReason.CONNECT_FAILURE
    kind = "retried and the latest reset reason" if retried else "reset reason"
    body = f"upstream connect error or disconnect/reset before headers. {kind}: {reason.value}"
    text = f"{reason.value}|{reset.detail}" if reset.detail else reason.value
    details = f"upstream_reset_before_response_started{{{text.replace(' ', '_')}}}"
    headers = (("x-envoy-overloaded", "true"),) if reason is ResetReason.OVERFLOW else ()
    status = 502 if reason is ResetReason.PROTOCOL_ERROR else 503
    return LocalReply(status, body.encode(), headers, (flag,), details)


def is_grpc(request: Request) -> bool:
    """Whether the caller expects its answer as a gRPC status."""
    content_type = request.headers.get("content-type")
    if content_type is None or not content_type.startswith("application/grpc"):
        return False
    return content_type == "application/grpc" or content_type[16] in "+;"


def to_response(reply: LocalReply, request: Request, context: CallContext) -> Response:
    """The response for a local reply; sets the call's flags and details."""
    for flag in reply.flags:
        context.flag(flag)
    context.details = reply.details
    # Envoy notes no code where a filter makes the response itself.
    context.local_status = 0 if reply.as_is else reply.status
    # What the caller sent counts, whatever filters have made of it.
    return framed(reply, context.original or request)


def framed(reply: LocalReply, request: Request) -> Response:
    """The response with the fields that describe its body, in gRPC's form for who speaks gRPC."""
    if is_grpc(request) and not reply.as_is:
        return _grpc_response(reply, is_head=request.method == "HEAD")
    pairs = [(name, value) for name, value in reply.headers]
    names = {name for name, _ in pairs}
    body = reply.body
    if body:
        pairs.insert(0, ("content-length", str(len(body))))
        if "content-type" not in names:
            pairs.insert(1, ("content-type", "text/plain"))
    if request.method == "HEAD":
        body = b""
    return Response(reply.status, Headers(pairs), body)


def _grpc_response(reply: LocalReply, *, is_head: bool) -> Response:
    status = reply.grpc_status
    if status is None:
        status = _GRPC_OF_HTTP.get(reply.status, _UNKNOWN)
    pairs = [("content-type", "application/grpc"), ("grpc-status", str(status))]
    if reply.body and not is_head:
        message = reply.body.decode("utf-8", "replace")
        pairs.append(("grpc-message", quote(message, safe=_PLAIN_MESSAGE)))
    kept = [(n, v) for n, v in reply.headers if n not in ("content-type", "content-length")]
    return Response(200, Headers((*pairs, *kept)))
