"""The fields of a canonical request: limits, hop-by-hop fields, trust in what callers say.

Source: Envoy, ConnectionManagerUtility::mutateRequestHeaders.
"""

from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request
from meshsdk.clock import Random
from meshsdk.resources.hcm_options import HcmOptions, Underscores
from meshsdk.resources.header_mutations import ONE_LINE
from meshsdk.routing import refusals
from meshsdk.routing.client_cert import XFCC, forwarded_client_cert
from meshsdk.routing.forwarded import XFF, judge

PROTO: Final = "x-forwarded-proto"
_PORT: Final = "x-forwarded-port"
_INTERNAL: Final = "x-envoy-internal"
_EXTERNAL_ADDRESS: Final = "x-envoy-external-address"
_REQUEST_ID: Final = "x-request-id"

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
_NOT_FROM_EXTERNAL: Final = _FROM_EXTERNAL | {_INTERNAL}
_JUDGED: Final = frozenset(
    {*_HOP_BY_HOP, XFF, XFCC, "x_forwarded_client_cert", "upgrade", "te", "host", "via"}
)
"""Fields of which there is more to say than that they stay or go; without them a request takes the
short way."""
_NONE: Final = frozenset[str]()
_LOOKED_FOR: Final = _JUDGED | _NOT_FROM_EXTERNAL

_48_BITS: Final = 1 << 48
_ONLY_OF_THE_CONNECTION: Final = ("keep-alive", "close")
"""Values of `connection` that name no field: they end here."""


def checked_fields(request: Request, options: HcmOptions) -> Request | LocalReply:
    """The request with blanks around values gone, unless its fields must be refused."""
    headers = request.headers
    pairs = headers.pairs
    values = "|".join([value for _, value in pairs])
    if not values.isprintable() or _has_blanks(values):
        if any(refusals.has_control(value) for _, value in pairs):
            return refusals.BAD_REQUEST
        headers = _trimmed(headers)
        request = request.with_headers(headers)
    if "content-length" in headers and not _is_length(headers):
        return refusals.BAD_REQUEST
    action = options.headers_with_underscores_action
    if action is Underscores.REJECT_REQUEST and any("_" in name for name in headers.names()):
        return refusals.UNDERSCORE
    # Host counts too, as it does in Envoy's map.
    if len(pairs) >= options.max_headers_count and _is_too_many(headers, options):
        return refusals.TOO_MANY
    limit = options.max_request_headers_kb * 1024
    if len(values) + len(request.path) > limit // 2:
        total = len(request.path) + sum(len(name) + len(value) for name, value in headers)
        if total > limit:
            return refusals.TOO_LARGE
    return request


def _is_too_many(headers: Headers, options: HcmOptions) -> bool:
    """As Envoy counts: one line once, and not what is dropped."""
    counted = _joined(headers)
    if options.headers_with_underscores_action is Underscores.DROP_HEADER:
        counted = counted.without(*(name for name in counted.names() if "_" in name))
    return len(counted) >= options.max_headers_count


def _has_blanks(values: str) -> bool:
    """Whether some of the joined values may begin or end with a blank."""
    return "| " in values or " |" in values or values[:1] == " " or values[-1:] == " "


def _trimmed(headers: Headers) -> Headers:
    """Values without the blanks around them, which are no part of a value (RFC 9110, 5.5)."""
    return Headers((name, value.strip(" \t")) for name, value in headers.pairs)


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


def forwarded_fields(
    request: Request,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...],
) -> Headers | LocalReply:
    """The fields that filters, routes and the next hop see. Writes `remote` and `is_internal`."""
    headers = _short_way(request.headers, options, context, internal_only_headers)
    if headers is not None:
        return headers
    return _fields(request, options, context, internal_only_headers)


