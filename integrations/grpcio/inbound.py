"""One call that a server of ours got, without a colour: its request, its flow, its answer."""

import logging
from typing import Final, NoReturn, Protocol, cast

import grpc

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, CallApp, Deliver, Effect, Flow
from meshsdk.call.headers import Headers
from meshsdk.call.message import UNKNOWN_AUTHORITY, BodyEnd, Request, Response
from meshsdk.call.serving import Serving
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.current import Current
from meshsdk.errors import UsageError
from meshsdk.flow.drive import Fetcher, complete
from meshsdk.integrations.grpcio.api import Deserializer, Kind, Metadata, Serializer
from meshsdk.integrations.grpcio.nouns import (
    NUMBERS,
    OK_HEADERS,
    OK_TRAILERS,
    MeshRpcError,
    error_of,
    field_of,
    fields_as_metadata,
    invocation_metadata,
)
from meshsdk.resilience.deadline import format_grpc_timeout
from meshsdk.runtime.publisher import Publisher

_LOG = logging.getLogger("meshsdk.integrations.grpcio")
_BAD_MESSAGE: Final = "Exception deserializing request!"
_NO_METHOD: Final = "Method not found!"
_NOT_OURS: Final = "this port is not secured by the mesh"
_UNSECURED: Final = (
    "a call came in by a port that add_mesh_port did not make, and was refused: its peer (%s) has no"
    " identity and no policy was meant for it"
)


class ServerMesh(Protocol):
    """What servers need of a `Mesh`."""

    @property
    def server_connections(self) -> Acceptor: ...
    @property
    def fetcher(self) -> Fetcher: ...
    @property
    def publisher(self) -> Publisher: ...

    def ready(self, timeout: float | None = 0.0) -> bool:
        """Whether configuration and identity are here, after `timeout` seconds at most."""
        ...

    def inbound(self, request: Request, connection: Connection) -> Flow[None]:
        """The flow of one request."""
        ...


class Details(Protocol):
    """grpc.HandlerCallDetails."""

    @property
    def method(self) -> str: ...
    @property
    def invocation_metadata(self) -> Metadata: ...


class Handler(Protocol):
    """grpc.RpcMethodHandler."""

    @property
    def request_streaming(self) -> bool: ...
    @property
    def response_streaming(self) -> bool: ...
    @property
    def request_deserializer(self) -> Deserializer | None: ...
    @property
    def response_serializer(self) -> Serializer | None: ...


class ServerContext(Protocol):
    """grpc.ServicerContext, in what both colours have."""

    def peer(self) -> str: ...
    def time_remaining(self) -> float | None: ...
    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None: ...


