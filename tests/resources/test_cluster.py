"""Clusters."""

import pytest

from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.headers import Headers
from meshsdk.call.message import Response
from meshsdk.errors import ConfigError
from meshsdk.lb_policies.least_request import LeastRequest
from meshsdk.lb_policies.maglev import Maglev
from meshsdk.lb_policies.round_robin import RoundRobin
from meshsdk.resources.circuit_breakers import RetryBudget
from meshsdk.resources.cluster import Cluster, DiscoveryType
from tests.lb_policies.clusters import cluster_config, group, lb_endpoint, parse_cluster

EDS: dict[str, object] = {"eds_config": {"ads": {}}}
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
POLICIES = "type.googleapis.com/envoy.extensions.load_balancing_policies"
TLS_URL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
RAW = {
    "name": "raw",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    },
}


def tls(sni: str) -> dict[str, object]:
    context: dict[str, object] = {"@type": TLS_URL, "sni": sni, "common_tls_context": {}}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def cluster(**fields: object) -> Cluster:
    return parse_cluster({"name": "c", **fields})


def http(**options: object) -> dict[str, object]:
    return {HTTP: {"@type": f"type.googleapis.com/{HTTP}", **options}}


def policy(name: str, **fields: object) -> dict[str, object]:
    config = {"@type": f"{POLICIES}.{name}", **fields}
    return {"policies": [{"typed_extension_config": {"name": "x", "typed_config": config}}]}


def test_a_bare_name_is_a_static_cluster_with_envoys_defaults() -> None:
    found = cluster()

    assert found.type is DiscoveryType.STATIC
    assert found.load_assignment is not None and found.load_assignment.endpoints == ()
    assert found.connect_timeout == 5.0
    assert found.lb_policy == RoundRobin()
    assert found.common_lb.healthy_panic_threshold == 50
    assert found.circuit_breakers.default.max_requests == 1024
    assert found.circuit_breakers.default.max_retries == 3
    assert found.outlier_detection is None
    assert found.http.protocol == "http1"
    assert found.not_built == ()


def test_an_eds_cluster_subscribes_by_service_name_or_its_own() -> None:
    assert cluster(type="EDS", eds_cluster_config=EDS).eds_name == "c"
    assert cluster(type="EDS", eds_cluster_config={**EDS, "service_name": "s"}).eds_name == "s"


def test_dns_clusters_keep_names() -> None:
    names = {"address": "a.example", "port_value": 80}
    endpoint = {"endpoint": {"address": {"socket_address": names}}}

    found = parse_cluster(
        cluster_config(
            group(endpoint),
            type="STRICT_DNS",
            respect_dns_ttl=True,
            dns_refresh_rate="60s",
            dns_lookup_family="V4_ONLY",
        )
    )

    assert found.load_assignment is not None
    assert found.load_assignment.endpoints[0].address.host == "a.example"
    assert (found.dns.refresh_rate, found.dns.respect_ttl) == (60.0, True)
    assert found.dns.lookup_family == "V4_ONLY"


def test_the_dns_extension_is_both_kinds_of_dns_cluster() -> None:
    url = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"
    names = {"endpoint": {"address": {"socket_address": {"address": "a.example", "port_value": 1}}}}
    assignment = {"cluster_name": "c", "endpoints": [group(names)]}

    def found(**fields: object) -> DiscoveryType:
        kind = {"name": "envoy.clusters.dns", "typed_config": {"@type": url, **fields}}
        return cluster(cluster_type=kind, load_assignment=assignment).type

    assert found() is DiscoveryType.STRICT_DNS
    assert found(all_addresses_in_single_endpoint=True) is DiscoveryType.LOGICAL_DNS


def test_an_original_dst_cluster_may_read_a_header_and_override_the_port() -> None:
    config = {"use_http_header": True, "http_header_name": "X-To", "upstream_port_override": 8}

    found = cluster(
        type="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", original_dst_lb_config=config
    )

    assert found.lb_policy is None
    assert found.original_dst.http_header == "x-to"
    assert found.original_dst.port_override == 8


def test_an_endpoints_metadata_chooses_its_socket() -> None:
    found = cluster(
        transport_socket_matches=[
            {"name": "mtls", "match": {"tlsMode": "istio"}, "transport_socket": tls("a")},
            {"name": "plain", "match": {}, "transport_socket": RAW},
        ],
        transport_socket=tls("b"),
    )

    mtls = found.socket_for({"envoy.transport_socket_match": {"tlsMode": "istio", "x": 1}})

    assert mtls is not None and mtls.sni == "a"
    assert found.socket_for({"envoy.transport_socket_match": {"tlsMode": "off"}}) is None
    assert found.socket_for(NO_METADATA) is None


