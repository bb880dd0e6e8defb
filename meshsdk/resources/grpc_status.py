"""How a gRPC call ended, as far as its response tells."""

from typing import Final

from meshsdk.call.message import BodyEnd, Response

STATUSES: Final = (
    "OK",
    "CANCELED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""By number, spelled as envoy.config.accesslog.v3.GrpcStatusFilter does."""
# Envoy, Grpc::Utility::httpToGrpcStatus; every other status is UNKNOWN.
_OF_HTTP: Final = {200: 2, 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def told_status(response: Response | None, end: BodyEnd | None) -> str | None:
    """The field grpc-status: of the trailers, else of the headers."""
    if end is not None and end.trailers is not None:
        found = end.trailers.get("grpc-status")
        if found is not None:
            return found
    return None if response is None else response.headers.get("grpc-status")


def grpc_status(response: Response, end: BodyEnd | None) -> int:
    """The status by number; guessed from the HTTP status where nothing tells it."""
    told = told_status(response, end)
    if told is not None and told.isdecimal() and len(told) < 4:
        return int(told)
    return _OF_HTTP.get(response.status, 2)
