"""A gRPC server in the mesh that the environment names; it tells each caller who that is.

python examples/grpc_server.py 9080
"""

# pyright: basic

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc

from meshsdk import Mesh, current_peer
from meshsdk.integrations.grpcio import add_mesh_port, server_interceptor


def whoami(_request: bytes, _context: grpc.ServicerContext) -> bytes:
    """Any servicer's method."""
    return str(current_peer().spiffe_id).encode()


def repeat(requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
    """A stream both ways."""
    yield from requests


# What generated code does: add_ReviewsServicer_to_server(Reviews(), server).
METHODS = {
    "WhoAmI": grpc.unary_unary_rpc_method_handler(whoami),
    "Repeat": grpc.stream_stream_rpc_method_handler(repeat),
}

with Mesh.connect() as mesh:
    server = grpc.server(ThreadPoolExecutor(8), interceptors=[server_interceptor(mesh)])
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("shop.Reviews", METHODS),)
    )
    port = add_mesh_port(server, f"127.0.0.1:{sys.argv[1]}", mesh)
    server.start()
    print("serving on", port, flush=True)
    server.wait_for_termination()