def test_without_a_match_the_clusters_own_socket_is_used() -> None:
    one = {"name": "m", "match": {"tlsMode": "istio"}, "transport_socket": tls("a")}
    found = cluster(transport_socket_matches=[one], transport_socket=tls("b"))

    fallback = found.socket_for(NO_METADATA)

    assert fallback is not None and fallback.sni == "b"


@pytest.mark.parametrize(
    ("options", "protocol"),
    [
        ({"explicit_http_config": {"http_protocol_options": {}}}, "http1"),
        ({"explicit_http_config": {"http2_protocol_options": {}}}, "h2"),
        ({"use_downstream_protocol_config": {"http2_protocol_options": {}}}, "downstream"),
        ({"auto_config": {}}, "auto"),
    ],
)
def test_protocol_options_say_which_http_is_spoken(
    options: dict[str, object], protocol: str
) -> None:
    assert cluster(typed_extension_protocol_options=http(**options)).http.protocol == protocol


def test_connections_have_their_limits() -> None:
    common = {
        "idle_timeout": "60s",
        "max_connection_duration": "300s",
        "max_requests_per_connection": 100,
    }
    options = http(
        explicit_http_config={"http2_protocol_options": {"max_concurrent_streams": 7}},
        common_http_protocol_options=common,
        upstream_http_protocol_options={"auto_sni": True, "auto_san_validation": True},
    )

    found = cluster(typed_extension_protocol_options=options).http

    assert (found.idle_timeout, found.max_connection_duration) == (60.0, 300.0)
    assert (found.max_requests_per_connection, found.max_concurrent_streams) == (100, 7)
    assert found.auto_sni and found.auto_san_validation


def test_the_old_http2_field_still_means_http2() -> None:
    assert cluster(http2_protocol_options={}).http.protocol == "h2"


def test_an_idle_timeout_of_zero_is_none() -> None:
    options = http(
        explicit_http_config={"http_protocol_options": {}},
        common_http_protocol_options={"idle_timeout": "0s"},
    )

    assert cluster(typed_extension_protocol_options=options).http.idle_timeout is None


def test_an_error_matcher_says_what_a_failure_is() -> None:
    header = {"name": ":status", "string_match": {"exact": "429"}}
    matcher = {"not_match": {"not_match": {"http_response_headers_match": {"headers": [header]}}}}
    options = http(
        explicit_http_config={"http_protocol_options": {}},
        outlier_detection={"error_matcher": matcher},
    )

    is_error = cluster(typed_extension_protocol_options=options).http.is_error

    assert is_error is not None
    assert is_error(Response(429, Headers()))
    assert not is_error(Response(503, Headers()))


def test_breakers_of_one_priority_are_the_first_ones() -> None:
    thresholds = [
        {"max_requests": 0, "max_retries": 4294967295},
        {"max_requests": 5},
        {"priority": "HIGH", "retry_budget": {"min_retry_concurrency": 7}},
    ]

    found = cluster(circuit_breakers={"thresholds": thresholds}).circuit_breakers

    assert found.of("DEFAULT").max_requests == 0
    assert found.of("DEFAULT").max_retries == 4294967295
    assert found.of("HIGH").retry_budget == RetryBudget(20.0, 7)


def test_an_empty_panic_threshold_is_zero() -> None:
    found = cluster(common_lb_config={"healthy_panic_threshold": {}})

    assert found.common_lb.healthy_panic_threshold == 0


def test_old_and_new_policy_fields_say_the_same() -> None:
    old = cluster(
        lb_policy="LEAST_REQUEST",
        least_request_lb_config={"choice_count": 4},
        common_lb_config={"locality_weighted_lb_config": {}},
    )
    new = cluster(
        lb_policy="MAGLEV",
        load_balancing_policy=policy(
            "least_request.v3.LeastRequest",
            choice_count=4,
            locality_lb_config={"locality_weighted_lb_config": {}},
        ),
    )

    assert old.lb_policy == new.lb_policy == LeastRequest(choice_count=4, locality_weighted=True)


def test_the_first_known_policy_of_a_list_counts() -> None:
    url = f"{POLICIES}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"
    configs = [{"@type": url}, {"@type": f"{POLICIES}.maglev.v3.Maglev", "table_size": 251}]
    policies = [{"typed_extension_config": {"name": "x", "typed_config": c}} for c in configs]

    found = cluster(load_balancing_policy={"policies": policies}).lb_policy

    assert isinstance(found, Maglev) and found.size == 251


