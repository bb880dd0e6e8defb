"""Istio-shaped configuration for the benchmarks: what a sidecar of one service would get."""

HCM = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
T = "type.googleapis.com/envoy.extensions."
CALLER = "spiffe://cluster.local/ns/shop/sa/client"
SERVER = "spiffe://cluster.local/ns/shop/sa/server"
Json = dict[str, object]


def _typed(name: str, message: str, **fields: object) -> Json:
    return {"name": name, "typed_config": {"@type": T + message, **fields}}


def policies(count: int) -> Json:
    """Policies in istiod's shape: one rule with from, to and when; only the last one matches."""
    found: Json = {}
    for i in range(count):
        last = i == count - 1
        principal = CALLER if last else f"spiffe://cluster.local/ns/team-{i}/sa/app-{i}"
        found[f"ns[shop]-policy[p{i:04}]-rule[0]"] = {
            "permissions": [
                {
                    "and_rules": {
                        "rules": [
                            {"or_rules": {"rules": [{"header": _exact(":method", "GET")}]}},
                            {"or_rules": {"rules": [{"url_path": {"path": {"prefix": "/item"}}}]}},
                        ]
                    }
                }
            ],
            "principals": [
                {
                    "and_ids": {
                        "ids": [
                            {"or_ids": {"ids": [_authenticated(principal)]}},
                            {"or_ids": {"ids": [{"header": _exact("x-tenant", "blue")}]}},
                        ]
                    }
                }
            ],
        }
    return found


def _exact(name: str, value: str) -> Json:
    return {"name": name, "string_match": {"exact": value}}


def _authenticated(uri: str) -> Json:
    return {"authenticated": {"principal_name": {"exact": uri}}}


def _hcm(routes: list[Json], filters: list[Json]) -> Json:
    router = _typed("envoy.filters.http.router", "filters.http.router.v3.Router")
    return {
        "name": "hcm",
        "typed_config": {
            "@type": HCM,
            "stat_prefix": "x",
            "normalize_path": True,
            "route_config": {
                "name": "r",
                "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}],
            },
            "http_filters": [*filters, router],
        },
    }


_SIDECAR_FILTERS = [
    _typed("envoy.filters.http.grpc_stats", "filters.http.grpc_stats.v3.FilterConfig"),
    _typed("envoy.filters.http.fault", "filters.http.fault.v3.HTTPFault"),
    _typed("envoy.filters.http.cors", "filters.http.cors.v3.Cors"),
]


def server(port: int, count: int = 20, filters: list[Json] | None = None) -> Json:
    """A STRICT port behind that many policies, or behind filters of the caller's."""
    rbac = _typed(
        "envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC", rules={"policies": policies(count)}
    )
    tls = _typed(
        "tls",
        "transport_sockets.tls.v3.DownstreamTlsContext",
        require_client_certificate=True,
        common_tls_context=_common(["h2", "http/1.1"], {"prefix": "spiffe://cluster.local/"}),
    )
    chain = {
        "filter_chain_match": {"destination_port": port, "transport_protocol": "tls"},
        "transport_socket": tls,
        "filters": [
            _hcm(
                [_to(f"inbound|{port}||", timeout="0s")], [*(filters or [rbac]), *_SIDECAR_FILTERS]
            )
        ],
    }
    listener = {
        "name": "virtualInbound",
        "traffic_direction": "INBOUND",
        "use_original_dst": True,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},
        "listener_filters": [_typed("tls", "filters.listener.tls_inspector.v3.TlsInspector")],
        "filter_chains": [chain],
    }
    return {"static_resources": {"listeners": [listener]}}


def client(port: int) -> Json:
    """An outbound port 80 whose one cluster has one mTLS endpoint."""
    retries = {
        "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
        "num_retries": 2,
        "retry_host_predicate": [
            _typed("p", "retry.host.previous_hosts.v3.PreviousHostsPredicate")
        ],
        "host_selection_retry_max_attempts": 5,
    }
    name = "outbound|80||server.shop.svc.cluster.local"
    endpoint = {
        "endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}},
        "metadata": {"filter_metadata": {"envoy.transport_socket_match": {"tlsMode": "istio"}}},
    }
    tls = _typed(
        "tls",
        "transport_sockets.tls.v3.UpstreamTlsContext",
        sni="outbound_.80_._.server.shop.svc.cluster.local",
        common_tls_context=_common(["istio-peer-exchange", "istio"], {"exact": SERVER}),
    )
    cluster = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "outlier_detection": {"consecutive_5xx": 5, "interval": "10s"},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": tls},
            {
                "name": "tlsMode-disabled",
                "match": {},
                "transport_socket": _typed("raw", "transport_sockets.raw_buffer.v3.RawBuffer"),
            },
        ],
    }
    listener = {
        "name": "0.0.0.0_80",
        "traffic_direction": "OUTBOUND",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "filter_chains": [
            {"filters": [_hcm([_to(name, timeout="0s", retry_policy=retries)], _SIDECAR_FILTERS)]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _to(cluster: str, **action: object) -> Json:
    return {"match": {"prefix": "/"}, "route": {"cluster": cluster, **action}}


def _common(alpn: list[str], san: Json) -> Json:
    return {
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": [{"name": "default"}],
        "combined_validation_context": {
            "default_validation_context": {"match_subject_alt_names": [san]},
            "validation_context_sds_secret_config": {"name": "ROOTCA"},
        },
    }
