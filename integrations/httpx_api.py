"""What httpx and httpx2 have in common: their nouns, structurally, and ours.

Neither library is imported here; each has a file of its own that names its classes.
"""

import ssl
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Literal, NoReturn, Protocol, TypeVar, cast

from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import Request, Reset, ResetReason, Response
from meshsdk.errors import NotReadyError
from meshsdk.flow.select import Target
from meshsdk.upstream.aio import AnyPools
from meshsdk.upstream.aio_connection import AioConnection
from meshsdk.upstream.anyio_connection import AnyioConnection
from meshsdk.upstream.async_calls import AsyncBody, AsyncCall
from meshsdk.upstream.body import BodyLengthError, RequestBody
from meshsdk.upstream.calls import Call, Membership, Wanted
from meshsdk.upstream.exchange import BodyBroken
from meshsdk.upstream.head import HeadError
from meshsdk.upstream.network_stream import AsyncNetworkStream, NetworkStream
from meshsdk.upstream.pool import Origin
from meshsdk.upstream.sync import SyncUpstream
from meshsdk.upstream.sync_calls import SyncBody, SyncCall
from meshsdk.upstream.timeouts import UNBOUNDED, CallerTimedOut, CallerTimeouts, Operation

LocalReplies = Literal["response", "raise"]
Cert = str | tuple[str, str] | tuple[str, str, str] | None
B = TypeVar("B")
K = TypeVar("K", bound=Call)
_CACHED = 1024
_PORTS = {"http": 80, "https": 443}


class Url(Protocol):
    """Of `httpx.URL`."""

    @property
    def scheme(self) -> str: ...
    @property
    def raw_host(self) -> bytes: ...
    @property
    def port(self) -> int | None: ...
    @property
    def raw_path(self) -> bytes: ...
    @property
    def netloc(self) -> bytes: ...


class Fields(Protocol):
    """Of `httpx.Headers`."""

    @property
    def raw(self) -> list[RawPair]: ...


class Asked(Protocol):
    """Of `httpx.Request`."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> Url: ...
    @property
    def headers(self) -> Fields: ...
    @property
    def stream(self) -> object: ...
    @property
    def extensions(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class Errors:
    """A library's exceptions."""

    connect: type[Exception]
    connect_timeout: type[Exception]
    read: type[Exception]
    read_timeout: type[Exception]
    write_timeout: type[Exception]
    pool_timeout: type[Exception]
    local_protocol: type[Exception]
    remote_protocol: type[Exception]
    unsupported_protocol: type[Exception]

    def of_timeout(self, operation: Operation) -> type[Exception]:
        """For a limit of the application that ran out."""
        return {
            "connect": self.connect_timeout,
            "read": self.read_timeout,
            "write": self.write_timeout,
            "pool": self.pool_timeout,
        }[operation]

    def of_reset(self, reset: Reset) -> Exception:
        """For a call or a body that ended without a (whole) response, as plain httpx says it."""
        detail = reset.detail or reset.reason.value
        match reset.reason:
            case ResetReason.CONNECT_TIMEOUT:
                kind = self.connect_timeout
            case ResetReason.CONNECT_FAILURE | ResetReason.TLS_FAILURE | ResetReason.OVERFLOW:
                kind = self.connect
            case (
                ResetReason.TIMEOUT | ResetReason.PER_TRY_TIMEOUT | ResetReason.PER_TRY_IDLE_TIMEOUT
            ):
                kind = self.read_timeout
            case ResetReason.CONNECTION_TERMINATION if isinstance(reset.error, OSError):
                kind = self.read
            case ResetReason.CONNECTION_TERMINATION | ResetReason.PROTOCOL_ERROR:
                kind = self.remote_protocol
            case _:
                kind = self.read
        error = kind(detail)
        error.__cause__ = reset.error
        return error

    def reraise(self, error: Exception) -> NoReturn:
        """Raise a failure of the transport as the library's own; others as they are."""
        match error:
            case CallerTimedOut(operation=operation):
                raise self.of_timeout(operation)(str(error)) from error
            case BodyBroken(reset=reset):
                raise self.of_reset(reset) from reset.error
            case HeadError() | BodyLengthError():
                raise self.local_protocol(str(error)) from error
            case NotReadyError():
                raise self.pool_timeout(str(error)) from error
            case _:
                raise error


