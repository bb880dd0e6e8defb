"""gRPC's nouns and ours: metadata and headers, statuses, and what the endings of attempts mean."""

import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote

import grpc

from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import Request, Reset, ResetReason, Response
from meshsdk.errors import MeshError, NotReadyError, UsageError
from meshsdk.flow.select import Target
from meshsdk.integrations.grpcio.api import CallBase, Ended, ErrorBase, Metadata, MetadataPair
from meshsdk.resilience.deadline import format_grpc_timeout

CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}
NUMBERS: Final[Mapping[grpc.StatusCode, int]] = {code: number for number, code in CODES.items()}
# Written by gRPC itself; application metadata that begins with grpc- never leaves it.
_TRANSPORTS_OWN: Final = frozenset({"content-type", "te", "user-agent", "host"})
_NO_METADATA: Final = frozenset(
    {"content-type", "grpc-status", "grpc-message", "grpc-encoding", "grpc-accept-encoding"}
)
_NOT_SHOWN: Final = frozenset({"content-type", "te", "grpc-timeout", "host"})
_CONTENT_TYPE: Final[Pair] = ("content-type", "application/grpc")
_FIXED: Final[tuple[Pair, ...]] = (_CONTENT_TYPE, ("te", "trailers"))
# gRPC's own map for answers that are none of gRPC's (doc/http-grpc-status-mapping.md).
_CODE_OF_HTTP: Final[Mapping[int, int]] = {
    400: 13,
    401: 16,
    403: 7,
    404: 12,
    429: 14,
    502: 14,
    503: 14,
    504: 14,
}
_UNKNOWN: Final = 2
OK_HEADERS: Final = Headers([_CONTENT_TYPE])
"""Of an answer without initial metadata."""
OK_TRAILERS: Final = Headers([("grpc-status", "0")])
NO_METADATA: Final[Metadata] = ()

# What C-core says when no status came from the other side. Python shows no other sign of that.
_NOT_CONNECTED: Final = re.compile(r"failed to connect to all addresses|^empty address list|^DNS")
_REFUSED: Final = re.compile(r"RST_STREAM with error code 7\b")
_RESET: Final = re.compile(r"RST_STREAM with error code \d+")
_BROKEN: Final = re.compile(
    r"Socket closed|[Cc]onnection reset|Broken pipe|GOAWAY|^Stream removed|[Tt]ransport closed"
    r"|^recvmsg|^sendmsg|keepalive watchdog|^Connection refused|End of TCP stream"
)
_HTTP: Final = re.compile(r"^Received http2 header with status: (\d{3})$")
_LOCAL: Final = re.compile(r"^Exception (serializing request|deserializing response|iterating)")


class Metadatum(NamedTuple):
    """One pair of metadata, as grpcio shows it."""

    key: str
    value: str | bytes


