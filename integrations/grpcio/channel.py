"""`MeshChannel`: a `grpc.Channel` whose calls go through the mesh."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TypeAlias, cast

import grpc

from meshsdk.clock import Clock, SystemClock
from meshsdk.integrations.grpcio.api import (
    ChannelOptions,
    Deserializer,
    Ended,
    Metadata,
    Serializer,
    StreamStreamBase,
    StreamUnaryBase,
    UnaryStreamBase,
    UnaryUnaryBase,
)
from meshsdk.integrations.grpcio.blocking import BlockingCall
from meshsdk.integrations.grpcio.connectivity import Connectivity
from meshsdk.integrations.grpcio.driven import DrivenCall
from meshsdk.integrations.grpcio.endpoints import Endpoints, GrpcChannel
from meshsdk.integrations.grpcio.future import FutureCall
from meshsdk.integrations.grpcio.nouns import target_of
from meshsdk.integrations.grpcio.outbound import CallOptions, GrpcMesh, Method, Outbound, Settings
from meshsdk.integrations.grpcio.replay import item_serializer
from meshsdk.integrations.grpcio.stream import StreamCall
from meshsdk.integrations.grpcio.sync_parts import ChannelParts
from meshsdk.runtime.timers import Timers
from meshsdk.upstream.endpoint_transports import EndpointTransport

# Quoted: only the stubs know parameters of these.
UnaryUnary: TypeAlias = "grpc.UnaryUnaryMultiCallable[object, object]"
UnaryStream: TypeAlias = "grpc.UnaryStreamMultiCallable[object, object]"
StreamUnary: TypeAlias = "grpc.StreamUnaryMultiCallable[object, object]"
StreamStream: TypeAlias = "grpc.StreamStreamMultiCallable[object, object]"
_CLOSED = "Cannot invoke RPC on closed channel!"


class MeshChannel(grpc.Channel):
    """Generated stubs take it like any other channel. Any thread; close it, or use `with`."""

    def __init__(
        self,
        target: str,
        mesh: GrpcMesh,
        *,
        options: ChannelOptions = (),
        compression: object = None,
        clock: Clock | None = None,
    ) -> None:
        """See `meshsdk.integrations.grpcio.channel`."""
        settings = settings_of(target, mesh, options, clock)
        self._timers = Timers(settings.clock)

        def connect(transport: EndpointTransport, options: ChannelOptions) -> GrpcChannel:
            return cast("GrpcChannel", _connected(transport, options, compression))

        endpoints = Endpoints(
            lambda: mesh.endpoint_transports,
            settings.clock,
            options,
            connect,
            lambda channel: cast("grpc.Channel", channel).close(),
            self._timers.after,
        )
        self._parts = ChannelParts(settings, endpoints, self._timers)
        self._connectivity = Connectivity(settings, self._timers)
        self._running: set[DrivenCall] = set()
        self.is_closed = False

    @property
    def endpoints(self) -> Endpoints:
        """Its channels to single endpoints."""
        return self._parts.endpoints

    # -- grpc.Channel -----------------------------------------------------------------------

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer | None = None,
        response_deserializer: Deserializer | None = None,
        _registered_method: bool | None = False,
    ) -> "UnaryUnary":
        """As grpc.Channel."""
        found = UnaryMethod(
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
        """As grpc.Channel."""
        found = StreamMethod(
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
        """As grpc.Channel."""
        serialize = item_serializer(request_serializer)
        found = StreamUnaryMethod(
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
        """As grpc.Channel."""
        serialize = item_serializer(request_serializer)
        found = StreamStreamMethod(
            self, Method(method, "stream_stream", serialize, response_deserializer)
        )
        return cast("StreamStream", found)

    def subscribe(
        self,
        callback: Callable[[grpc.ChannelConnectivity], None],
        try_to_connect: bool | None = False,
    ) -> None:
        """As grpc.Channel: READY says that the mesh is configured for the target."""
        self._connectivity.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """As grpc.Channel."""
        self._connectivity.unsubscribe(callback)

    def close(self) -> None:
        """As grpc.Channel: calls that run are cancelled."""
        self.is_closed = True
        for call in list(self._running):
            call.shut()
        self._parts.endpoints.close()
        self._connectivity.close()

    def __enter__(self) -> "MeshChannel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # -- for its methods --------------------------------------------------------------------

    def blocking(
        self, method: Method, request: object, timeout: float | None, options: CallOptions
    ) -> tuple[object, Ended]:
        """Make a call with one answer, on this thread."""
        self._insist_open()
        parts = self._parts
        return BlockingCall(
            parts, Outbound(parts.settings, method, timeout, options), request
        ).run()

    def future(
        self, method: Method, request: object, timeout: float | None, options: CallOptions
    ) -> FutureCall:
        """Begin a call with one answer."""
        call = FutureCall(self._parts, self._outbound(method, timeout, options), request)
        self._begin(call)
        return call

    def stream(
        self, method: Method, request: object, timeout: float | None, options: CallOptions
    ) -> StreamCall:
        """Begin a call whose answer is a stream."""
        call = StreamCall(self._parts, self._outbound(method, timeout, options), request)
        self._begin(call)
        return call

    def _outbound(self, method: Method, timeout: float | None, options: CallOptions) -> Outbound:
        self._insist_open()
        return Outbound(self._parts.settings, method, timeout, options)

    def _begin(self, call: DrivenCall) -> None:
        self._running.add(call)
        call.add_callback(lambda: self._running.discard(call))
        call.begin()

    def _insist_open(self) -> None:
        if self.is_closed:
            raise ValueError(_CLOSED)


class UnaryMethod(UnaryUnaryBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """One request, one answer."""

    def __init__(self, channel: MeshChannel, method: Method) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request: object,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> object:
        """As grpc.UnaryUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.blocking(self._method, request, timeout, options)[0]

    def with_call(
        self,
        request: object,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[object, Ended]:
        """As grpc.UnaryUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.blocking(self._method, request, timeout, options)

    def future(
        self,
        request: object,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> FutureCall:
        """As grpc.UnaryUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.future(self._method, request, timeout, options)


class StreamUnaryMethod(StreamUnaryBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """A stream of requests, one answer."""

    def __init__(self, channel: MeshChannel, method: Method) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request_iterator: Iterator[object],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> object:
        """As grpc.StreamUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.blocking(self._method, request_iterator, timeout, options)[0]

    def with_call(
        self,
        request_iterator: Iterator[object],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[object, Ended]:
        """As grpc.StreamUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.blocking(self._method, request_iterator, timeout, options)

    def future(
        self,
        request_iterator: Iterator[object],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> FutureCall:
        """As grpc.StreamUnaryMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.future(self._method, request_iterator, timeout, options)


class StreamMethod(UnaryStreamBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """One request, a stream of answers."""

    def __init__(self, channel: MeshChannel, method: Method) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request: object,
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamCall:
        """As grpc.UnaryStreamMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.stream(self._method, request, timeout, options)


class StreamStreamMethod(StreamStreamBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """A stream of requests, a stream of answers."""

    def __init__(self, channel: MeshChannel, method: Method) -> None:
        self._channel = channel
        self._method = method

    def __call__(
        self,
        request_iterator: Iterator[object],
        timeout: float | None = None,
        metadata: Metadata | None = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> StreamCall:
        """As grpc.StreamStreamMultiCallable."""
        options = CallOptions(metadata, credentials, wait_for_ready, compression)
        return self._channel.stream(self._method, request_iterator, timeout, options)


def settings_of(
    target: str, mesh: GrpcMesh, options: ChannelOptions, clock: Clock | None
) -> Settings:
    """What all calls of a channel share."""
    given = dict(options)
    authority = given.get("grpc.default_authority", target.rpartition("/")[2])
    agent = f"grpc-python/{grpc.__version__}"
    own = given.get("grpc.primary_user_agent")
    return Settings(
        mesh,
        target_of(target),
        str(authority),
        agent if own is None else f"{own} {agent}",
        clock or SystemClock(),
    )


def _connected(
    transport: EndpointTransport, options: ChannelOptions, compression: object
) -> grpc.Channel:
    make = cast("Callable[..., grpc.Channel]", grpc.insecure_channel)
    if not transport.is_secure:
        return make(transport.target, options, compression)
    # Local credentials, so that call credentials are allowed: the unix socket is ours alone.
    local = grpc.local_channel_credentials(grpc.LocalConnectionType.UDS)
    secure = cast("Callable[..., grpc.Channel]", grpc.secure_channel)
    return secure(transport.target, local, options, compression)