class Settings:
    """What a transport was made with. One for a transport's life, any thread."""

    def __init__(
        self,
        mesh: Membership | None,
        local_replies: LocalReplies,
        errors: Errors,
        make_context: Callable[[], ssl.SSLContext],
    ) -> None:
        if local_replies not in ("response", "raise"):
            raise ValueError(
                f"local_replies: expected 'response' or 'raise', got {local_replies!r}"
            )
        self._mesh = mesh
        self.local_replies = local_replies
        self.errors = errors
        self._make_context = make_context
        self._context: ssl.SSLContext | None = None
        self._places: dict[tuple[str, bytes, object], tuple[Target, Origin]] = {}

    @property
    def mesh(self) -> Membership:
        """The mesh that was given, or the process's own."""
        mesh = self._mesh
        if mesh is None:
            # Here, so that a transport over a mesh of the caller's own loads no control plane.
            from meshsdk.mesh import process_mesh

            mesh = self._mesh = process_mesh()
        return mesh

    @property
    def context(self) -> ssl.SSLContext:
        """The application's TLS, for chains that pass it through; made at the first use."""
        context = self._context
        if context is None:
            context = self._make_context()
            context.set_alpn_protocols(["http/1.1"])
            self._context = context
        return context

    # -- in ---------------------------------------------------------------------------------

    def wanted(self, request: Asked, body: RequestBody) -> Wanted:
        """The call for a request of the library."""
        url, extensions = request.url, request.extensions
        scheme, netloc = url.scheme, url.netloc
        sni = extensions.get("sni_hostname")
        place = self._places.get((scheme, netloc, sni))
        if place is None:
            place = self._place(url, sni)
        raw = request.headers.raw
        authority = b""
        others: list[RawPair] = []
        for pair in raw:
            if pair[0].lower() == b"host":
                authority = pair[1]
            else:
                others.append(pair)
        noun = Request(
            request.method,
            (authority or netloc).decode("latin-1"),
            url.raw_path.decode("latin-1"),
            Headers.from_raw(others),
            scheme,
            has_body=body.length != 0,
        )
        return Wanted(noun, *place, raw, body, _limits(extensions))

    def _place(self, url: Url, sni: object) -> tuple[Target, Origin]:
        """Where the application's own client would connect, kept for its next request."""
        scheme = url.scheme
        if scheme not in _PORTS:
            raise self.errors.unsupported_protocol(
                f"Request URL has an unsupported protocol '{scheme}://'."
                if scheme
                else "Request URL is missing an 'http://' or 'https://' protocol."
            )
        host, port = url.raw_host.decode("ascii"), url.port or _PORTS[scheme]
        if scheme == "http":
            place = Target(host, port), Origin(host, port)
        else:
            name = sni if isinstance(sni, str) else host
            place = (
                Target(host, port, tls=True, server_name=name),
                Origin(host, port, self.context, name),
            )
        if len(self._places) >= _CACHED:
            self._places.clear()
        self._places[scheme, url.netloc, sni] = place
        return place

    # -- out --------------------------------------------------------------------------------

    def answer(
        self,
        call: K,
        response: Response,
        extensions: dict[str, object],
        stream: Callable[[K, Response], B],
    ) -> "Answer[B]":
        """The delivered response; `stream` makes the body that is still to come."""
        headers = response.headers.raw()
        content = call.take_whole(response)
        body = None
        if content is None:
            body = stream(call, response)
        else:
            self._refuse(response, call.context)
        return Answer(response.status, headers, content, body, extensions)

    def _refuse(self, response: Response, context: CallContext | None) -> None:
        """Raise for a local reply that stands for a failed call, where the user asked for that."""
        if self.local_replies != "raise" or context is None or not context.flags:
            return
        body = response.body
        for flag in context.flags:
            kind = _FAILED.get(flag)
            if kind is not None and isinstance(body, bytes):
                if flag == "UF" and "connection_timeout" in context.details:
                    kind = "connect_timeout"
                found: object = getattr(self.errors, kind)
                error = cast("type[Exception]", found)
                raise error(f"{body.decode('latin-1')} ({context.details})")


