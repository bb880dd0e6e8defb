"""Load assignments: the endpoints of a cluster, by locality. FEED.md 3.7."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.destination_rule import DestinationRule, Subset
from meshsdk.control_plane.istio.load_balancer import LocalityLb
from meshsdk.control_plane.istio.localities import Group, balanced, locality_lb
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.selectors import Workload, selects
from meshsdk.control_plane.istio.services import Endpoint, Service, ServicePort
from meshsdk.control_plane.istio.traffic_policy import TrafficPolicy
from meshsdk.control_plane.shapes.clusters import socket_address
from meshsdk.control_plane.shapes.tls import Json

_MAX_WEIGHT: Final = 4294967295
_CANONICAL_NAMES: Final = ("service.istio.io/canonical-name", "app.kubernetes.io/name", "app")
_REVISIONS: Final = ("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version")


@dataclass(frozen=True, slots=True)
class Slice:
    """A port of a service, or of a subset of it: what one cluster is for."""

    service: Service
    port: ServicePort
    name: str
    policy: TrafficPolicy
    rule: DestinationRule | None = None
    subset: Subset | None = None


def viewpoint(proxy: Proxy) -> tuple[object, ...]:
    """What of a node may say in which order it uses endpoints."""
    return proxy.locality, frozenset(proxy.labels.items())


def load_assignment(config: Config, proxy: Proxy, part: Slice) -> Json:
    """The endpoints of a cluster as a node is to use them, made once for all nodes that see the
    same."""
    setting = locality_lb(config.mesh, part.policy)
    has_failover = part.policy.outlier_detection is not None
    is_same = setting is None or not (setting.distribute or has_failover)
    seen = () if is_same else viewpoint(proxy)
    key = ("endpoints", id(part.service), id(part.rule), part.name, *seen)
    return config.remembered(key, part.service, lambda: _assignment(config, proxy, part, setting))


def _assignment(config: Config, proxy: Proxy, part: Slice, setting: LocalityLb | None) -> Json:
    groups: dict[str, list[Endpoint]] = {}
    for endpoint in _endpoints(part):
        groups.setdefault(endpoint.locality, []).append(endpoint)
    found = [Group(locality, tuple(each)) for locality, each in sorted(groups.items())]
    if setting is not None:
        has_failover = part.policy.outlier_detection is not None
        found = balanced(found, setting, proxy, has_failover=has_failover)
    assignment: Json = {"cluster_name": part.name}
    if found:
        assignment["endpoints"] = [_locality(config, part, group) for group in found]
    return assignment


def _endpoints(part: Slice) -> Iterable[Endpoint]:
    labels: Mapping[str, str] = {} if part.subset is None else part.subset.labels
    for endpoint in part.service.endpoints:
        if part.port.number in endpoint.ports and selects(labels, endpoint.labels):
            yield endpoint


def _locality(config: Config, part: Slice, group: Group) -> Json:
    weight = group.weight or min(_MAX_WEIGHT, sum(each.weight or 1 for each in group.endpoints))
    found: Json = {
        "load_balancing_weight": weight,
        "locality": locality_json(group.locality),
    }
    if not group.is_emptied:
        found["lb_endpoints"] = [_endpoint(config, part, each) for each in group.endpoints]
    if group.priority:
        found["priority"] = group.priority
    return found


def locality_json(locality: str) -> Json:
    """A `config.core.v3.Locality`."""
    parts = zip(("region", "zone", "sub_zone"), locality.split("/", 2), strict=False)
    return {name: value for name, value in parts if value}


def _endpoint(config: Config, part: Slice, endpoint: Endpoint) -> Json:
    metadata: Json = {"istio": {"workload": _workload(endpoint)}}
    if has_mtls(config, part, endpoint):
        metadata["envoy.transport_socket_match"] = {"tlsMode": "istio"}
    found: Json = {
        "endpoint": {"address": socket_address(endpoint.address, endpoint.ports[part.port.number])},
        "load_balancing_weight": endpoint.weight or 1,
        "metadata": {"filter_metadata": metadata},
    }
    return found if endpoint.is_ready else {**found, "health_status": "UNHEALTHY"}


def has_mtls(config: Config, part: Slice, endpoint: Endpoint) -> bool:
    """Whether mTLS will work: the endpoint says so, and neither the rule of callers nor the
    PeerAuthentication of the workload forbids it. Source: istiod, mtlsChecker."""
    tls = part.policy.tls
    if not endpoint.has_mtls or (tls is not None and tls.mode != "ISTIO_MUTUAL"):
        return False
    if tls is not None:
        return True
    workload = Workload(endpoint.namespace or part.service.namespace, endpoint.labels)
    return config.mtls_of(workload).of(endpoint.ports[part.port.number]) != "DISABLE"


def _workload(endpoint: Endpoint) -> str:
    """`name;namespace;canonical name;canonical revision;cluster`, for telemetry."""
    if endpoint.is_inline:
        return ";;;;Kubernetes"
    labels = endpoint.labels
    name = next((labels[key] for key in _CANONICAL_NAMES if key in labels), endpoint.name)
    revision = next((labels[key] for key in _REVISIONS if key in labels), "latest")
    return f"{endpoint.name};{endpoint.namespace};{name};{revision};Kubernetes"
