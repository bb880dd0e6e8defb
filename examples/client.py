"""One call through the mesh that the environment names (Istio's variables, GRPC_XDS_BOOTSTRAP).

python examples/client.py http://reviews.shop:9080/ratings/1
"""

import sys

import httpx

from meshsdk import Mesh
from meshsdk.integrations.httpx import MeshTransport

url = sys.argv[1]
with Mesh.connect() as mesh, httpx.Client(transport=MeshTransport(mesh), timeout=10.0) as client:
    response = client.get(url)
print(response.status_code, response.text)