class MeshRpcError(ErrorBase, CallBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """A call that the mesh ended: no attempt was made, or policy answered."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing: Metadata = NO_METADATA,
        initial: Metadata = NO_METADATA,
    ) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details
        self._trailing = trailing
        self._initial = initial

    def code(self) -> grpc.StatusCode:
        """As grpc.Call."""
        return self._code

    def details(self) -> str:
        """As grpc.Call."""
        return self._details

    def debug_error_string(self) -> str:
        """As grpcio's own errors."""
        return f"{self._code.name}:{self._details}"

    def initial_metadata(self) -> Metadata:
        """As grpc.Call."""
        return self._initial

    def trailing_metadata(self) -> Metadata:
        """As grpc.Call; the header fields of the mesh's answer."""
        return self._trailing

    def is_active(self) -> bool:
        """As grpc.RpcContext."""
        return False

    def time_remaining(self) -> None:
        """As grpc.RpcContext."""

    def cancel(self) -> bool:
        """As grpc.RpcContext."""
        return False

    def add_callback(self, callback: object) -> bool:
        """As grpc.RpcContext."""
        return False


@dataclass(slots=True)
class Finished:
    """In `Response.body`: how an attempt of a client has ended, or goes on."""

    call: Ended
    message: object = None
    error: Exception | None = None
    sent: Headers | None = None
    """Header fields of the answer as they came; None: an error, whose own metadata count."""
    sub: object = None
    """The attempt's own call, where that is another thing (asyncio)."""


# -- requests ------------------------------------------------------------------------------


def target_of(text: str) -> Target:
    """Where the application would connect. UsageError for what the mesh does not take."""
    name = text
    for scheme in ("dns:///", "dns:", "passthrough:///", "ipv4:", "ipv6:"):
        if name.startswith(scheme):
            name = name.removeprefix(scheme)
            break
    host, colon, port = name.rpartition(":")
    if not colon or not port.isdecimal() or "/" in name:
        raise UsageError(f"target: expected host:port, found {text!r}")
    return Target(host.removeprefix("[").removesuffix("]"), int(port), alpn=("h2",))


def request_of(
    path: str, authority: str, metadata: Metadata | None, user_agent: str, timeout: float | None
) -> Request:
    """The call as a sidecar would see it."""
    pairs = [*_FIXED, ("user-agent", user_agent)]
    if timeout is not None:
        pairs.append(("grpc-timeout", format_grpc_timeout(max(timeout, 0.0))))
    if metadata:
        pairs.extend(field_of(pair) for pair in metadata)
    return Request("POST", authority, path, Headers(pairs), "http", "h2", has_body=True)


def field_of(pair: MetadataPair) -> Pair:
    """One pair of metadata as it goes over the wire. ValueError as grpcio raises it."""
    name, value = pair
    if name != name.lower():
        raise ValueError(f"metadata was invalid: {[pair]}")
    if name.endswith("-bin"):
        octets = value if isinstance(value, bytes) else value.encode()
        return name, binascii.b2a_base64(octets, newline=False).decode().rstrip("=")
    return name, value.decode("latin-1") if isinstance(value, bytes) else value


def metadata_of(fields: Iterable[Pair]) -> list[MetadataPair]:
    """Header fields of an attempt as metadata; what gRPC writes itself is left out."""
    return [
        (name, _octets(value)) if name.endswith("-bin") else (name, value)
        for name, value in fields
        if name not in _TRANSPORTS_OWN and not name.startswith(("grpc-", ":"))
    ]


def _octets(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except binascii.Error:
        return text.encode("latin-1")


# -- answers -------------------------------------------------------------------------------


def headers_of(metadata: Iterable[MetadataPair] | None) -> Headers:
    """Initial metadata as the header fields of a response."""
    pairs = [field_of(pair) for pair in metadata or ()]
    return Headers([_CONTENT_TYPE, *pairs]) if pairs else OK_HEADERS


def fields_as_metadata(headers: Headers) -> Metadata:
    """Header fields of a response as metadata."""
    return tuple(
        Metadatum(name, _octets(value) if name.endswith("-bin") else value)
        for name, value in headers
        if name not in _NO_METADATA
    )


def invocation_metadata(headers: Headers) -> Metadata:
    """Header fields of a request that a server got, as its application sees them."""
    return tuple(
        Metadatum(name, _octets(value) if name.endswith("-bin") else value)
        for name, value in headers
        if name not in _NOT_SHOWN
    )


def trailers_of(code: grpc.StatusCode, details: str | None, trailing: Metadata | None) -> Headers:
    """How a call ended, as trailers."""
    if code is grpc.StatusCode.OK and not trailing:
        return OK_TRAILERS
    pairs = [("grpc-status", str(NUMBERS[code]))]
    if details:
        pairs.append(("grpc-message", details))
    pairs.extend(field_of(pair) for pair in trailing or ())
    return Headers(pairs)


def error_of(answer: Response) -> MeshRpcError | None:
    """What the application gets for an answer of the mesh's own; None for one that says OK."""
    headers = answer.headers
    status = headers.get("grpc-status")
    if status is None:
        number = _CODE_OF_HTTP.get(answer.status, _UNKNOWN)
        details = f"Received http2 header with status: {answer.status}"
    else:
        number = int(status) if status.isdecimal() else _UNKNOWN
        details = unquote(headers.get("grpc-message") or "")
    code = CODES.get(number, grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:
        return None
    return MeshRpcError(code, details, fields_as_metadata(headers))


def error_of_reset(reset: Reset) -> MeshRpcError:
    """What the application gets where not even a local reply can be made."""
    timeouts = (ResetReason.TIMEOUT, ResetReason.PER_TRY_TIMEOUT)
    code = grpc.StatusCode.UNAVAILABLE
    if reset.reason in timeouts:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
    error = MeshRpcError(code, reset.detail or reset.reason.value)
    error.__cause__ = reset.error
    return error


def error_of_exception(error: MeshError, *, out_of_time: bool) -> MeshRpcError:
    """What the application gets for an error of the library."""
    code = grpc.StatusCode.INTERNAL
    if isinstance(error, NotReadyError):
        code = grpc.StatusCode.UNAVAILABLE
        if out_of_time:
            code = grpc.StatusCode.DEADLINE_EXCEEDED
    found = MeshRpcError(code, str(error))
    found.__cause__ = error
    return found


def outcome_of_error(error: Ended, attempt: object, failure: Reset | None) -> Response | Reset:
    """What an attempt that ended with an error means. `failure`: why its endpoint could not be
    reached, where a transport of ours knows."""
    code, details = error.code(), error.details() or ""
    initial, trailing = error.initial_metadata() or (), error.trailing_metadata() or ()
    body = Finished(error, None, error if isinstance(error, Exception) else None)
    if initial:
        return Response(200, headers_of(initial), body, attempt=attempt)
    if not trailing:
        reset = _reset_of(code, details, failure)
        if reset is not None:
            reason, detail, sent = reset
            cause = body.error if failure is None else failure.error
            return Reset(reason, detail, request_sent=sent, attempt=attempt, error=cause)
        http = _HTTP.match(details)
        if http is not None:
            return Response(int(http[1]), OK_HEADERS, body, attempt=attempt)
        if code is grpc.StatusCode.INTERNAL and _LOCAL.match(details):
            return Response(200, OK_HEADERS, body, attempt=attempt)  # nobody's fault but ours
    pairs = [_CONTENT_TYPE, *trailers_of(code, details, trailing)]
    return Response(200, Headers(pairs), body, attempt=attempt)


def _reset_of(
    code: grpc.StatusCode, details: str, failure: Reset | None
) -> tuple[ResetReason, str, bool] | None:
    """Reason, detail, and whether octets of the request may have reached somebody."""
    if code is grpc.StatusCode.UNAVAILABLE:
        if _NOT_CONNECTED.search(details):
            if failure is not None:
                return failure.reason, failure.detail, False
            return ResetReason.CONNECT_FAILURE, details.rpartition("last error: ")[2], False
        if _REFUSED.search(details):
            return ResetReason.REFUSED_STREAM, details, False
        if _BROKEN.search(details):
            return ResetReason.CONNECTION_TERMINATION, details, True
    elif _RESET.search(details):
        return ResetReason.REMOTE_RESET, details, True
    return None
