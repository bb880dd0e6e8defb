"""What all calls of one asyncio channel share, and what endings look like to asyncio's callers."""

import asyncio
from collections.abc import Iterable
from typing import cast

import grpc
import grpc.aio

from meshsdk.call.effects import Mirror
from meshsdk.integrations.grpcio.api import AioCallable, MetadataPair
from meshsdk.integrations.grpcio.endpoints import Endpoint, Endpoints
from meshsdk.integrations.grpcio.nouns import MeshRpcError, metadata_of
from meshsdk.integrations.grpcio.outbound import Method, Settings


class AioParts:
    """Of one channel."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self._shadows: set[asyncio.Task[None]] = set()

    def callable(self, endpoint: Endpoint, method: Method, path: str) -> AioCallable:
        """A method at one endpoint."""
        found = endpoint.method(method.kind, path, method.serialize, method.deserialize)
        return cast("AioCallable", found)

    def mirror(self, mirror: Mirror, method: Method, request: object) -> None:
        """Send a shadow of a call with one request and one answer, which is dropped."""
        if method.kind == "unary_unary":
            task = asyncio.get_running_loop().create_task(self._shadow(mirror, method, request))
            self._shadows.add(task)
            task.add_done_callback(self._shadows.discard)

    async def _shadow(self, mirror: Mirror, method: Method, request: object) -> None:
        attempt = mirror.attempt
        endpoint = self.endpoints.of(attempt)
        try:
            await self.callable(endpoint, method, attempt.request.path)(
                request,
                timeout=mirror.timeout,
                metadata=metadata_of(attempt.request.headers.pairs),
                credentials=None,
                wait_for_ready=None,
                compression=None,
            )
        except grpc.RpcError:
            pass
        finally:
            self.endpoints.release(endpoint)

    def serialized(self, method: Method, request: object) -> bytes | None:
        """The one request of a call; None for a stream of them."""
        if method.kind.startswith("stream"):
            return None
        found = request if method.serialize is None else method.serialize(request)
        assert isinstance(found, bytes)
        return found


def aio_metadata(pairs: Iterable[MetadataPair]) -> grpc.aio.Metadata:
    """Metadata as asyncio's callers know it."""
    return grpc.aio.Metadata(*pairs)


def aio_error(error: Exception) -> Exception:
    """An error of the mesh's own as grpc.aio raises it."""
    if not isinstance(error, MeshRpcError):
        return error
    found = grpc.aio.AioRpcError(
        error.code(),
        aio_metadata(error.initial_metadata()),
        aio_metadata(error.trailing_metadata()),
        error.details(),
        error.debug_error_string(),
    )
    found.__cause__ = error.__cause__
    return found
