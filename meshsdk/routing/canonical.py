"""One canonical request: what the connection manager does before filters and routes look.

Source: Envoy, ConnectionManagerImpl::ActiveStream::decodeHeaders and
ConnectionManagerUtility::mutateRequestHeaders; what is stricter is named in the threat model.
"""

import re
from dataclasses import replace
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.clock import Random
from meshsdk.resources.hcm_options import HcmOptions, Underscores
from meshsdk.routing import refusals
from meshsdk.routing.client_cert import XFCC, forwarded_client_cert
from meshsdk.routing.domains import without_port
from meshsdk.routing.forwarded import XFF, judge
from meshsdk.routing.path import Refusal, canonical_path, is_untouched, normalize

_PROTO: Final = "x-forwarded-proto"
_PORT: Final = "x-forwarded-port"
_INTERNAL: Final = "x-envoy-internal"
_EXTERNAL_ADDRESS: Final = "x-envoy-external-address"
_REQUEST_ID: Final = "x-request-id"
_ABSOLUTE_FORM: Final = re.compile(r"(?i:https?)://(?:[^/?#@\\]*@)?([^/?#@\\]+)([/?].*)?")
_PRINTABLE_TAIL: Final = re.compile(r"[!-\"$-~]*")  # a query: visible ASCII less `#`

_FROM_EDGE: Final = frozenset(
    {
        "x-envoy-decorator-operation",
        "x-envoy-downstream-service-cluster",
        "x-envoy-downstream-service-node",
        "x-envoy-original-path",
    }
)
"""Removed where we are the edge and the caller is not internal."""
_FROM_EXTERNAL: Final = frozenset(
    {
        "x-envoy-retriable-status-codes",
        "x-envoy-retriable-header-names",
        "x-envoy-retry-on",
        "x-envoy-retry-grpc-on",
        "x-envoy-max-retries",
        "x-envoy-upstream-alt-stat-name",
        "x-envoy-upstream-rq-timeout-ms",
        "x-envoy-upstream-rq-per-try-timeout-ms",
        "x-envoy-upstream-rq-timeout-alt-response",
        "x-envoy-expected-rq-timeout-ms",
        "x-envoy-force-trace",
        "x-envoy-ip-tags",
        "x-envoy-original-url",
        "x-envoy-hedge-on-per-try-timeout",
    }
)
"""Removed from every caller that is not internal."""
_HOP_BY_HOP: Final = ("keep-alive", "proxy-connection", "transfer-encoding")
_NEVER_NOMINATED: Final = frozenset({"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_SPECIAL: Final = frozenset(
    {
        *_FROM_EDGE,
        *_FROM_EXTERNAL,
        *_HOP_BY_HOP,
        _INTERNAL,
        _EXTERNAL_ADDRESS,
        _PROTO,
        _PORT,
        XFF,
        XFCC,
        "x_forwarded_client_cert",
        "connection",
        "upgrade",
        "te",
        "host",
        "via",
        "cookie",
    }
)
"""Fields that a connection manager looks at; a request with none of them takes the short way."""


def canonicalize(
    request: Request,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...] = (),
) -> Request | LocalReply:
    """The request that filters, routes and the application see alike, or the refusal.

    Writes the call's `remote` and `is_internal`. `internal_only_headers` are the route
    configuration's.
    """
    strict = options.compat == "strict"
    refusal = _refuse_fields(request, options)
    if refusal is not None:
        return refusal
    checked = request if "host" not in request.headers else _one_host(request, strict)
    if isinstance(checked, LocalReply):
        return checked
    request = checked
    if not request.path.startswith("/"):
        checked = _origin_form(request, context, strict)
        if isinstance(checked, LocalReply):
            return checked
        request = checked
    if not refusals.is_plain_line(request):
        refusal = refusals.refuse_line(request, strict)
        if refusal is not None:
            return refusal
    path = _path(request, options, strict)
    if isinstance(path, LocalReply):
        return path
    authority = _authority(request, options, context)
    headers = _fields(request, options, context, internal_only_headers)
    if isinstance(headers, LocalReply):
        return headers
    return Request(
        request.method,
        authority,
        path,
        headers,
        _scheme(request, headers, options),
        request.protocol,
        request.has_body,
    )


# -- the request line -------------------------------------------------------------------------


def _one_host(request: Request, strict: bool) -> Request | LocalReply:
    """`host` beside `:authority`: the latter counts; strict refuses two that differ."""
    hosts = request.headers.values("host")
    authority = request.authority or ",".join(hosts)
    if strict and (len(hosts) > 1 or hosts[0] != authority):
        return refusals.stricter("dup-host")
    return replace(request, authority=authority, headers=request.headers.without("host"))


