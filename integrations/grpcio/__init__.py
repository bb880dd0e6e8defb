"""gRPC in the mesh: channels and servers of grpcio, sync and asyncio.

channel = channel("reviews.shop:9080")
stub = ReviewsStub(channel)
"""

from typing import TypeAlias, cast

import grpc
import grpc.aio

from meshsdk.integrations.grpcio.aio_channel import AioMeshChannel
from meshsdk.integrations.grpcio.aio_server import AioMeshServerInterceptor
from meshsdk.integrations.grpcio.api import ChannelOptions
from meshsdk.integrations.grpcio.channel import MeshChannel
from meshsdk.integrations.grpcio.inbound import ServerMesh
from meshsdk.integrations.grpcio.outbound import GrpcMesh
from meshsdk.integrations.grpcio.ports import Server, open_port
from meshsdk.integrations.grpcio.server import MeshServerInterceptor
from meshsdk.mesh import process_mesh

__all__ = [
    "AioMeshChannel",
    "AioMeshServerInterceptor",
    "MeshChannel",
    "MeshServerInterceptor",
    "add_mesh_port",
    "aio_channel",
    "aio_server_interceptor",
    "channel",
    "server_interceptor",
]

# Quoted: only the stubs know parameters of these.
Interceptor: TypeAlias = "grpc.ServerInterceptor[object, object]"
AioInterceptor: TypeAlias = "grpc.aio.ServerInterceptor[object, object]"


def channel(
    target: str,
    mesh: GrpcMesh | None = None,
    *,
    options: ChannelOptions = (),
    compression: object = None,
) -> MeshChannel:
    """A channel for generated stubs. `target` is `host:port`, as the application would dial it.

    Without `mesh` the process's own. `options` and `compression` as grpc.insecure_channel takes
    them. UsageError for a target that is none.
    """
    return MeshChannel(target, mesh or process_mesh(), options=options, compression=compression)


def aio_channel(
    target: str,
    mesh: GrpcMesh | None = None,
    *,
    options: ChannelOptions = (),
    compression: object = None,
) -> AioMeshChannel:
    """`channel` for stubs that are awaited. For the event loop that runs its first call."""
    return AioMeshChannel(target, mesh or process_mesh(), options=options, compression=compression)


def server_interceptor(mesh: ServerMesh | None = None) -> "Interceptor":
    """Policy for `grpc.server(..., interceptors=[server_interceptor(mesh), ...])`; the first of them.

    It judges each call before its message is read, refuses calls of ports that `add_mesh_port` did
    not make, and tells the application who calls (`meshsdk.current_peer()`).
    """
    return cast("Interceptor", MeshServerInterceptor(mesh or process_mesh()))


def aio_server_interceptor(mesh: ServerMesh | None = None) -> "AioInterceptor":
    """`server_interceptor` for `grpc.aio.server`."""
    return cast("AioInterceptor", AioMeshServerInterceptor(mesh or process_mesh()))


def add_mesh_port(
    server: Server, address: str, mesh: ServerMesh | None = None, *, ready_timeout: float = 15.0
) -> int:
    """The port of `server`, sync or asyncio, on which the mesh accepts: mTLS, or also plaintext,
    as its policy says. In the place of `server.add_secure_port`; the number of the port.

    Blocks until the mesh is ready, `ready_timeout` seconds at most: NotReadyError then. UsageError
    where the server has no interceptor of the mesh, and on an event loop whose mesh is not ready.
    """
    return open_port(server, address, mesh or process_mesh(), ready_timeout=ready_timeout).port
