"""gRPC calls through the mesh that the environment names (Istio's variables, GRPC_XDS_BOOTSTRAP).

python examples/grpc_client.py reviews.shop:80
"""

import sys

from meshsdk import Mesh
from meshsdk.integrations.grpcio import channel

with Mesh.connect() as mesh, channel(sys.argv[1], mesh) as reviews:
    # What generated code does: ReviewsStub(reviews).WhoAmI(...).
    who_am_i = reviews.unary_unary("/shop.Reviews/WhoAmI", None, None)
    repeat = reviews.stream_stream("/shop.Reviews/Repeat", None, None)
    print(who_am_i(b"", timeout=10.0))
    print(list(repeat(iter([b"a", b"b"]), timeout=10.0)))
