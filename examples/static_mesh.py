"""A mesh without a control plane: 90 % of the calls go to v1, 10 % to v2.

python examples/static_mesh.py
"""

from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

from meshsdk import Mesh
from meshsdk.integrations.httpx import MeshTransport

TYPES = "type.googleapis.com/envoy.extensions.filters"


def serve(version: str) -> ThreadingHTTPServer:
    """A server that answers with its version."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(version.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def cluster(name: str, server: ThreadingHTTPServer) -> dict[str, object]:
    """A cluster of one endpoint."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": server.server_port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}}


WEIGHTS = [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]
ROUTE = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": WEIGHTS}}}
HOST = {"name": "reviews", "domains": ["reviews.shop"], "routes": [ROUTE]}
ROUTER = {"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}}
HCM = {
    "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
    "route_config": {"virtual_hosts": [HOST]},
    "http_filters": [ROUTER],
}
LISTENER = {"name": "reviews.shop:80", "api_listener": {"api_listener": HCM}}

clusters = [cluster(version, serve(version)) for version in ("v1", "v2")]
config = {"static_resources": {"listeners": [LISTENER], "clusters": clusters}}
with Mesh.static(config) as mesh, httpx.Client(transport=MeshTransport(mesh)) as client:
    counts = Counter(client.get("http://reviews.shop/").text for _ in range(200))
print(dict(sorted(counts.items())))
