"""The interceptor of `grpc.server`: policy before the application, on the handler's own thread."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol, TypeAlias, cast

import grpc

from meshsdk.call.effects import Effect, Fetch, GrpcFetch, ReadBody, Reply, Sleep
from meshsdk.call.serving import enter_serving, leave_serving
from meshsdk.downstream.current import reset_current, set_current
from meshsdk.errors import ForbiddenError, MeshError
from meshsdk.flow.drive import settle
from meshsdk.integrations.grpcio.api import (
    Deserializer,
    Metadata,
    RpcHandler,
    Serializer,
    ServerInterceptorBase,
)
from meshsdk.integrations.grpcio.inbound import (
    Details,
    Handler,
    Inbound,
    RefusedError,
    ServerContext,
    ServerMesh,
    body_read,
    code_of,
    forbidden,
    kind_of,
    message_of,
    no_method,
    unperformable,
)
from meshsdk.integrations.grpcio.ports import ports_of
from meshsdk.runtime.sleeping import sleep


class SyncContext(ServerContext, Protocol):
    """grpc.ServicerContext."""

    def abort(self, code: grpc.StatusCode, details: str) -> None: ...
    def send_initial_metadata(self, initial_metadata: Metadata) -> None: ...
    def is_active(self) -> bool: ...


Behaviour: TypeAlias = Callable[[object, SyncContext], object]
MakeHandler: TypeAlias = Callable[[Behaviour, Deserializer | None, Serializer | None], RpcHandler]
MAKE: Final = {
    "unary_unary": cast("MakeHandler", vars(grpc)["unary_unary_rpc_method_handler"]),
    "unary_stream": cast("MakeHandler", vars(grpc)["unary_stream_rpc_method_handler"]),
    "stream_unary": cast("MakeHandler", vars(grpc)["stream_unary_rpc_method_handler"]),
    "stream_stream": cast("MakeHandler", vars(grpc)["stream_stream_rpc_method_handler"]),
}


class MeshServerInterceptor(ServerInterceptorBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """Made by `server_interceptor`. It must come first: what is before it no policy sees."""

    def __init__(self, mesh: ServerMesh) -> None:
        self._mesh = mesh
        self._ports = ports_of(mesh)
        self._ports.interceptors += 1

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "RpcHandler | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> RpcHandler:
        """As grpc.ServerInterceptor."""
        details = cast("Details", handler_call_details)
        return self.wrapped(details, continuation(handler_call_details))

    def wrapped(self, details: Details, found: "RpcHandler | None") -> RpcHandler:
        """A handler that asks policy first."""
        if found is None:
            return MAKE["unary_unary"](self._unknown(details), None, None)
        handler = cast("Handler", found)
        kind = kind_of(handler)
        behaviour = cast("Behaviour", getattr(handler, kind))
        make = self._streaming if handler.response_streaming else self._unary
        return MAKE[kind](make(details, handler, behaviour), None, handler.response_serializer)

    def _unary(self, details: Details, handler: Handler, behaviour: Behaviour) -> Behaviour:
        def judged(request: object, context: SyncContext) -> object:
            with self._call(details, context, handler, request) as (call, message):
                answer = behaviour(message, call.context)
                call.begin()
                return answer

        return judged

    def _streaming(self, details: Details, handler: Handler, behaviour: Behaviour) -> Behaviour:
        def judged(request: object, context: SyncContext) -> Iterator[object]:
            with self._call(details, context, handler, request) as (call, message):
                for answer in cast("Iterator[object]", behaviour(message, call.context)):
                    if not call.is_answered:
                        call.begin()
                    yield answer

        return judged

    def _unknown(self, details: Details) -> Behaviour:
        def judged(request: object, context: SyncContext) -> object:
            with self._call(details, context, None, request):
                raise no_method()

        return judged

    @contextmanager
    def _call(
        self, details: Details, context: SyncContext, handler: Handler | None, request: object
    ) -> Generator[tuple["_Call", object]]:
        """The application runs inside of it; policy has been asked when it begins."""
        call: _Call | None = None
        try:
            connection = self._ports.connection(context.peer())
            inbound = Inbound(self._mesh, connection, details, context)
            call = _Call(inbound, context)
            is_stream = handler is not None and handler.request_streaming
            raw = None if is_stream else cast("bytes", request)
            flow = inbound.flow
            inbound.admitted(
                settle(flow, next(flow), lambda asked: _perform(asked, self._mesh, raw))
            )
            message = request
            if handler is not None:
                message = call.messages(handler, request) if is_stream else message_of(handler, raw)
            token, entered = set_current(inbound.current), enter_serving(inbound.serving)
            try:
                yield call, message
            except ForbiddenError:
                raise forbidden() from None
            finally:
                with suppress(ValueError):  # a stream may be ended on another thread
                    leave_serving(entered)
                    reset_current(token)
            inbound.insist_permitted()
            call.end(None)
        except RefusedError as refused:
            if call is not None:
                call.end(refused, refused.code)
            if refused.trailing:
                context.set_trailing_metadata(refused.trailing)
            context.abort(refused.code, refused.details)
        except MeshError as error:
            if call is not None and call.inbound.is_admitted:
                call.end(error)
                raise
            if call is not None:
                call.inbound.broken_off(error)
            context.abort(grpc.StatusCode.INTERNAL, str(error))
        except Exception as error:
            if call is not None:
                call.end(error)
            raise
        except BaseException as error:
            if call is not None:
                call.inbound.broken_off(error)
            raise


class _Call:
    """The answer of one call."""

    __slots__ = ("_context", "context", "inbound", "is_answered")

    def __init__(self, inbound: Inbound, context: SyncContext) -> None:
        self.inbound = inbound
        self._context = context
        self.context = cast("SyncContext", _Context(inbound, context))
        """What the application gets."""
        self.is_answered = False

    def begin(self) -> None:
        """The application's answer begins. RefusedError where a guard has said no to it."""
        self.inbound.insist_permitted()
        self.is_answered = True
        added = self.inbound.answered()
        if added:
            with suppress(ValueError):  # the application has sent its own already
                self._context.send_initial_metadata(added)

    def end(self, error: BaseException | None, code: object = None) -> None:
        """The call is over."""
        found = code_of(self._context) if code is None else code
        self.inbound.ended(found, is_answered=self.is_answered, error=error)

    def messages(self, handler: Handler, requests: object) -> Iterator[object]:
        """The requests as the application gets them."""
        for raw in cast("Iterator[object]", requests):
            try:
                message = message_of(handler, raw)
            except RefusedError as refused:
                self._context.abort(refused.code, refused.details)
                raise
            yield message


class _Context:
    """grpcio's own, but for what the mesh has changed in the request."""

    def __init__(self, inbound: Inbound, context: SyncContext) -> None:
        self._inbound = inbound
        self._context = context

    def invocation_metadata(self) -> Metadata:
        """As grpc.ServicerContext."""
        return self._inbound.metadata()

    def __getattr__(self, name: str) -> object:
        value: object = getattr(self._context, name)
        return value


def _perform(effect: Effect, mesh: ServerMesh, raw: bytes | None) -> Reply:
    match effect:
        case Sleep(seconds):
            sleep(seconds)
            return None
        case ReadBody(limit):
            return body_read(limit, raw)
        case Fetch() | GrpcFetch():
            return mesh.fetcher.fetch(effect)
        case _:
            return unperformable(effect)
