"""A unary gRPC call as an HTTP/2 side call: its request, and what its answer says.

It goes through the cluster's own pools, so host, TLS, limits and outlier detection are those of any
call. Source: gRPC over HTTP2.
"""

from typing import Final
from urllib.parse import unquote

from meshsdk.call.effects import Fetch, Fetched, GrpcFetch, GrpcFetched
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset
from meshsdk.errors import PeerError
from meshsdk.wire.grpc_message import frame, unframe

_LARGEST: Final = 4 << 20
"""Octets of an answer: gRPC's own default."""
_UNKNOWN: Final = 2
_INTERNAL: Final = 13
# gRPC, http-grpc-status-mapping; every other status is UNKNOWN.
_OF_HTTP: Final = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}
_MOST_DIGITS: Final = 8


def request_of(call: GrpcFetch) -> Fetch:
    """The HTTP request of a call. ConfigError: the message does not fit the method."""
    pairs = [("te", "trailers"), ("content-type", "application/grpc")]
    if call.timeout is not None:
        pairs.append(("grpc-timeout", _timeout(call.timeout)))
    request = Request(
        "POST",
        call.authority or call.cluster,
        f"/{call.service}/{call.method}",
        Headers((*pairs, *call.metadata)),
        protocol="h2",
        has_body=True,
    )
    body = frame(call.service, call.method, call.message)
    return Fetch(call.cluster, request, body, call.timeout, _LARGEST)


def answer_of(call: GrpcFetch, answer: Fetched | Reset) -> GrpcFetched | Reset:
    """What the answer says."""
    if isinstance(answer, Reset):
        return answer
    response = answer.response
    if response.status != 200:
        status = _OF_HTTP.get(response.status, _UNKNOWN)
        return GrpcFetched(status, {}, f"HTTP status {response.status}")
    fields = response.headers if "grpc-status" in response.headers else answer.trailers
    status_text = None if fields is None else fields.get("grpc-status")
    if fields is None or status_text is None:
        return GrpcFetched(_UNKNOWN, {}, "an answer without grpc-status")
    if not status_text.isascii() or not status_text.isdigit() or len(status_text) > _MOST_DIGITS:
        return GrpcFetched(_UNKNOWN, {}, f"grpc-status {status_text[:80]!r}")
    if int(status_text):
        return GrpcFetched(int(status_text), {}, unquote(fields.get("grpc-message") or ""))
    try:
        return GrpcFetched(0, unframe(call.service, call.method, answer.body))
    except PeerError as error:
        return GrpcFetched(_INTERNAL, {}, str(error))


def _timeout(seconds: float) -> str:
    """grpc-timeout: at most eight digits, in milliseconds where they suffice."""
    milliseconds = max(1, round(seconds * 1000))
    if len(str(milliseconds)) <= _MOST_DIGITS:
        return f"{milliseconds}m"
    return f"{min(round(seconds), 10**_MOST_DIGITS - 1)}S"