_FAILED: Mapping[str, str] = {
    "UF": "connect",
    "UH": "connect",
    "UO": "connect",
    "NC": "connect",
    "LR": "read",
    "UR": "read",
    "UC": "remote_protocol",
    "UPE": "remote_protocol",
    "UT": "read_timeout",
    "DT": "read_timeout",
}
"""The exception for a local reply, by its response flag. Other flags are answers of a policy."""


def _limits(extensions: Mapping[str, object]) -> CallerTimeouts:
    given = extensions.get("timeout")
    if given is None:
        return UNBOUNDED
    get = cast("Mapping[str, float | None]", given).get
    return _timeouts(get("connect"), get("read"), get("write"), get("pool"))


@lru_cache(maxsize=256)
def _timeouts(
    connect: float | None, read: float | None, write: float | None, pool: float | None
) -> CallerTimeouts:
    return CallerTimeouts(connect, read, write, pool)


def facts(context: CallContext | None) -> dict[str, object]:
    """`extensions["meshsdk"]`: what the mesh did."""
    if context is None:
        return {}
    host = context.host
    return {
        "flags": tuple(context.flags),
        "details": context.details or "via_upstream",
        "cluster": context.cluster,
        "endpoint": "" if host is None else str(host.endpoint.address),
        "attempts": context.attempts,
        "route": context.route_name,
    }


@dataclass(slots=True)
class Answer(Generic[B]):
    """What a library's response is made of. One of `content` and `body` is set."""

    status: int
    headers: Sequence[RawPair]
    content: bytes | None
    """The whole body, where it was here already."""
    body: B | None
    extensions: dict[str, object]


def _extensions(call: Call, response: Response) -> dict[str, object]:
    """What httpx's own transport tells of a response, and `meshsdk`."""
    found: dict[str, object] = {
        "http_version": response.version,
        "meshsdk": facts(call.context),
    }
    if not isinstance(response.body, bytes):
        found["reason_phrase"] = response.reason
    return found


class SyncAdapter(Settings):
    """Calls of one blocking transport."""

    _upstream: SyncUpstream | None = None

    def call(self, request: Asked, whole: bytes | None) -> Answer[SyncBody]:
        """Send a request; `whole` is its body, None where it must be streamed. Raises the
        library's exceptions."""
        if whole is None:
            body = RequestBody(source=iter(cast("Iterable[bytes]", request.stream)))
        else:
            body = RequestBody(whole)
        try:
            call = SyncCall(self.mesh, self.wanted(request, body))
            if call.upstream is not self._upstream:
                self._upstream = call.upstream
                call.upstream.users.add(self)
            outcome = call.run()
        except Exception as error:
            self.errors.reraise(error)
        if isinstance(outcome, Reset):
            raise self.errors.of_reset(outcome)
        extensions = _extensions(call, outcome)
        exchange = call.upstream.exchange(outcome)
        if exchange is not None and exchange.connection is not None:
            extensions["network_stream"] = NetworkStream(exchange.connection)
        return self.answer(call, outcome, extensions, SyncBody)

    def close(self) -> None:
        """The transport closes."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.release(self)


class AsyncAdapter(Settings):
    """Calls of one awaiting transport."""

    _pools: AnyPools | None = None

    async def call(self, request: Asked, whole: bytes | None) -> Answer[AsyncBody]:
        """As `SyncAdapter.call`."""
        if whole is None:
            body = RequestBody(async_source=aiter(cast("AsyncIterable[bytes]", request.stream)))
        else:
            body = RequestBody(whole)
        try:
            call = AsyncCall(self.mesh, self.wanted(request, body))
            if call.pools is not self._pools:
                self._pools = call.pools
                call.pools.users.add(self)
            outcome = await call.run()
        except Exception as error:
            self.errors.reraise(error)
        if isinstance(outcome, Reset):
            raise self.errors.of_reset(outcome)
        extensions = _extensions(call, outcome)
        exchange = call.pools.exchange(outcome)
        if exchange is not None:
            connection = exchange.connection
            if isinstance(connection, AioConnection | AnyioConnection):
                extensions["network_stream"] = AsyncNetworkStream(connection)
        return self.answer(call, outcome, extensions, AsyncBody)

    def close(self) -> None:
        """The transport closes; connections of other event loops end by themselves."""
        if self._pools is not None:
            self._pools = None
            self.mesh.async_upstream.here().release(self)
