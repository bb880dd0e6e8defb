"""The request and what comes back for it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from typing import Final, Literal, TypeAlias

from meshsdk.call.headers import EMPTY, Headers
from meshsdk.call.value import value

UNKNOWN_AUTHORITY: Final = "authority.unknown.invalid"
"""In `Request.authority` where a server library does not show it. To policies it is unknown: it fits
no condition that allows, and every condition that denies."""

Protocol: TypeAlias = Literal["http1", "h2"]


@value
class Request:
    """An HTTP request as policy sees it. `path` is `:path`: with the query, never with a fragment."""

    method: str
    authority: str
    path: str
    headers: Headers = EMPTY
    scheme: str = "http"
    protocol: Protocol = "http1"
    has_body: bool = False
    """Whether a body may follow the headers."""

    def field(self, name: str) -> tuple[str, ...]:
        """Every value of a field; pseudo headers by their name, `host` is `:authority`."""
        match name:
            case ":path":
                return (self.path,) if self.path else ()
            case ":method":
                return (self.method,) if self.method else ()
            case ":authority" | "host":
                return (self.authority,) if self.authority else ()
            case ":scheme":
                return (self.scheme,)
            case _:
                return self.headers.values(name)

    def with_headers(self, headers: Headers) -> "Request":
        """The same request with other fields."""
        # dataclasses.replace takes three times as long, and every call does this.
        return Request(
            self.method,
            self.authority,
            self.path,
            headers,
            self.scheme,
            self.protocol,
            self.has_body,
        )


@value
class Response:
    """A response whose body has not been read.

    `body` is what the adapter needs to stream it: bytes when the mesh itself answers (a local
    reply), else a handle that only the adapter that made it understands.
    """

    status: int
    headers: Headers = EMPTY
    body: object = b""
    trailers: Headers | None = None
    """Only of a response that ended with its headers (gRPC trailers-only has none)."""
    attempt: object = None
    """The `Attempt` that brought it; None for local replies and the app's own responses."""
    version: bytes = b"HTTP/1.1"
    reason: bytes = b""
    """The reason phrase, as it came."""

    def with_headers(self, headers: Headers) -> "Response":
        """The same response with other fields."""
        return replace(self, headers=headers)


class ResetReason(Enum):
    """Why an attempt ended without a response, in Envoy's words (%RESPONSE_CODE_DETAILS%)."""

    CONNECT_FAILURE = "remote connection failure"
    CONNECT_TIMEOUT = "connection timeout"
    TLS_FAILURE = "remote connection failure, transport failure"
    LOCAL_RESET = "local reset"
    REMOTE_RESET = "remote reset"
    REFUSED_STREAM = "remote refused stream reset"
    CONNECTION_TERMINATION = "connection termination"
    PROTOCOL_ERROR = "protocol error"
    OVERFLOW = "overflow"
    PER_TRY_TIMEOUT = "per try timeout"
    PER_TRY_IDLE_TIMEOUT = "per try idle timeout"
    TIMEOUT = "timeout"


@value
class Reset:
    """An attempt that ended without a (whole) response: data, never an exception."""

    reason: ResetReason
    detail: str = ""
    """What the transport said, for people: `Connection refused`."""
    body_started: bool = False
    """True when the caller already had the response headers."""
    request_sent: bool = True
    """False when no byte of the request can have reached the other side's application."""
    attempt: object = None
    still_running: bool = False
    """True where `Send.keep_after` passed: the attempt goes on (hedging)."""
    error: BaseException | None = None
    """What the I/O raised, for `raise ... from`."""


Outcome: TypeAlias = Response | Reset


@value
class BodyEnd:
    """How the exchange ended after `Deliver`."""

    bytes_sent: int = 0
    """Of the response body to the caller."""
    bytes_received: int = 0
    """Of the request body."""
    trailers: Headers | None = None
    reset: Reset | None = None
    """Set when the body did not arrive whole."""


@value
class LocalReply:
    """An answer that the mesh gives itself, in Envoy's terms."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    flags: tuple[str, ...] = ()
    """Envoy response flags: `("UF",)`."""
    details: str = ""
    """%RESPONSE_CODE_DETAILS%."""
    grpc_status: int | None = None
    """None: mapped from `status` where the caller speaks gRPC."""
    close: bool = False
    """Whether the connection must not be used again."""
    modify: Callable[[Headers], Headers] | None = None
    """What the filter does to the fields after the route's own mutations."""
    as_is: bool = False
    """A response of the filter's own making: no gRPC form, none of the route's mutations."""

    @staticmethod
    def denied(details: str) -> "LocalReply":
        """403 as Envoy's RBAC filter answers it; the caller learns nothing more."""
        return LocalReply(403, b"RBAC: access denied", details=details, grpc_status=7)
