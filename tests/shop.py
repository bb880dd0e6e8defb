"""The demo's mesh: who is in it, and what the control plane tells each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from meshsdk.config.bootstrap import Node
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

TRUST_DOMAIN: Final = "cluster.local"
NAMESPACE: Final = "shop"
HOST: Final = "reviews.shop.svc.cluster.local"
URL: Final = "http://reviews.shop/"
_PORT: Final = 80  # the service's; nobody listens on it
_VIP: Final = "240.240.0.1"  # where istiod would allocate one

# As a DestinationRule would say it.
_OUTLIER_DETECTION: Final = {
    "base_ejection_time": "60s",
    "consecutive_5xx": 3,
    "enforcing_consecutive_5xx": 100,
    "enforcing_success_rate": 0,
    "interval": "1s",
    "max_ejection_percent": 100,
}


@dataclass(frozen=True, slots=True)
class Workload:
    """One process of the mesh."""

    name: str
    account: str

    @property
    def spiffe_id(self) -> str:
        """What its certificate says."""
        return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{self.account}"

    @property
    def node(self) -> Node:
        """What it tells the control plane."""
        node_id = f"sidecar~127.0.0.1~{self.name}.{NAMESPACE}~{NAMESPACE}.svc.{TRUST_DOMAIN}"
        metadata = {"NAMESPACE": NAMESPACE, "SERVICE_ACCOUNT": self.account}
        return Node(node_id, f"{self.account}.{NAMESPACE}", metadata)


FRONTEND: Final = Workload("frontend", "frontend")
STRANGER: Final = Workload("batch", "batch")
CALLERS: Final = (FRONTEND, STRANGER)
REVIEWS: Final[Mapping[Workload, str]] = {
    Workload("reviews-v1-a", "reviews"): "v1",
    Workload("reviews-v1-b", "reviews"): "v1",
    Workload("reviews-v2", "reviews"): "v2",
}
"""The servers, with the version that each of them is."""


def server_resources(port: int) -> NodeSnapshot:
    """For a reviews process: STRICT mTLS on its port, and only the frontend may call."""
    frontend_may = rbac.rule(principals=[FRONTEND.spiffe_id], methods=["GET"])
    policy = rbac.allow({rbac.policy_key(NAMESPACE, "reviews-callers"): frontend_may})
    nobody = {rbac.policy_key(NAMESPACE, "reviews-callers"): rbac.deny_all()}
    listener = inbound.virtual_inbound(
        [inbound.InboundPort(port, _PORT, HOST, "STRICT", (policy,))],
        trust_domain=TRUST_DOMAIN,
        policies=[policy],
        tcp_policies=[rbac.allow_tcp(nobody)],
    )
    return {
        LISTENER: {"virtualInbound": listener},
        CLUSTER: _named(
            clusters.inbound_cluster(port, HOST),
            clusters.inbound_passthrough_cluster(),
            clusters.black_hole_cluster(),
        ),
        NAME_TABLE: {"": {"table": {}}},
    }


def caller_resources(
    ports: Mapping[str, Sequence[int]], weights: Mapping[str, int]
) -> NodeSnapshot:
    """For a client. `ports`: version to the ports of its processes on 127.0.0.1."""
    names = {version: clusters.cluster_name(HOST, _PORT, version) for version in ports}
    return {
        LISTENER: {
            f"0.0.0.0_{_PORT}": listeners.outbound_listener(_PORT, allow_any=False),
            "virtualOutbound": listeners.virtual_outbound(allow_any=False),
        },
        CLUSTER: _named(
            *(_reviews_cluster(version) for version in ports),
            clusters.passthrough_cluster(),
            clusters.black_hole_cluster(),
        ),
        LOAD_ASSIGNMENT: {
            name: clusters.load_assignment(name, [("127.0.0.1", port) for port in ports[version]])
            for version, name in names.items()
        },
        NAME_TABLE: {"": {"table": {HOST: {"ips": [_VIP], "registry": "External"}}}},
        **route_resources(weights),
    }


def route_resources(weights: Mapping[str, int]) -> NodeSnapshot:
    """What changes when the traffic is to be split in another way."""
    by_cluster = {
        clusters.cluster_name(HOST, _PORT, version): weight for version, weight in weights.items()
    }
    split = routes.route(
        by_cluster,
        operation=f"reviews:{_PORT}/*",
        timeout="10s",
        retries=routes.retry_policy("5xx,reset,connect-failure", 3, "2s"),
    )
    host = routes.virtual_host(HOST, _PORT, _VIP, [split], caller_namespace=NAMESPACE)
    name = str(_PORT)
    return {ROUTE_CONFIGURATION: {name: routes.route_configuration(name, [host], allow_any=False)}}


def _reviews_cluster(version: str) -> Json:
    reviews = next(iter(REVIEWS))
    return clusters.eds_cluster(
        HOST,
        _PORT,
        subset=version,
        accounts=[reviews.spiffe_id],
        outlier_detection=_OUTLIER_DETECTION,
    )


def _named(*resources: Json) -> dict[str, Json]:
    return {str(each["name"]): each for each in resources}