def _short_way(
    headers: Headers,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...],
) -> Headers | None:
    """The fields of a sidecar's usual request: nothing that it sends says who calls; None: the long
    way decides."""
    if not options.takes_short_way:
        return None
    names = headers.names()
    if headers.has_repeats():
        return None
    gone: frozenset[str] = _NONE
    if not _LOOKED_FOR.isdisjoint(names):
        if not _JUDGED.isdisjoint(names):
            return None
        gone = _NOT_FROM_EXTERNAL.intersection(names)
    if internal_only_headers and not names.isdisjoint(internal_only_headers):
        return None
    ended = ""
    nominated = headers.get("connection")
    if nominated is not None:
        if nominated not in _ONLY_OF_THE_CONNECTION:
            return None
        ended = "connection"
    connection = context.connection
    peer = connection.peer
    context.remote = peer.connection
    context.is_internal = False
    more: list[tuple[str, str]] = []
    if PROTO not in names:
        more.append((PROTO, "https" if connection.transport_protocol == "tls" else "http"))
    if options.generate_request_id and not headers.get(_REQUEST_ID):
        if _REQUEST_ID in names:
            return None  # empty: it is replaced
        more.append((_REQUEST_ID, request_id(context.random)))
    if peer.certificate is not None:
        certificate = forwarded_client_cert(headers, options, connection)
        if certificate is not None:
            more.append((XFCC, certificate))
    if ended or more:
        headers = headers.exchanged(ended, more)
    return headers.without(*gone) if gone else headers


def _fields(
    request: Request,
    options: HcmOptions,
    context: CallContext,
    internal_only_headers: tuple[str, ...],
) -> Headers | LocalReply:
    """The fields that go on: hop-by-hop ones out, trust judged, ours put in."""
    headers = _joined(request.headers)
    if options.headers_with_underscores_action is Underscores.DROP_HEADER:
        headers = headers.without(*(name for name in headers.names() if "_" in name))
    removed: set[str] = set()
    put: dict[str, str] = {}
    refusal = _hop_by_hop(request, removed, put)
    if refusal is not None:
        return refusal
    _trust(headers, options, context, internal_only_headers, removed, put)
    if options.via:
        put["via"] = ", ".join((*filter(None, headers.values("via")), options.via))
    if options.generate_request_id:
        edge = options.use_remote_address and not context.is_internal
        # An empty one is none (observed).
        if not headers.get(_REQUEST_ID) or (edge and not options.preserve_external_request_id):
            put[_REQUEST_ID] = request_id(context.random)
    certificate = forwarded_client_cert(headers, options, context.connection)
    if certificate is not None:
        put[XFCC] = certificate
    removed.add(XFCC)
    if options.compat == "strict":
        removed.add("x_forwarded_client_cert")
    removed.update(put)
    kept = (pair for pair in headers.pairs if pair[0] not in removed)
    return Headers((*kept, *put.items()))


def _joined(headers: Headers) -> Headers:
    """The fields of which Envoy keeps one line, as one line without the empty ones; others keep
    their repeats."""
    names = headers.names()
    if not headers.has_repeats():
        return headers
    repeated = {n for n in names if n in ONE_LINE and len(headers.values(n)) > 1}
    kept = (pair for pair in headers.pairs if pair[0] not in repeated)
    return Headers(
        (*kept, *((name, ",".join(filter(None, headers.values(name)))) for name in repeated))
    )


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
    untrusted = options.use_remote_address and options.xff_num_trusted_hops == 0
    if untrusted or PROTO not in headers:
        put[PROTO] = "https" if connection.transport_protocol == "tls" else "http"
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
    draw = random.random
    high, middle = int(draw() * _48_BITS), int(draw() * _48_BITS)
    low = int(draw() * _48_BITS)
    # An f-string costs twice as much.
    return "%08x-%04x-4%03x-%04x-%012x" % (  # noqa: UP031
        high & 0xFFFFFFFF,
        high >> 32,
        middle & 0xFFF,
        0x8000 | middle >> 12 & 0x3FFF,
        low,
    )
