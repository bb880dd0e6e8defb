"""The interceptor of `grpc.aio.server`: policy before the application, in the call's own task."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Protocol, TypeAlias, cast

import grpc
import grpc.aio

from meshsdk.call.effects import Effect, Fetch, GrpcFetch, ReadBody, Reply, Sleep
from meshsdk.call.serving import enter_serving, leave_serving
from meshsdk.downstream.current import reset_current, set_current
from meshsdk.errors import ForbiddenError, MeshError
from meshsdk.flow.drive import asettle
from meshsdk.integrations.grpcio.api import (
    EOF,
    AioServerInterceptorBase,
    Deserializer,
    Metadata,
    RpcHandler,
    Serializer,
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
from meshsdk.integrations.grpcio.server import MAKE, MeshServerInterceptor


class AioContext(ServerContext, Protocol):
    """grpc.aio.ServicerContext."""

    async def abort(self, code: grpc.StatusCode, details: str) -> None: ...
    async def send_initial_metadata(self, initial_metadata: Metadata) -> None: ...
    async def read(self) -> object: ...
    async def write(self, message: object) -> None: ...


Answer: TypeAlias = Callable[[object, AioContext], Awaitable[object]]
Answers: TypeAlias = Callable[[object, AioContext], AsyncIterator[object]]
Continuation: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable["RpcHandler | None"]]


class AioMeshServerInterceptor(AioServerInterceptorBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """Made by `aio_server_interceptor`. It must come first: what is before it no policy sees."""

    def __init__(self, mesh: ServerMesh) -> None:
        self._mesh = mesh
        self._ports = ports_of(mesh)
        self._ports.interceptors += 1
        self._sync = MeshServerInterceptor(mesh)

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> RpcHandler:
        """As grpc.aio.ServerInterceptor."""
        found = await continuation(handler_call_details)
        details = cast("Details", handler_call_details)
        if found is None:
            return _handler("unary_unary", self._unknown(details), None, None)
        handler = cast("Handler", found)
        kind = kind_of(handler)
        behaviour: object = getattr(handler, kind)
        if inspect.isasyncgenfunction(behaviour):
            judged: object = self._generating(details, handler, cast("Answers", behaviour))
        elif inspect.iscoroutinefunction(behaviour):
            judged = self._answering(details, handler, cast("Answer", behaviour))
        else:
            # Plain functions run on the threads of grpc.aio, as they do without a mesh.
            return self._sync.wrapped(details, found)
        return _handler(kind, judged, None, handler.response_serializer)

    def _answering(self, details: Details, handler: Handler, behaviour: Answer) -> Answer:
        async def judged(request: object, context: AioContext) -> object:
            async with self._call(details, context, handler, request) as (call, message):
                if not handler.response_streaming:
                    answer = await behaviour(message, call.context)
                    await call.begin()
                    return answer
                return await behaviour(message, call.context)

        return judged

    def _generating(self, details: Details, handler: Handler, behaviour: Answers) -> Answers:
        async def judged(request: object, context: AioContext) -> AsyncIterator[object]:
            async with self._call(details, context, handler, request) as (call, message):
                async for answer in behaviour(message, call.context):
                    if not call.is_answered:
                        await call.begin()
                    yield answer

        return judged

    def _unknown(self, details: Details) -> Answer:
        async def judged(request: object, context: AioContext) -> object:
            async with self._call(details, context, None, request):
                raise no_method()

        return judged

    @asynccontextmanager
    async def _call(
        self, details: Details, context: AioContext, handler: Handler | None, request: object
    ) -> AsyncGenerator[tuple["_AioCall", object]]:
        """The application runs inside of it; policy has been asked when it begins."""
        call: _AioCall | None = None
        try:
            connection = self._ports.connection(context.peer())
            inbound = Inbound(self._mesh, connection, details, context)
            call = _AioCall(inbound, context, handler)
            is_stream = handler is not None and handler.request_streaming
            raw = None if is_stream else cast("bytes", request)
            flow = inbound.flow
            inbound.admitted(
                await asettle(flow, next(flow), lambda asked: _perform(asked, self._mesh, raw))
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
                with suppress(ValueError):
                    leave_serving(entered)
                    reset_current(token)
            inbound.insist_permitted()
            call.end(None)
        except RefusedError as refused:
            if call is not None:
                call.end(refused, refused.code)
            if refused.trailing:
                context.set_trailing_metadata(refused.trailing)
            await context.abort(refused.code, refused.details)
        except MeshError as error:
            if call is not None and call.inbound.is_admitted:
                call.end(error)
                raise
            if call is not None:
                call.inbound.broken_off(error)
            await context.abort(grpc.StatusCode.INTERNAL, str(error))
        except Exception as error:
            if call is not None:
                call.end(error)
            raise
        except BaseException as error:
            if call is not None:
                call.inbound.broken_off(error)
            raise


class _AioCall:
    """The answer of one call."""

    __slots__ = ("_context", "context", "inbound", "is_answered")

    def __init__(self, inbound: Inbound, context: AioContext, handler: Handler | None) -> None:
        self.inbound = inbound
        self._context = context
        self.is_answered = False
        self.context = cast("AioContext", _Context(self, context, handler))
        """What the application gets."""

    async def begin(self) -> None:
        """The application's answer begins. RefusedError where a guard has said no to it."""
        self.inbound.insist_permitted()
        self.is_answered = True
        added = self.inbound.answered()
        if added:
            with suppress(grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError):
                await self._context.send_initial_metadata(added)

    def end(self, error: BaseException | None, code: object = None) -> None:
        """The call is over."""
        found = code_of(self._context) if code is None else code
        self.inbound.ended(found, is_answered=self.is_answered, error=error)

    async def messages(self, handler: Handler, requests: object) -> AsyncIterator[object]:
        """The requests as the application gets them."""
        async for raw in cast("AsyncIterator[object]", requests):
            yield await self.message(handler, raw)

    async def message(self, handler: Handler, raw: object) -> object:
        """One of them."""
        try:
            return message_of(handler, raw)
        except RefusedError as refused:
            await self._context.abort(refused.code, refused.details)
            raise


class _Context:
    """grpc.aio's own, but for what the mesh has changed in the request; the application may read and
    write by it."""

    def __init__(self, call: _AioCall, context: AioContext, handler: Handler | None) -> None:
        self._call = call
        self._context = context
        self._handler = handler

    def invocation_metadata(self) -> Metadata:
        """As grpc.aio.ServicerContext."""
        return self._call.inbound.metadata()

    async def read(self) -> object:
        """As grpc.aio.ServicerContext."""
        raw = await self._context.read()
        if raw is EOF or self._handler is None:
            return raw
        return await self._call.message(self._handler, raw)

    async def write(self, message: object) -> None:
        """As grpc.aio.ServicerContext."""
        if not self._call.is_answered:
            await self._call.begin()
        await self._context.write(message)

    def __getattr__(self, name: str) -> object:
        value: object = getattr(self._context, name)
        return value


def _handler(
    kind: str, behaviour: object, deserialize: Deserializer | None, serialize: Serializer | None
) -> RpcHandler:
    make = cast("Callable[..., RpcHandler]", MAKE[kind])
    return make(behaviour, deserialize, serialize)


async def _perform(effect: Effect, mesh: ServerMesh, raw: bytes | None) -> Reply:
    match effect:
        case Sleep(seconds):
            await asyncio.sleep(seconds)
            return None
        case ReadBody(limit):
            return body_read(limit, raw)
        case Fetch() | GrpcFetch():
            return await mesh.fetcher.afetch(effect)
        case _:
            return unperformable(effect)