def test_istio_metadata_exchange_is_ignored_and_other_filters_are_reported() -> None:
    exchange = {
        "name": "istio.metadata_exchange",
        "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
        },
    }
    other = {"name": "x", "typed_config": {"@type": "type.googleapis.com/a.b.C"}}

    assert cluster(filters=[exchange]).not_built == ()
    assert cluster(filters=[exchange, other]).not_built == ("cluster.filters[1] (x)",)


def test_traffic_fields_without_code_are_reported_by_name() -> None:
    check = {"timeout": "1s", "interval": "1s"}

    assert cluster(health_checks=[check]).not_built == ("cluster.health_checks",)


STATIC: dict[str, object] = {
    "load_assignment": {"cluster_name": "c", "endpoints": [group(lb_endpoint(1))]}
}
ORIGINAL: dict[str, object] = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
# Each was refused by a running Envoy 1.40.
REFUSED: list[tuple[str, dict[str, object]]] = [
    ("name", {"name": ""}),
    ("connect_timeout", {"connect_timeout": "0s"}),
    ("eds_cluster_config", {"type": "EDS"}),
    ("eds_cluster_config", {"eds_cluster_config": EDS}),
    ("lb_policy", {"type": "ORIGINAL_DST"}),
    ("lb_policy", {"lb_policy": "CLUSTER_PROVIDED"}),
    ("load_assignment", {**ORIGINAL, **STATIC}),
    (
        "original_dst_lb_config.upstream_port_override",
        {**ORIGINAL, "original_dst_lb_config": {"upstream_port_override": 70000}},
    ),
    (
        "original_dst_lb_config.http_header_name",
        {**ORIGINAL, "original_dst_lb_config": {"http_header_name": "x"}},
    ),
    ("load_assignment", {"type": "LOGICAL_DNS"}),
    ("dns_refresh_rate", {"type": "STRICT_DNS", "dns_refresh_rate": "0s"}),
    ("cluster_type", {"cluster_type": {"name": "envoy.clusters.aggregate"}}),
    (
        "maglev_lb_config.table_size",
        {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 65536}},
    ),
    (
        "ring_hash_lb_config.minimum_ring_size",
        {
            "lb_policy": "RING_HASH",
            "ring_hash_lb_config": {"minimum_ring_size": 9, "maximum_ring_size": 8},
        },
    ),
    (
        "least_request_lb_config.choice_count",
        {"lb_policy": "LEAST_REQUEST", "least_request_lb_config": {"choice_count": 1}},
    ),
    ("load_balancing_policy", {"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}),
    ("load_balancing_policy.policies", {"load_balancing_policy": {"policies": []}}),
    (
        "common_lb_config.healthy_panic_threshold.value",
        {"common_lb_config": {"healthy_panic_threshold": {"value": 150}}},
    ),
    (
        "common_lb_config",
        {"common_lb_config": {"zone_aware_lb_config": {}, "locality_weighted_lb_config": {}}},
    ),
    (
        "common_lb_config.consistent_hashing_lb_config.use_hostname_for_hashing",
        {"common_lb_config": {"consistent_hashing_lb_config": {"use_hostname_for_hashing": True}}},
    ),
    (
        "circuit_breakers.per_host_thresholds[0].max_requests",
        {"circuit_breakers": {"per_host_thresholds": [{"max_requests": 1}]}},
    ),
    (
        "circuit_breakers.thresholds[0].retry_budget.budget_percent.value",
        {
            "circuit_breakers": {
                "thresholds": [{"retry_budget": {"budget_percent": {"value": 150}}}]
            }
        },
    ),
    ("outlier_detection.max_ejection_time", {"outlier_detection": {"max_ejection_time": "1s"}}),
    (
        "outlier_detection.max_ejection_percent",
        {"outlier_detection": {"max_ejection_percent": 101}},
    ),
    ("outlier_detection.interval", {"outlier_detection": {"interval": "0s"}}),
    (
        "transport_socket_matches[0].name",
        {"transport_socket_matches": [{"match": {}, "transport_socket": RAW}]},
    ),
    (
        "transport_socket_matches[0].transport_socket",
        {"transport_socket_matches": [{"name": "a", "match": {}}]},
    ),
    (f"typed_extension_protocol_options[{HTTP}]", {"typed_extension_protocol_options": http()}),
    (
        "lb_subset_config.subset_selectors[0].fallback_keys_subset",
        {
            "lb_subset_config": {
                "subset_selectors": [
                    {"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["a"]}
                ]
            }
        },
    ),
]


@pytest.mark.parametrize(("path", "fields"), REFUSED)
def test_what_envoy_refuses_is_refused_with_its_path(path: str, fields: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refusal:
        cluster(**fields)

    assert refusal.value.path.removeprefix("cluster.") == path
