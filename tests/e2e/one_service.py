"""The smallest mesh: the service reviews in one or more versions, and its callers."""

from collections.abc import Mapping, Sequence
from typing import Final

from meshsdk.config.bootstrap import Credentials, Node
from meshsdk.control_plane.ads_server import NodeSnapshot
from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
)
from meshsdk.control_plane.shapes import clusters, inbound, listeners, rbac, routes
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.runtime.origin import Identity

HOST: Final = "reviews.shop.svc.cluster.local"
URL: Final = f"http://{HOST}/"
REVIEWS: Final = "spiffe://cluster.local/ns/shop/sa/reviews"
FRONTEND: Final = "spiffe://cluster.local/ns/shop/sa/frontend"


def node(name: str) -> Node:
    """Of a workload of the namespace shop."""
    return Node(f"sidecar~127.0.0.1~{name}.shop~shop.svc.cluster.local", f"{name}.shop")


def connect(port: int, name: str, identity: Identity, options: Options | None = None) -> Mesh:
    """A member that is fed from a port of 127.0.0.1."""
    return Mesh.connect(
        server=f"127.0.0.1:{port}",
        node=node(name),
        credentials=Credentials(tls=False),
        identity=identity,
        options=options,
    )


def virtual_inbound(port: int, rule: Json | None = None) -> Json:
    """STRICT; the frontend may call, or whom `rule` names."""
    rule = rule or rbac.rule(principals=[FRONTEND])
    policy = rbac.allow({rbac.policy_key("shop", "callers"): rule})
    return inbound.virtual_inbound([inbound.InboundPort(port, 80, HOST, policies=(policy,))])


def server_resources(port: int) -> NodeSnapshot:
    """For a process of reviews."""
    return {
        LISTENER: {"virtualInbound": virtual_inbound(port)},
        CLUSTER: {f"inbound|{port}||": clusters.inbound_cluster(port, HOST)},
        NAME_TABLE: {"": {"table": {}}},
    }


def route_configuration(weights: Mapping[str, int]) -> Json:
    """By version."""
    split = {clusters.cluster_name(HOST, 80, version): each for version, each in weights.items()}
    route = routes.route(split, operation="reviews:80/*")
    host = routes.virtual_host(HOST, 80, "240.240.0.1", [route], caller_namespace="shop")
    return routes.route_configuration("80", [host], allow_any=False)


def caller_resources(
    ports: Mapping[str, Sequence[int]],
    weights: Mapping[str, int],
    http_protocol_options: Mapping[str, object] | None = None,
) -> NodeSnapshot:
    """For a caller. `ports`: version to where its processes listen on 127.0.0.1."""
    names = {version: clusters.cluster_name(HOST, 80, version) for version in ports}
    made = {
        names[version]: clusters.eds_cluster(
            HOST,
            80,
            subset=version,
            accounts=[REVIEWS],
            http_protocol_options=http_protocol_options,
        )
        for version in ports
    }
    return {
        LISTENER: {"0.0.0.0_80": listeners.outbound_listener(80, allow_any=False)},
        ROUTE_CONFIGURATION: {"80": route_configuration(weights)},
        CLUSTER: {**made, "BlackHoleCluster": clusters.black_hole_cluster()},
        LOAD_ASSIGNMENT: {
            name: clusters.load_assignment(name, [("127.0.0.1", port) for port in ports[version]])
            for version, name in names.items()
        },
        NAME_TABLE: {"": {"table": {HOST: {"ips": ["240.240.0.1"]}}}},
    }
