"""Outbound clusters: every port and subset of every service in scope. FEED.md 3.6."""

import ipaddress
from collections.abc import Iterable
from typing import Final

from meshsdk.control_plane.istio.cluster_policy import (
    balancer_fields,
    connection_fields,
    http_protocol_options,
    is_http2,
    outlier_fields,
)
from meshsdk.control_plane.istio.cluster_tls import cluster_tls, is_original_dst
from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.destination_rule import DestinationRule, Subset
from meshsdk.control_plane.istio.endpoints import Slice, load_assignment, viewpoint
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.traffic_policy import TrafficPolicy
from meshsdk.control_plane.shapes.clusters import (
    METADATA_EXCHANGE,
    ads,
    black_hole_cluster,
    cluster_name,
    http_options,
    inbound_passthrough_cluster,
    passthrough_cluster,
)
from meshsdk.control_plane.shapes.tls import Json

_RESOLVER: Final[Json] = {
    "name": "envoy.network.dns_resolver.cares",
    "typed_config": {
        "@type": "type.googleapis.com/"
        "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "udp_max_queries": 100,
    },
}
_DNS_JITTER: Final = "0.100s"  # istiod's PILOT_DNS_JITTER_DURATION


def outbound_clusters(config: Config, proxy: Proxy, scope: Scope) -> dict[str, Json]:
    """The clusters of all that a node may call, and the three that go past the mesh."""
    found: dict[str, Json] = {}
    for service in scope.by_host.values():
        found |= _of_service(config, proxy, service)
    timeout = {"connect_timeout": seconds_text(config.mesh.connect_timeout)}
    for each in (passthrough_cluster(), inbound_passthrough_cluster(), black_hole_cluster()):
        found[str(each["name"])] = {**each, **timeout}
    return found


def _of_service(config: Config, proxy: Proxy, service: Service) -> dict[str, Json]:
    """The clusters of one service, made once for all nodes that see the same."""
    rule = config.destination_rule(service, proxy)
    is_inline = service.resolution in ("DNS", "DNS_ROUND_ROBIN")
    seen = (dns_family(proxy), *viewpoint(proxy)) if is_inline else ()
    key = ("clusters", proxy.type, id(service), id(rule), *seen)
    return config.remembered(key, service, lambda: dict(_made(config, proxy, service, rule)))


def _made(
    config: Config, proxy: Proxy, service: Service, rule: DestinationRule | None
) -> Iterable[tuple[str, Json]]:
    for part in slices(service, rule):
        cluster = _cluster(config, proxy, part)
        if cluster is not None:
            yield part.name, cluster


def slices(service: Service, rule: DestinationRule | None) -> Iterable[Slice]:
    """What a service has clusters for: each port, and each port of each subset."""
    if service.resolution == "DYNAMIC_DNS":  # istiod 1.29 sends a sidecar no clusters of these
        return
    subsets: tuple[Subset | None, ...] = (None, *(rule.subsets if rule else ()))
    for port in service.ports:
        if port.protocol == "UDP":
            continue
        for subset in subsets:
            policy = TrafficPolicy() if rule is None else rule.policy_of(port.number, subset)
            name = cluster_name(service.hostname, port.number, subset.name if subset else "")
            yield Slice(service, port, name, policy, rule, subset)


def is_eds(part: Slice) -> bool:
    """Whether endpoints come by EDS."""
    return part.service.resolution == "STATIC" and not is_original_dst(part.service, part.policy)


def _cluster(config: Config, proxy: Proxy, part: Slice) -> Json | None:
    service, port, policy = part.service, part.port, part.policy
    pool = policy.connection_pool
    http2 = is_http2(config.mesh, port, pool)
    is_router = proxy.type == "router"
    tls = cluster_tls(config, part, is_http2=http2, is_router=is_router)
    outlier, panic = outlier_fields(policy.outlier_detection)
    balancer, common = balancer_fields(service, policy)
    discovery = _discovery(config, proxy, part)
    if discovery is None:
        return None
    cluster: Json = {
        "alt_stat_name": f"{part.name};",
        "common_lb_config": {**panic, **common},
        "filters": [METADATA_EXCHANGE],
        "metadata": {"filter_metadata": {"istio": _metadata(part, is_foreign=tls.is_foreign)}},
        "name": part.name,
        **connection_fields(config.mesh, pool, policy.retry_budget),
        **outlier,
        **balancer,
        **discovery,
        **tls.fields,
    }
    options = http_protocol_options(port, pool, is_http2=http2, upstream=tls.http_options)
    if options is not None:
        cluster["typed_extension_protocol_options"] = http_options(options)
    return cluster


def _metadata(part: Slice, *, is_foreign: bool) -> Json:
    service = part.service
    found: Json = {
        "services": [
            {"host": service.hostname, "name": service.name, "namespace": service.namespace}
        ]
    }
    if part.rule is not None:
        found["config"] = part.rule.config
    if part.subset is not None:
        found["subset"] = part.subset.name
    if service.is_external:
        found["external"] = True
    if is_foreign:
        found["alpn_override"] = "false"
    return found


def _discovery(config: Config, proxy: Proxy, part: Slice) -> Json | None:
    """Where endpoints come from; None where there is nobody to resolve."""
    if is_original_dst(part.service, part.policy):
        return {"type": "ORIGINAL_DST"}
    if is_eds(part):
        source: Json = {"eds_config": ads(), "service_name": part.name}
        return {"type": "EDS", "eds_cluster_config": source}
    assignment = load_assignment(config, proxy, part)
    if not assignment.get("endpoints"):
        return None
    is_round_robin = part.service.resolution == "DNS_ROUND_ROBIN"
    return {
        "type": "LOGICAL_DNS" if is_round_robin else "STRICT_DNS",
        "dns_jitter": _DNS_JITTER,
        "dns_lookup_family": dns_family(proxy),
        "dns_refresh_rate": seconds_text(config.mesh.dns_refresh_rate),
        "load_assignment": assignment,
        "respect_dns_ttl": True,
        "typed_dns_resolver_config": _RESOLVER,
    }


def dns_family(proxy: Proxy) -> str:
    """The families of addresses that a node can use: those that it has itself."""
    versions = {ipaddress.ip_address(each).version for each in proxy.addresses}
    if versions == {4, 6}:
        return "ALL"
    return "V6_ONLY" if versions == {6} else "V4_ONLY"
