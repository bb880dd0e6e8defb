"""`AioMeshChannel`: a `grpc.aio.Channel` whose calls go through the mesh."""

import asyncio
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import TypeAlias, cast

import grpc
import grpc.aio

from meshsdk.clock import Clock
from meshsdk.integrations.grpcio.aio_answer import AnswerCall
from meshsdk.integrations.grpcio.aio_call import AioCall
from meshsdk.integrations.grpcio.aio_parts import AioParts
from meshsdk.integrations.grpcio.aio_stream import AnswersCall, StreamStreamCall, StreamUnaryCall
from meshsdk.integrations.grpcio.api import (
    AioGrpcChannel,
    AioStreamStreamBase,
    AioStreamUnaryBase,
    AioUnaryStreamBase,
    AioUnaryUnaryBase,
    ChannelOptions,
    Deserializer,
    Metadata,
    Serializer,
)
from meshsdk.integrations.grpcio.channel import settings_of
from meshsdk.integrations.grpcio.connectivity import state_of
from meshsdk.integrations.grpcio.endpoints import Endpoints, GrpcChannel
from meshsdk.integrations.grpcio.outbound import CallOptions, GrpcMesh, Method, Outbound
from meshsdk.integrations.grpcio.replay import item_serializer
from meshsdk.upstream.endpoint_transports import EndpointTransport

Requests: TypeAlias = "AsyncIterable[object] | Iterable[object] | None"
# Quoted: only the stubs know parameters of these.
UnaryUnary: TypeAlias = "grpc.aio.UnaryUnaryMultiCallable[object, object]"
UnaryStream: TypeAlias = "grpc.aio.UnaryStreamMultiCallable[object, object]"
StreamUnary: TypeAlias = "grpc.aio.StreamUnaryMultiCallable[object, object]"
StreamStream: TypeAlias = "grpc.aio.StreamStreamMultiCallable[object, object]"
_CLOSED = "Channel is closed."


