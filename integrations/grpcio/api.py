"""What is used of grpcio, with types: its own package has none."""

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from typing import Literal, Protocol, TypeAlias

import grpc
import grpc.aio

MetadataPair: TypeAlias = tuple[str, str | bytes]
Metadata: TypeAlias = Sequence[MetadataPair]
Serializer: TypeAlias = Callable[[object], bytes]
Deserializer: TypeAlias = Callable[[bytes], object]
ChannelOptions: TypeAlias = Sequence[tuple[str, object]]
# As bases: what the stubs of grpcio say of subclasses fits none but grpcio's own.
CallBase: type[object] = grpc.Call
FutureBase: type[object] = grpc.Future
ErrorBase: type[Exception] = grpc.RpcError
UnaryUnaryBase: type[object] = grpc.UnaryUnaryMultiCallable
UnaryStreamBase: type[object] = grpc.UnaryStreamMultiCallable
StreamUnaryBase: type[object] = grpc.StreamUnaryMultiCallable
StreamStreamBase: type[object] = grpc.StreamStreamMultiCallable
AioUnaryUnaryBase: type[object] = grpc.aio.UnaryUnaryMultiCallable
AioUnaryStreamBase: type[object] = grpc.aio.UnaryStreamMultiCallable
AioStreamUnaryBase: type[object] = grpc.aio.StreamUnaryMultiCallable
AioStreamStreamBase: type[object] = grpc.aio.StreamStreamMultiCallable
AioCallBase: type[object] = grpc.aio.Call
ServerInterceptorBase: type[object] = grpc.ServerInterceptor
AioServerInterceptorBase: type[object] = grpc.aio.ServerInterceptor
RpcHandler: TypeAlias = "grpc.RpcMethodHandler[object, object]"
EOF: object = vars(grpc.aio)["EOF"]
"""What `read` gives at the end of a stream."""
Kind: TypeAlias = Literal["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


class Ended(Protocol):
    """A call that has ended, or an error that tells of one."""

    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def initial_metadata(self) -> Metadata | None: ...
    def trailing_metadata(self) -> Metadata | None: ...


class SubCall(Ended, Protocol):
    """A call of one attempt."""

    def cancel(self) -> object: ...
    def done(self) -> bool: ...
    def add_done_callback(self, fn: Callable[[object], None]) -> None: ...
    def time_remaining(self) -> float | None: ...


class SubFuture(SubCall, Protocol):
    """Of a call whose answer is one message."""

    def result(self, timeout: float | None = None) -> object: ...


class SubStream(SubCall, Protocol):
    """Of a call whose answer is a stream."""

    def __next__(self) -> object: ...


class UnaryCallable(Protocol):
    """A method of one endpoint whose answer is one message."""

    def with_call(
        self,
        request: object,
        timeout: float | None,
        metadata: Metadata,
        credentials: object,
        wait_for_ready: bool | None,
        compression: object,
    ) -> tuple[object, Ended]: ...

    def future(
        self,
        request: object,
        timeout: float | None,
        metadata: Metadata,
        credentials: object,
        wait_for_ready: bool | None,
        compression: object,
    ) -> SubFuture: ...


class StreamCallable(Protocol):
    """A method of one endpoint whose answer is a stream."""

    def __call__(
        self,
        request: object,
        timeout: float | None,
        metadata: Metadata,
        credentials: object,
        wait_for_ready: bool | None,
        compression: object,
    ) -> SubStream: ...


class AioSubCall(Protocol):
    """A call of one attempt under asyncio."""

    def code(self) -> Awaitable[grpc.StatusCode]: ...
    def details(self) -> Awaitable[str | None]: ...
    def initial_metadata(self) -> Awaitable[Iterable[MetadataPair]]: ...
    def trailing_metadata(self) -> Awaitable[Iterable[MetadataPair]]: ...
    def cancel(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def done(self) -> bool: ...
    def time_remaining(self) -> float | None: ...
    def add_done_callback(self, callback: Callable[[object], None]) -> None: ...
    def __await__(self) -> Generator[object, None, object]: ...
    def __aiter__(self) -> AsyncIterator[object]: ...
    async def read(self) -> object: ...
    async def write(self, request: object) -> None: ...
    async def done_writing(self) -> None: ...


class AioCallable(Protocol):
    """A method of one endpoint under asyncio."""

    def __call__(
        self,
        request: object,
        *,
        timeout: float | None,
        metadata: Metadata,
        credentials: object,
        wait_for_ready: bool | None,
        compression: object,
    ) -> AioSubCall: ...


class AioGrpcChannel(Protocol):
    """A channel of asyncio."""

    async def close(self, grace: float | None = None) -> None: ...
