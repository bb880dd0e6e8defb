"""What becomes of each field of a Cluster and of its small messages."""

from typing import Final

from meshsdk.config.fields import MessageTable, honoured, ignored, not_built
from meshsdk.resources import (
    circuit_breakers,
    error_matcher,
    http_protocol_options,
    outlier_detection,
)

CLUSTER: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster",
    honoured(
        "name",
        "alt_stat_name",
        "type",
        "cluster_type",
        "eds_cluster_config",
        "connect_timeout",
        "lb_policy",
        "load_assignment",
        "circuit_breakers",
        "outlier_detection",
        "upstream_http_protocol_options",
        "common_http_protocol_options",
        "http_protocol_options",
        "http2_protocol_options",
        "typed_extension_protocol_options",
        "protocol_selection",
        "max_requests_per_connection",
        "dns_refresh_rate",
        "dns_failure_refresh_rate",
        "respect_dns_ttl",
        "dns_lookup_family",
        "dns_jitter",
        "lb_subset_config",
        "ring_hash_lb_config",
        "maglev_lb_config",
        "original_dst_lb_config",
        "least_request_lb_config",
        "round_robin_lb_config",
        "common_lb_config",
        "load_balancing_policy",
        "transport_socket",
        "transport_socket_matches",
        "metadata",
        "filters",
        "upstream_connection_options",
    )
    | {
        "health_checks": not_built("active health checks"),
        "upstream_config": not_built("connection pools of another kind (TCP or UDP tunnels)"),
        "per_connection_buffer_limit_bytes": ignored("back-pressure is the transport's own"),
        "dns_resolvers": ignored("names are resolved by the machine"),
        "dns_resolution_config": ignored("names are resolved by the machine"),
        "typed_dns_resolver_config": ignored("names are resolved by the machine"),
        "use_tcp_for_dns_lookups": ignored("names are resolved by the machine"),
        "wait_for_warm_on_init": ignored("every cluster is waited for"),
        "cleanup_interval": ignored("memory of original destinations is bounded by size"),
        "upstream_bind_config": ignored("the source address is the machine's choice"),
        "close_connections_on_host_health_failure": ignored("an ejected host gets no new call"),
        "ignore_health_on_host_removal": ignored("a removed host goes at once"),
        "lrs_server": ignored("load reports"),
        "lrs_report_endpoint_metrics": ignored("load reports"),
        "track_timeout_budgets": ignored("statistics"),
        "stats_matcher": ignored("statistics"),
        "per_connection_buffer_high_watermark_timeout": ignored(
            "back-pressure is the transport's own"
        ),
        "queuing_policies": not_built("queues of the cluster's own"),
        "transport_socket_matcher": not_built("transport sockets by a matcher tree"),
        "track_cluster_stats": ignored("statistics"),
        "preconnect_policy": ignored("connections are opened when they are needed"),
        "connection_pool_per_downstream_connection": ignored("the application has no connection"),
    },
)
EDS: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster.EdsClusterConfig",
    honoured("service_name") | {"eds_config": ignored("endpoints come over the same ADS stream")},
)
COMMON_LB: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster.CommonLbConfig",
    honoured(
        "healthy_panic_threshold",
        "zone_aware_lb_config",
        "locality_weighted_lb_config",
        "consistent_hashing_lb_config",
        "override_host_status",
    )
    | {
        "update_merge_window": ignored("tuning"),
        "ignore_new_hosts_until_first_hc": ignored("there are no active health checks"),
        "close_connections_on_host_set_change": ignored("connections to removed hosts are drained"),
    },
)
ZONE_AWARE: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig",
    honoured("fail_traffic_on_panic")
    | {
        "routing_enabled": ignored("needs a local cluster, which a library does not have"),
        "min_cluster_size": ignored("needs a local cluster, which a library does not have"),
    },
)
ORIGINAL_DST: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster.OriginalDstLbConfig",
    honoured("use_http_header", "http_header_name", "upstream_port_override")
    | {"metadata_key": not_built("original destinations from request metadata")},
)
SOCKET_MATCH: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster.TransportSocketMatch",
    honoured("name", "match", "transport_socket"),
    security=True,
)
CONNECTION: Final = MessageTable(
    "envoy.config.cluster.v3.UpstreamConnectionOptions",
    honoured("tcp_keepalive")
    | {
        "set_local_interface_name_on_upstream_connections": ignored("telemetry"),
        "happy_eyeballs_config": ignored("tuning of dialling"),
    },
)
KEEPALIVE: Final = MessageTable(
    "envoy.config.core.v3.TcpKeepalive",
    honoured("keepalive_probes", "keepalive_time", "keepalive_interval"),
)
CUSTOM_TYPE: Final = MessageTable(
    "envoy.config.cluster.v3.Cluster.CustomClusterType", honoured("name", "typed_config")
)
DNS_CLUSTER: Final = MessageTable(
    "envoy.extensions.clusters.dns.v3.DnsCluster",
    honoured(
        "dns_refresh_rate",
        "dns_failure_refresh_rate",
        "respect_dns_ttl",
        "dns_jitter",
        "dns_lookup_family",
        "all_addresses_in_single_endpoint",
    )
    | {
        "typed_dns_resolver_config": ignored("names are resolved by the machine"),
        "dns_min_refresh_rate": ignored("tuning"),
    },
)
LB_POLICY: Final = MessageTable("envoy.config.cluster.v3.LoadBalancingPolicy", honoured("policies"))
LB_POLICY_ENTRY: Final = MessageTable(
    "envoy.config.cluster.v3.LoadBalancingPolicy.Policy",
    honoured("typed_extension_config"),
)
TABLES: Final = (
    CLUSTER,
    EDS,
    COMMON_LB,
    ZONE_AWARE,
    ORIGINAL_DST,
    SOCKET_MATCH,
    CONNECTION,
    KEEPALIVE,
    CUSTOM_TYPE,
    DNS_CLUSTER,
    LB_POLICY,
    LB_POLICY_ENTRY,
    *circuit_breakers.TABLES,
    *error_matcher.TABLES,
    *http_protocol_options.TABLES,
    *outlier_detection.TABLES,
)
