"""Clusters and load assignments. FEED.md 3.6, 3.7."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from meshsdk.control_plane.shapes.tls import Json, raw_buffer, upstream_tls

METADATA_EXCHANGE: Final = {
    "name": "istio.metadata_exchange",
    "typed_config": {
        "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
        "value": {"enable_discovery": True, "protocol": "istio-peer-exchange"},
    },
}
HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NO_LIMIT: Final = 4294967295  # istiod's "unset"


def cluster_name(host: str, port: int, subset: str = "") -> str:
    """The name of a service's cluster; `port` is the service's."""
    return f"outbound|{port}|{subset}|{host}"


def eds_cluster(
    host: str,
    port: int,
    *,
    accounts: Sequence[str],
    subset: str = "",
    outlier_detection: Mapping[str, object] | None = None,
    max_connections: int = NO_LIMIT,
    http_protocol_options: Mapping[str, object] | None = None,
    config: str = "",
) -> Json:
    """A service of the mesh with auto-mTLS: an endpoint says whether it speaks it.

    `accounts`: SPIFFE IDs; `config`: the DestinationRule that shaped it.
    """
    name, namespace = cluster_name(host, port, subset), host.split(".")[1]
    sni = name.replace("|", "_.")
    istio: Json = {"services": [{"host": host, "name": host, "namespace": namespace}]}
    istio |= {"config": config} if config else {}
    istio |= {"subset": subset} if subset else {}
    cluster: Json = {
        "alt_stat_name": f"{name};",
        "circuit_breakers": thresholds(max_connections),
        "common_lb_config": {"healthy_panic_threshold": {}} if outlier_detection else {},
        "connect_timeout": "10s",
        "eds_cluster_config": {"eds_config": ads(), "service_name": name},
        "filters": [METADATA_EXCHANGE],
        "lb_policy": "LEAST_REQUEST",
        "metadata": {"filter_metadata": {"istio": istio}},
        "name": name,
        "transport_socket_matches": [
            {
                "match": {"tlsMode": "istio"},
                "name": "tlsMode-istio",
                "transport_socket": upstream_tls(sni, accounts),
            },
            {"match": {}, "name": "tlsMode-disabled", "transport_socket": raw_buffer()},
        ],
        "type": "EDS",
    }
    if outlier_detection:
        cluster["outlier_detection"] = dict(outlier_detection)
    if http_protocol_options:
        cluster["typed_extension_protocol_options"] = http_options(http_protocol_options)
    return cluster


def load_assignment(
    name: str, endpoints: Iterable[tuple[str, int]], *, has_mtls: bool = True, workload: str = ""
) -> Json:
    """The endpoints of a cluster, (address, port), in one locality."""
    metadata: Json = {"envoy.transport_socket_match": {"tlsMode": "istio"}} if has_mtls else {}
    if workload:
        metadata["istio"] = {"workload": workload}
    found = [
        {
            "endpoint": {"address": socket_address(address, port)},
            "load_balancing_weight": 1,
            **({"metadata": {"filter_metadata": metadata}} if metadata else {}),
        }
        for address, port in endpoints
    ]
    locality: Json = {"lb_endpoints": found, "load_balancing_weight": len(found), "locality": {}}
    return {"cluster_name": name, "endpoints": [locality] if found else []}


def inbound_cluster(port: int, host: str = "") -> Json:
    """The application itself, behind its own port; `host`: the service that it serves."""
    metadata: Json = {}
    if host:
        services = [{"host": host, "name": host, "namespace": host.split(".")[1]}]
        metadata = {"metadata": {"filter_metadata": {"istio": {"services": services}}}}
    return {
        **metadata,
        "alt_stat_name": f"inbound|{port}||;",
        "circuit_breakers": thresholds(),
        "cleanup_interval": "9223372035s",
        "common_lb_config": {},
        "connect_timeout": "10s",
        "lb_policy": "CLUSTER_PROVIDED",
        "name": f"inbound|{port}||",
        "type": "ORIGINAL_DST",
        "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}},
    }


def passthrough_cluster() -> Json:
    """What the application dialled."""
    return {**_original_dst("PassthroughCluster"), "filters": [METADATA_EXCHANGE]}


def inbound_passthrough_cluster() -> Json:
    """An own port that no service has."""
    bind = {"source_address": {"address": "127.0.0.6", "port_value": 0}}
    return {**_original_dst("InboundPassthroughCluster"), "upstream_bind_config": bind}


def black_hole_cluster() -> Json:
    """Nowhere."""
    return {
        "alt_stat_name": "BlackHoleCluster;",
        "connect_timeout": "10s",
        "name": "BlackHoleCluster",
        "type": "STATIC",
    }


def socket_address(address: str, port: int) -> Json:
    """A `config.core.v3.Address`; `unix:///path` is one too."""
    if address.startswith("unix://"):
        return {"pipe": {"path": address.removeprefix("unix://")}}
    return {"socket_address": {"address": address, "port_value": port}}


def _original_dst(name: str) -> Json:
    options: Json = {
        "common_http_protocol_options": {"idle_timeout": "300s"},
        "use_downstream_protocol_config": {
            "http2_protocol_options": {},
            "http_protocol_options": {},
        },
    }
    return {
        "alt_stat_name": "PassthroughCluster;",
        "circuit_breakers": thresholds(),
        "connect_timeout": "10s",
        "lb_policy": "CLUSTER_PROVIDED",
        "name": name,
        "type": "ORIGINAL_DST",
        "typed_extension_protocol_options": http_options(options),
    }


def http_options(options: Mapping[str, object]) -> Json:
    """HttpProtocolOptions as a cluster has them."""
    return {HTTP_OPTIONS: {"@type": f"type.googleapis.com/{HTTP_OPTIONS}", **options}}


def thresholds(
    max_connections: int = NO_LIMIT,
    max_pending_requests: int = NO_LIMIT,
    max_requests: int = NO_LIMIT,
    max_retries: int = NO_LIMIT,
) -> Json:
    """Circuit breakers."""
    limits = {
        "max_connections": max_connections,
        "max_pending_requests": max_pending_requests,
        "max_requests": max_requests,
        "max_retries": max_retries,
    }
    return {"thresholds": [limits]}


def ads() -> Json:
    """The same stream, without a clock."""
    return {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
