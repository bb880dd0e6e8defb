"""Outbound listeners and what they share with inbound ones. FEED.md 3.2, 3.3."""

from collections.abc import Sequence
from typing import Final

from meshsdk.control_plane.shapes.clusters import METADATA_EXCHANGE, socket_address
from meshsdk.control_plane.shapes.tls import Json

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters"
_ALPN_OVERRIDES: Final = (
    {"alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
    {"alpn_override": ["istio-http/1.1", "istio", "http/1.1"], "upstream_protocol": "HTTP11"},
    {"alpn_override": ["istio-h2", "istio", "h2"], "upstream_protocol": "HTTP2"},
)


def outbound_listener(port: int, *, allow_any: bool) -> Json:
    """All HTTP services of a port, by RDS named after it; other protocols go to the default."""
    rest = "PassthroughCluster" if allow_any else "BlackHoleCluster"
    source: Json = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
    config: Json = {
        "http_filters": http_filters([], is_inbound=False),
        "rds": {"config_source": source, "route_config_name": str(port)},
        "stat_prefix": f"outbound_0.0.0.0_{port};",
    }
    match = {"application_protocols": ["http/1.1", "h2c"], "transport_protocol": "raw_buffer"}
    return {
        "address": socket_address("0.0.0.0", port),  # noqa: S104 - a name, nobody binds it
        "bind_to_port": False,
        "continue_on_listener_filters_timeout": True,
        "default_filter_chain": {
            "filter_chain_match": {},
            "filters": [tcp_proxy(rest)],
            "name": "PassthroughFilterChain",
        },
        "filter_chains": [
            {
                "filter_chain_match": match,
                "filters": [connection_manager(config)],
                "transport_socket_connect_timeout": "15s",
            }
        ],
        "listener_filters": [listener_filter("http_inspector", "HttpInspector")],
        "listener_filters_timeout": "0s",
        "name": f"0.0.0.0_{port}",
        "traffic_direction": "OUTBOUND",
    }


def virtual_outbound(*, allow_any: bool) -> Json:
    """Where addresses go that no other listener has."""
    rest = "PassthroughCluster" if allow_any else "BlackHoleCluster"
    return {
        "address": socket_address("0.0.0.0", 15001),  # noqa: S104 - a name, nobody binds it
        "filter_chains": [
            {
                "filter_chain_match": {"destination_port": 15001},
                "filters": [tcp_proxy("BlackHoleCluster")],
                "name": "virtualOutbound-blackhole",
            },
            {"filters": [tcp_proxy(rest)], "name": "virtualOutbound-catchall-tcp"},
        ],
        "max_connections_to_accept_per_socket_event": 1,
        "name": "virtualOutbound",
        "traffic_direction": "OUTBOUND",
        "use_original_dst": True,
    }


def connection_manager(config: Json) -> Json:
    """An HTTP connection manager with the settings that all of istiod's have."""
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
            "normalize_path": True,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "proxy_100_continue": True,
            "request_id_extension": {
                "typed_config": {
                    "@type": "type.googleapis.com/"
                    "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                    "use_request_id_for_trace_sampling": True,
                }
            },
            "stream_idle_timeout": "0s",
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "use_remote_address": False,
            **config,
        },
    }


def http_filters(policies: Sequence[Json], *, is_inbound: bool) -> list[Json]:
    """The filters of a connection manager in istiod's order; `policies` are RBAC filters."""
    config = f"{_FILTERS}.http"
    grpc_stats: Json = {
        "@type": f"{config}.grpc_stats.v3.FilterConfig",
        "emit_filter_state": True,
        "stats_for_all_methods": False,
    }
    alpn: Json = {
        "@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "alpn_override": list(_ALPN_OVERRIDES),
    }
    by_protocol: list[Json] = [] if is_inbound else [{"name": "istio.alpn", "typed_config": alpn}]
    return [
        {
            "name": "istio.metadata_exchange",
            "typed_config": {
                "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config",
                "value": _peer_metadata("downstream" if is_inbound else "upstream"),
            },
        },
        *policies,
        {"name": "envoy.filters.http.grpc_stats", "typed_config": grpc_stats},
        *by_protocol,
        {
            "name": "envoy.filters.http.fault",
            "typed_config": {"@type": f"{config}.fault.v3.HTTPFault"},
        },
        {"name": "envoy.filters.http.cors", "typed_config": {"@type": f"{config}.cors.v3.Cors"}},
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{config}.router.v3.Router"},
        },
    ]


def grpc_web() -> Json:
    """What makes gRPC of gRPC-Web."""
    message = f"{_FILTERS}.http.grpc_web.v3.GrpcWeb"
    return {"name": "envoy.filters.http.grpc_web", "typed_config": {"@type": message}}


def tcp_proxy(cluster: str) -> Json:
    """Bytes to a cluster."""
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{_FILTERS}.network.tcp_proxy.v3.TcpProxy",
            "cluster": cluster,
            "stat_prefix": cluster,
        },
    }


def with_metadata_exchange(*filters: Json) -> list[Json]:
    """The network filters of an inbound chain."""
    return [dict(METADATA_EXCHANGE), *filters]


def inbound_listener_filters() -> list[Json]:
    """Where the connection went, and whether it is TLS."""
    disabled = {"destination_port_range": {"end": 15007, "start": 15006}}
    return [
        listener_filter("original_dst", "OriginalDst"),
        {**tls_inspector(), "filter_disabled": disabled},
    ]


def tls_inspector() -> Json:
    """Whether it is TLS, and for which server name."""
    message = f"{_FILTERS}.listener.tls_inspector.v3.TlsInspector"
    return {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {"@type": message, "initial_read_buffer_size": 512},
    }


def listener_filter(name: str, message: str) -> Json:
    """A listener filter without settings."""
    return {
        "name": f"envoy.filters.listener.{name}",
        "typed_config": {"@type": f"{_FILTERS}.listener.{name}.v3.{message}"},
    }


def _peer_metadata(side: str) -> Json:
    return {
        f"{side}_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}],
        f"{side}_propagation": [{"istio_headers": {}}],
    }
