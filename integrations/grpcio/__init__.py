"""gRPC in the mesh: channels and servers of grpcio, sync and asyncio.

channel = channel("reviews.shop:9080")
stub = ReviewsStub(channel)
"""

from meshsdk.integrations.grpcio.aio_channel import AioMeshChannel
from meshsdk.integrations.grpcio.api import ChannelOptions
from meshsdk.integrations.grpcio.channel import MeshChannel
from meshsdk.integrations.grpcio.outbound import GrpcMesh
from meshsdk.mesh import process_mesh

__all__ = ["AioMeshChannel", "MeshChannel", "aio_channel", "channel"]


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
