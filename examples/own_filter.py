"""An HTTP filter of one's own: each call says which build made it; a draining one makes none.

python examples/own_filter.py
"""

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import httpx

from meshsdk import Mesh, Options
from meshsdk.call import CallContext, Continue, LocalReply, Request, Verdict
from meshsdk.config import PlacedFilter
from meshsdk.integrations.httpx import MeshTransport

TYPES = "type.googleapis.com/envoy.extensions.filters"
HCM = f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True, slots=True)
class Build:
    name: str
    drains: Event

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        if self.drains.is_set():
            return LocalReply(503, b"draining", details="build_draining")
        return Continue(request.with_headers(request.headers.set("x-build", self.name)))


class Echo(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["x-build"].encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
Thread(target=server.serve_forever, daemon=True).start()
address = {"socket_address": {"address": "127.0.0.1", "port_value": server.server_port}}
endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
cluster = {"name": "c", "load_assignment": {"cluster_name": "c", "endpoints": endpoints}}
route = {"match": {"prefix": "/"}, "route": {"cluster": "c"}}
routes = {"virtual_hosts": [{"name": "shop", "domains": ["*"], "routes": [route]}]}
router = {"name": "router", "typed_config": {"@type": f"{TYPES}.http.router.v3.Router"}}
hcm = {"@type": HCM, "route_config": routes, "http_filters": [router]}
listener = {"name": "shop:80", "api_listener": {"api_listener": hcm}}
build = Build("1f3a", Event())
options = Options(http_filters=(PlacedFilter(build, "build", "outbound"),))
config = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
with Mesh.static(config, options=options) as mesh, httpx.Client(transport=MeshTransport(mesh)) as c:
    print(c.get("http://shop/").text)
    build.drains.set()
    print(c.get("http://shop/").status_code)