def _path(request: Request, options: HcmOptions, strict: bool) -> str | LocalReply:
    path = request.path
    mark = path.find("?")
    bare, tail = (path, "") if mark < 0 else (path[:mark], path[mark:])
    if (
        request.method != "CONNECT"
        and is_untouched(bare)
        and (not tail or _PRINTABLE_TAIL.fullmatch(tail))
    ):
        return path
    refusal = refusals.refuse_octets(request, strict)
    if refusal is not None:
        return refusal
    if not path:
        return path
    if request.method == "CONNECT" and request.protocol == "http1":
        return refusals.BAD_REQUEST
    if "#" in path:
        if options.reject_fragment or strict:
            return refusals.PATH_NORMALIZATION
        path = path[: path.index("#")]
        bare, question, query = path.partition("?")
        tail = question + query
    if strict and "%00" in bare:
        return refusals.PATH_NORMALIZATION
    return _normalized(request, bare, tail, options, strict)


def _normalized(
    request: Request, bare: str, tail: str, options: HcmOptions, strict: bool
) -> str | LocalReply:
    found = normalize(bare, options)
    if isinstance(found, Refusal):
        return refusals.PATH_NORMALIZATION
    bare, redirect = found
    if redirect:
        if (request.headers.get("content-type") or "").startswith("application/grpc"):
            return refusals.PATH_NORMALIZATION
        location = (("location", bare + tail),)
        return LocalReply(307, headers=location, details=refusals.PATH_NORMALIZATION.details)
    if strict and options.normalize_path and canonical_path(bare) != bare:
        return refusals.stricter("path-not-fixed-point")
    return bare + tail


def _origin_form(request: Request, context: CallContext, strict: bool) -> Request | LocalReply:
    """The request whose target is not in origin form: a proxy's absolute-form is taken apart, a
    CONNECT has no path; strict servers refuse both (`target-form`)."""
    if strict and context.is_inbound:
        return refusals.stricter("target-form")
    path = request.path
    http1 = request.protocol == "http1"
    if request.method == "CONNECT":
        return replace(request, path="")
    if not path:
        return refusals.MISSING_PATH
    absolute = _ABSOLUTE_FORM.fullmatch(path) if http1 else None
    if absolute is not None:
        target = absolute[2] or "/"
        if not target.startswith("/"):
            return refusals.ABSOLUTE_PATH
        return replace(request, authority=absolute[1], path=target)
    asterisk = path == "*" and request.method == "OPTIONS"
    return refusals.BAD_REQUEST if http1 and not asterisk else refusals.ABSOLUTE_PATH


def _authority(request: Request, options: HcmOptions, context: CallContext) -> str:
    """Envoy, maybeNormalizeHost: the trailing dot first, then the port."""
    authority = request.authority
    if options.strip_trailing_host_dot:
        host = without_port(authority)
        if host.endswith("."):
            authority = host[:-1] + authority[len(host) :]
    if request.method == "CONNECT":
        return authority
    if options.strip_any_host_port:
        return without_port(authority)
    if options.strip_matching_host_port:
        suffix = f":{context.connection.local.port}"
        if authority.endswith(suffix):
            return authority[: -len(suffix)]
    return authority


def _scheme(request: Request, headers: Headers, options: HcmOptions) -> str:
    if options.scheme_to_overwrite:
        return options.scheme_to_overwrite
    if request.protocol == "h2":
        return request.scheme.lower()
    forwarded = headers.get(_PROTO)
    return forwarded if forwarded in ("http", "https") else request.scheme


# -- fields -----------------------------------------------------------------------------------


def _refuse_fields(request: Request, options: HcmOptions) -> LocalReply | None:
    """Limits, and octets that no value may hold."""
    headers = request.headers
    values = "|".join([value for _, value in headers.pairs])
    if not values.isprintable() and any(refusals.has_control(value) for _, value in headers):
        return refusals.BAD_REQUEST
    if "content-length" in headers and not _is_length(headers):
        return refusals.BAD_REQUEST
    # Host counts too, as it does in Envoy's map.
    if len(headers) >= options.max_headers_count:
        return refusals.TOO_LARGE
    limit = options.max_request_headers_kb * 1024
    if len(values) + len(request.path) > limit // 2:
        total = len(request.path) + sum(len(name) + len(value) for name, value in headers)
        if total > limit:
            return refusals.TOO_LARGE
    action = options.headers_with_underscores_action
    if action is Underscores.REJECT_REQUEST and any("_" in name for name in headers.names()):
        return refusals.BAD_REQUEST
    return None


def _is_length(headers: Headers) -> bool:
    """One Content-Length of digits, and no Transfer-Encoding beside it (request smuggling)."""
    values = headers.values("content-length")
    text = values[0]
    return (
        len(values) == 1
        and text.isascii()
        and text.isdigit()
        and "transfer-encoding" not in headers
    )


