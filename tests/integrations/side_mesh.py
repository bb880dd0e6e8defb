"""A mesh in both directions whose filters make side calls, and services that answer them."""

import json
import threading
from collections.abc import Mapping, Sequence

from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from tests.upstream.raw_server import Script, Served

FILTERS = "type.googleapis.com/envoy.extensions.filters"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
Json = Mapping[str, object]


def cluster(name: str, port: int, *, h2: bool = False) -> Json:
    """A cluster of one endpoint."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    found: dict[str, object] = {
        "name": name,
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    if h2:
        found["typed_extension_protocol_options"] = {
            _OPTIONS: {
                "@type": f"type.googleapis.com/{_OPTIONS}",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    return found


def named(name: str, type_url: str, **config: object) -> Json:
    """An HTTP filter."""
    return {"name": name, "typed_config": {"@type": f"{FILTERS}.http.{type_url}", **config}}


def mesh_of(
    filters: Sequence[Json],
    clusters: Sequence[Json],
    route: Json | None = None,
    options: Options | None = None,
) -> Mesh:
    """The same filters on the way in (port 8080 of 10.0.0.1) and on the way out (to `shop`)."""
    to = {"match": {"prefix": "/"}, "route": {"cluster": "app"}, **(route or {})}
    hcm = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {
            "name": "r",
            "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [to]}],
        },
        "http_filters": [*filters, named("router", "router.v3.Router")],
    }
    chain = {"filters": [{"name": "hcm", "typed_config": hcm}]}
    inbound = {
        "name": "inbound",
        "traffic_direction": "INBOUND",
        "address": {"socket_address": {"address": "10.0.0.1", "port_value": 8080}},
        "filter_chains": [chain],
    }
    outbound = {"name": "shop:80", "api_listener": {"api_listener": hcm}}
    return Mesh.static(
        {"static_resources": {"listeners": [inbound, outbound], "clusters": list(clusters)}},
        options=options,
    )


class KeyServer:
    """An issuer: counts what it is asked, and answers when it is let."""

    def __init__(self, keys: str, *, status: str = "200 OK", is_slow: bool = False) -> None:
        self.keys = keys
        self.status = status
        self.asked = 0
        self.was_asked = threading.Event()
        self.may_answer = threading.Event()
        if not is_slow:
            self.may_answer.set()

    @property
    def script(self) -> Script:
        """For a `RawServer`."""

        def serve(served: Served) -> None:
            while served.head():
                self.asked += 1
                self.was_asked.set()
                self.may_answer.wait(10)
                body = self.keys.encode()
                head = f"HTTP/1.1 {self.status}\r\nlocation: /elsewhere\r\n"
                served.send(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)

        return serve


def app(served: Served) -> None:
    """The service behind: tells the request that it got."""
    while head := served.head():
        body = json.dumps(head.decode("latin-1").split("\r\n")).encode()
        served.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