class AioMeshChannel(grpc.aio.Channel):
    """Generated stubs take it like any other channel of grpc.aio. For one event loop."""

    def __init__(
        self,
        target: str,
        mesh: GrpcMesh,
        *,
        options: ChannelOptions = (),
        compression: object = None,
        clock: Clock | None = None,
    ) -> None:
        """See `meshsdk.integrations.grpcio.aio_channel`."""
        settings = settings_of(target, mesh, options, clock)
        self._closing: set[asyncio.Future[None]] = set()

        def connect(transport: EndpointTransport, options: ChannelOptions) -> GrpcChannel:
            return cast("GrpcChannel", _connected(transport, options, compression))

        endpoints = Endpoints(
            lambda: mesh.endpoint_transports,
            settings.clock,
            options,
            connect,
            self._shut,
            lambda seconds, what: asyncio.get_running_loop().call_later(seconds, what),
        )
        self._parts = AioParts(settings, endpoints)
        self._running: set[AioCall] = set()
        self._is_started = False
        self.is_closed = False

    @property
    def endpoints(self) -> Endpoints:
        """Its channels to single endpoints."""
        return self._parts.endpoints

    def _shut(self, channel: GrpcChannel) -> None:
        closing = asyncio.ensure_future(cast("AioGrpcChannel", channel).close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # -- grpc.aio.Channel -------------------------------------------------------------------

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> "UnaryUnary":
        """As grpc.aio.Channel."""
        found = AioUnaryMethod(
            self, Method(method, "unary_unary", request_serializer, response_deserializer)
        )
        return cast("UnaryUnary", found)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> "UnaryStream":
        """As grpc.aio.Channel."""
        found = AioStreamMethod(
            self, Method(method, "unary_stream", request_serializer, response_deserializer)
        )
        return cast("UnaryStream", found)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> "StreamUnary":
        """As grpc.aio.Channel."""
        serialize = item_serializer(request_serializer)
        found = AioStreamUnaryMethod(
            self, Method(method, "stream_unary", serialize, response_deserializer)
        )
        return cast("StreamUnary", found)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> "StreamStream":
        """As grpc.aio.Channel."""
        serialize = item_serializer(request_serializer)
        found = AioStreamStreamMethod(
            self, Method(method, "stream_stream", serialize, response_deserializer)
        )
        return cast("StreamStream", found)

    async def close(self, grace: float | None = None) -> None:
        """As grpc.aio.Channel: calls that run have `grace` seconds, and are cancelled then."""
        self.is_closed = True
        if grace and self._running:
            ended = [asyncio.ensure_future(_until_done(call)) for call in self._running]
            _, late = await asyncio.wait(ended, timeout=grace)
            for waiting in late:
                waiting.cancel()
        for call in list(self._running):
            call.cancel()
        self._parts.endpoints.close()
        if self._closing:
            await asyncio.wait(list(self._closing))

    async def __aenter__(self) -> "AioMeshChannel":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close(None)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """As grpc.aio.Channel: READY says that the mesh is configured for the target."""
        if self.is_closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if try_to_connect:
            self._parts.settings.mesh.start()
            self._is_started = True
        return state_of(self._parts.settings, self._is_started)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As grpc.aio.Channel."""
        publisher = self._parts.settings.mesh.publisher
        while self.get_state() is last_observed_state:
            seen, loop, changed = publisher.plan, asyncio.get_running_loop(), asyncio.Event()

            def wake(
                loop: asyncio.AbstractEventLoop = loop, changed: asyncio.Event = changed
            ) -> None:
                loop.call_soon_threadsafe(changed.set)

            forget = publisher.on_change(seen, wake)
            try:
                await changed.wait()
            finally:
                forget()

    async def channel_ready(self) -> None:
        """As grpc.aio.Channel."""
        state = self.get_state(try_to_connect=True)
        while state is not grpc.ChannelConnectivity.READY:
            await self.wait_for_state_change(state)
            state = self.get_state(try_to_connect=True)

    # -- for its methods --------------------------------------------------------------------

    def begin(
        self,
        kind: type[AioCall],
        method: Method,
        request: object,
        timeout: float | None,
        options: CallOptions,
    ) -> AioCall:
        """Begin a call."""
        if self.is_closed:
            raise grpc.aio.UsageError(_CLOSED)
        parts = self._parts
        call = kind(parts, Outbound(parts.settings, method, timeout, options), request)
        self._running.add(call)
        call.add_done_callback(self._ended)
        return call

    def _ended(self, call: object) -> None:
        self._running.discard(cast("AioCall", call))


async def _until_done(call: AioCall) -> None:
    done = asyncio.Event()
    call.add_done_callback(lambda _: done.set())
    await done.wait()


class AioUnaryMethod(AioUnaryUnaryBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """One request, one answer."""

    def __init__(self, channel: AioMeshChannel, method: Method) -> None:
        self._mesh_channel = channel
        self._mesh_method = method

    def __call__(
        self,
        request: object,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> AioCall:
        """As grpc.aio.UnaryUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._mesh_channel.begin(AnswerCall, self._mesh_method, request, timeout, options)


class AioStreamMethod(AioUnaryStreamBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """One request, a stream of answers."""

    def __init__(self, channel: AioMeshChannel, method: Method) -> None:
        self._mesh_channel = channel
        self._mesh_method = method

    def __call__(
        self,
        request: object,
        *,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> AioCall:
        """As grpc.aio.UnaryStreamMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._mesh_channel.begin(AnswersCall, self._mesh_method, request, timeout, options)


class AioStreamUnaryMethod(AioStreamUnaryBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """A stream of requests, one answer."""

    def __init__(self, channel: AioMeshChannel, method: Method) -> None:
        self._mesh_channel = channel
        self._mesh_method = method

    def __call__(
        self,
        request_iterator: Requests = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> AioCall:
        """As grpc.aio.StreamUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        channel, method = self._mesh_channel, self._mesh_method
        return channel.begin(StreamUnaryCall, method, request_iterator, timeout, options)


class AioStreamStreamMethod(AioStreamStreamBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """A stream of requests, a stream of answers."""

    def __init__(self, channel: AioMeshChannel, method: Method) -> None:
        self._mesh_channel = channel
        self._mesh_method = method

    def __call__(
        self,
        request_iterator: Requests = None,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> AioCall:
        """As grpc.aio.StreamStreamMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        channel, method = self._mesh_channel, self._mesh_method
        return channel.begin(StreamStreamCall, method, request_iterator, timeout, options)


def _connected(
    transport: EndpointTransport, options: ChannelOptions, compression: object
) -> grpc.aio.Channel:
    make = cast("Callable[..., grpc.aio.Channel]", grpc.aio.insecure_channel)
    if not transport.is_secure:
        return make(transport.target, options, compression)
    local = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    secure = cast("Callable[..., grpc.aio.Channel]", grpc.aio.secure_channel)
    return secure(transport.target, local, options, compression)