class RefusedError(Exception):
    """The call ends with this status, before the application saw it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Metadata = ()) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.trailing = trailing


def kind_of(handler: Handler) -> Kind:
    """The arity of a handler."""
    request = "stream" if handler.request_streaming else "unary"
    response = "stream" if handler.response_streaming else "unary"
    return cast("Kind", f"{request}_{response}")


class Inbound:
    """From the first look at a call to its end."""

    __slots__ = ("_is_over", "connection", "current", "flow", "is_admitted", "request", "sent",
                 "serving")  # fmt: skip

    def __init__(
        self,
        mesh: ServerMesh,
        connection: Connection | None,
        details: Details,
        context: ServerContext,
    ) -> None:
        """RefusedError for a connection that is not the mesh's."""
        if connection is None:
            _LOG.warning(_UNSECURED, context.peer())
            raise RefusedError(grpc.StatusCode.UNAUTHENTICATED, _NOT_OURS)
        self.connection = connection
        self.current = Current(connection.peer)
        request = request_of(details, context, connection)
        self.flow = mesh.inbound(request, connection)
        self._is_over = False
        self.is_admitted = False
        """Whether the application was let answer: what is raised then is its own."""
        self.request = request
        """As the application gets it, once it is admitted."""
        self.serving: Serving | None = None
        """What calls that the application makes now inherit: its deadline, its trace."""
        self.sent: Metadata = ()
        """Initial metadata that the mesh adds to the application's."""

    def insist_permitted(self) -> None:
        """RefusedError where a guard in the application's code said no."""
        if self.current.is_forbidden:
            raise forbidden()

    def admitted(self, effect: CallApp | Deliver) -> None:
        """What the flow decided. RefusedError unless the application may answer."""
        if isinstance(effect, CallApp):
            self.is_admitted = True
            self.serving, self.request = effect.serving, effect.request
            if isinstance(effect.context, CallContext):
                self.current.context = effect.context
            return
        outcome = effect.outcome
        if isinstance(outcome, Response):
            error = error_of(outcome)
            refused = _no_message() if error is None else error
        else:
            refused = MeshRpcError(grpc.StatusCode.UNAVAILABLE, "connection termination")
        self._is_over = True
        number = str(NUMBERS[refused.code()])
        complete(self.flow, BodyEnd(trailers=Headers([("grpc-status", number)])))
        raise RefusedError(refused.code(), refused.details(), refused.trailing_metadata())

    def metadata(self) -> Metadata:
        """What the application sees: what policy saw, less what the mesh keeps from it."""
        return invocation_metadata(self.request.headers)

    def answered(self) -> Metadata:
        """The application's answer begins: initial metadata that the mesh adds to it."""
        effect = self.flow.send(Response(200, OK_HEADERS, _APPS_OWN))
        if not isinstance(effect, Deliver) or not isinstance(effect.outcome, Response):
            raise UsageError("an inbound flow asked for the application twice")
        headers = effect.outcome.headers
        return () if headers is OK_HEADERS else fields_as_metadata(headers)

    def ended(self, code: object, *, is_answered: bool, error: BaseException | None = None) -> None:
        """The call is over, with the status that gRPC sends."""
        if self._is_over:
            return
        self._is_over = True
        number = _number(code, error)
        trailers = OK_TRAILERS if number == 0 else Headers([("grpc-status", str(number))])
        if not is_answered:
            # The status is all of the answer (gRPC, Trailers-Only).
            effect = self.flow.send(Response(200, Headers([*OK_HEADERS, *trailers]), _APPS_OWN))
            if not isinstance(effect, Deliver):
                self.flow.close()
                return
        complete(self.flow, BodyEnd(trailers=trailers))

    def broken_off(self, error: BaseException) -> None:
        """Nobody waits for the answer any more."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self.flow.throw(error)
        except BaseException as raised:
            if raised is not error and not isinstance(raised, StopIteration):
                _LOG.exception("a flow failed while it was told of an error")
        finally:
            self.flow.close()


_APPS_OWN: Final = "the application's own"


def request_of(details: Details, context: ServerContext, connection: Connection) -> Request:
    """The call as a sidecar would see it, but for what grpcio does not show: `:authority`."""
    pairs = [("content-type", "application/grpc"), ("te", "trailers")]
    left = context.time_remaining()
    if left is not None:
        pairs.append(("grpc-timeout", format_grpc_timeout(max(left, 0.0))))
    pairs.extend(field_of(pair) for pair in details.invocation_metadata or ())
    scheme = "https" if connection.transport_protocol == "tls" else "http"
    return Request(
        "POST", UNKNOWN_AUTHORITY, details.method, Headers(pairs), scheme, "h2", has_body=True
    )


def body_read(limit: int, raw: bytes | None) -> BodyRead:
    """The reply to ReadBody. UsageError for a stream."""
    if raw is None:
        raise UsageError("a filter that reads the body of a streamed gRPC request is not built")
    framed = b"\0" + len(raw).to_bytes(4, "big") + raw
    return BodyRead(framed[:limit], len(framed) <= limit)


def code_of(context: ServerContext) -> object:
    """The status that the application has set, as grpcio keeps it; None where it shows none."""
    code: object = getattr(context, "code", None)
    return code() if callable(code) else None


def unperformable(effect: Effect) -> NoReturn:
    """For what no server can perform."""
    raise UsageError(f"a gRPC server cannot perform {type(effect).__name__}")


def message_of(handler: Handler, raw: object) -> object:
    """The request as the application gets it. RefusedError as grpcio says it."""
    if handler.request_deserializer is None:
        return raw
    try:
        return handler.request_deserializer(cast("bytes", raw))
    except Exception:
        _LOG.exception(_BAD_MESSAGE)
        raise RefusedError(grpc.StatusCode.INTERNAL, _BAD_MESSAGE) from None


def forbidden() -> RefusedError:
    """A guard said no: no more than a policy would tell."""
    return RefusedError(grpc.StatusCode.PERMISSION_DENIED, "RBAC: access denied")


def no_method() -> RefusedError:
    """As grpcio says it, once policy has allowed the question."""
    return RefusedError(grpc.StatusCode.UNIMPLEMENTED, _NO_METHOD)


def _no_message() -> MeshRpcError:
    return MeshRpcError(grpc.StatusCode.INTERNAL, "No message returned for unary request")


def _number(code: object, error: BaseException | None) -> int:
    """The status that grpcio sends, as a number."""
    if isinstance(code, grpc.StatusCode):
        number = NUMBERS[code]
    else:
        number = code if isinstance(code, int) else 0
    return 2 if error is not None and number == 0 else number