def _fields(
    request: Request,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...],
) -> Headers | LocalReply:
    """The fields that go on: hop-by-hop ones out, trust judged, ours put in."""
    headers = request.headers
    if options.headers_with_underscores_action is Underscores.DROP_HEADER:
        headers = headers.without(*(name for name in headers.names() if "_" in name))
    plain = _SPECIAL.isdisjoint(headers.names()) and (
        not internal_only_headers or headers.names().isdisjoint(internal_only_headers)
    )
    removed: set[str] = set()
    put: dict[str, str] = {}
    if not plain:
        refusal = _hop_by_hop(request, removed, put)
        if refusal is not None:
            return refusal
    _trust(headers, options, context, internal_only_headers, removed, put)
    if options.via:
        put["via"] = ", ".join((*headers.values("via"), options.via))
    if options.generate_request_id:
        edge = options.use_remote_address and not context.is_internal
        if _REQUEST_ID not in headers or (edge and not options.preserve_external_request_id):
            put[_REQUEST_ID] = request_id(context.random)
    certificate = forwarded_client_cert(headers, options, context.connection)
    if certificate is not None:
        put[XFCC] = certificate
    if plain:
        kept = headers.pairs
        if _REQUEST_ID in put and _REQUEST_ID in headers:
            kept = headers.without(_REQUEST_ID).pairs
    else:
        removed.add(XFCC)
        if options.compat == "strict":
            removed.add("x_forwarded_client_cert")
        removed.update(put)
        kept = tuple(pair for pair in headers.pairs if pair[0] not in removed)
    return _trimmed(kept, put)


def _trimmed(kept: tuple[tuple[str, str], ...], put: dict[str, str]) -> Headers:
    """Values without the blanks around them, which are no part of a value (RFC 9110, 5.5)."""
    if any(value and (value[0] in " \t" or value[-1] in " \t") for _, value in kept):
        kept = tuple((name, value.strip(" \t")) for name, value in kept)
    return Headers((*kept, *put.items()))


def _hop_by_hop(request: Request, removed: set[str], put: dict[str, str]) -> LocalReply | None:
    headers = request.headers
    removed.update(_HOP_BY_HOP)
    connection = [
        token.strip(" \t").lower()
        for value in headers.values("connection")
        for token in value.split(",")
    ]
    upgrade = headers.get("upgrade")
    if not (upgrade and "upgrade" in connection) or upgrade.lower() == "h2c":
        removed.update(("connection", "upgrade"))
        if upgrade is not None:
            removed.add("http2-settings")
    for token in connection:
        if token in _NEVER_NOMINATED or token.startswith(":"):
            return refusals.BAD_REQUEST
        if token not in ("te", "upgrade", "close", "keep-alive", "connection"):
            removed.add(token)
    if request.protocol == "h2" and len(headers.values("cookie")) > 1:
        # RFC 9113, 8.2.3: crumbs are one field again before anything looks at them.
        put["cookie"] = "; ".join(headers.values("cookie"))
    if "te" in headers:
        words = {word.strip(" \t") for v in headers.values("te") for word in v.lower().split(",")}
        removed.add("te")
        if "trailers" in words:
            put["te"] = "trailers"
    return None


def _trust(
    headers: Headers,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...],
    removed: set[str],
    put: dict[str, str],
) -> None:
    """Who calls, and which control fields such a caller may send."""
    client = judge(headers, options, context)
    context.remote = client.address
    context.is_internal = client.is_internal
    connection = context.connection
    edge = options.use_remote_address and not client.is_internal
    if client.forwarded_for is not None:
        put[XFF] = client.forwarded_for
    elif len(headers.values(XFF)) > 1:
        put[XFF] = ",".join(headers.values(XFF))
    untrusted = options.use_remote_address and options.xff_num_trusted_hops == 0
    if untrusted or _PROTO not in headers:
        put[_PROTO] = "https" if connection.transport_protocol == "tls" else "http"
    if options.append_x_forwarded_port and (untrusted or _PORT not in headers):
        put[_PORT] = str(connection.local.port)
    removed.add(_INTERNAL)
    if client.is_internal:
        put[_INTERNAL] = "true"
        return
    removed.update(_FROM_EXTERNAL)
    removed.update(internal_only_headers)
    if edge:
        removed.update(_FROM_EDGE)
        put[_EXTERNAL_ADDRESS] = client.address.host


def request_id(random: Random) -> str:
    """A random UUID (version 4)."""
    high, low, more = (random.randrange(1 << 48) for _ in range(3))
    text = f"{high:012x}4{low:012x}{more:012x}"
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{variant}{text[17:20]}-{text[20:32]}"
