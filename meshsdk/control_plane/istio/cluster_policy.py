"""What a traffic policy says in a cluster: limits, outlier detection, load balancing."""

from typing import Final

from meshsdk.control_plane.istio.cluster_tls import is_original_dst
from meshsdk.control_plane.istio.connection_pool import (
    ConnectionPool,
    Keepalive,
    OutlierDetection,
)
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.load_balancer import LoadBalancer, Warmup
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.services import Service, ServicePort
from meshsdk.control_plane.istio.traffic_policy import TrafficPolicy
from meshsdk.control_plane.shapes.clusters import NO_LIMIT, thresholds
from meshsdk.control_plane.shapes.tls import Json

_SLOW_START_KEY: Final = "("  # what istiod 1.29 sends as the runtime key of its aggression


def connection_fields(
    mesh: MeshConfig, pool: ConnectionPool | None, budget: tuple[float, int] | None = None
) -> Json:
    """Circuit breakers, connect timeout, keepalive."""
    pool = pool or ConnectionPool()
    timeout = mesh.connect_timeout if pool.connect_timeout is None else pool.connect_timeout
    limits = thresholds(
        pool.max_connections or NO_LIMIT,
        pool.max_pending_requests or NO_LIMIT,
        pool.max_requests or NO_LIMIT,
        pool.max_retries or NO_LIMIT,
    )
    if budget is not None:
        found = limits["thresholds"]
        assert isinstance(found, list)
        found[0]["retry_budget"] = {
            "budget_percent": {"value": budget[0]} if budget[0] else {},
            "min_retry_concurrency": budget[1],
        }
    fields: Json = {"circuit_breakers": limits, "connect_timeout": seconds_text(timeout)}
    every = [each for each in (mesh.keepalive, pool.keepalive) if each is not None]
    if every:
        merged = {name: value for each in every for name, value in _keepalive(each).items()}
        fields["upstream_connection_options"] = {"tcp_keepalive": merged}
    return fields


def _keepalive(keepalive: Keepalive) -> Json:
    values = {
        "keepalive_probes": keepalive.probes,
        "keepalive_time": int(keepalive.time),
        "keepalive_interval": int(keepalive.interval),
    }
    return {name: value for name, value in values.items() if value}


def is_http2(mesh: MeshConfig, port: ServicePort, pool: ConnectionPool | None) -> bool:
    """Whether a cluster speaks HTTP/2 only: declared, or upgraded. Source: istiod,
    shouldH2Upgrade."""
    if port.is_http2:
        return True
    if not port.is_http or (pool is not None and pool.use_client_protocol):
        return False
    upgrade = "DEFAULT" if pool is None else pool.h2_upgrade
    if upgrade == "DEFAULT":
        return mesh.h2_upgrade_policy == "UPGRADE"
    return upgrade == "UPGRADE"


def http_protocol_options(
    port: ServicePort,
    pool: ConnectionPool | None,
    *,
    is_http2: bool,
    upstream: Json | None = None,
) -> Json | None:
    """HttpProtocolOptions; None where Envoy's defaults (HTTP/1.1) are what is meant."""
    pool = pool or ConnectionPool()
    common: Json = {}
    idle = pool.http_idle_timeout or pool.tcp_idle_timeout
    if idle is not None:
        common["idle_timeout"] = seconds_text(idle)
    if pool.max_requests_per_connection:
        common["max_requests_per_connection"] = pool.max_requests_per_connection
    if pool.max_connection_duration is not None:
        common["max_connection_duration"] = seconds_text(pool.max_connection_duration)
    has_common = common or pool.max_concurrent_streams
    options: Json = {"common_http_protocol_options": common} if has_common else {}
    if upstream:
        options["upstream_http_protocol_options"] = upstream
    streams = pool.max_concurrent_streams
    h2: Json = {"max_concurrent_streams": streams} if streams else {}
    if is_http2:
        options["explicit_http_config"] = {"http2_protocol_options": h2}
    elif port.is_auto or pool.use_client_protocol:
        options["use_downstream_protocol_config"] = {
            "http2_protocol_options": {},
            "http_protocol_options": {},
        }
    elif options:
        options["explicit_http_config"] = {"http_protocol_options": {}}
    return options or None


def outlier_fields(outlier: OutlierDetection | None) -> tuple[Json, Json]:
    """`outlier_detection` and what it adds to `common_lb_config`."""
    if outlier is None:
        return {}, {}
    found: Json = {"enforcing_success_rate": 0}
    if outlier.errors_5xx is not None:
        found["consecutive_5xx"] = outlier.errors_5xx
        found["enforcing_consecutive_5xx"] = 100 if outlier.errors_5xx else 0
    if outlier.gateway_errors is not None:
        found["consecutive_gateway_failure"] = outlier.gateway_errors
        found["enforcing_consecutive_gateway_failure"] = 100 if outlier.gateway_errors else 0
    if outlier.interval is not None:
        found["interval"] = seconds_text(outlier.interval)
    if outlier.base_ejection_time is not None:
        found["base_ejection_time"] = seconds_text(outlier.base_ejection_time)
    if outlier.max_ejection_percent:
        found["max_ejection_percent"] = outlier.max_ejection_percent
    if outlier.split_local_origin:
        found["split_external_local_origin_errors"] = True
        if outlier.local_origin_failures:
            found["consecutive_local_origin_failure"] = outlier.local_origin_failures
            found["enforcing_consecutive_local_origin_failure"] = 100
        found["enforcing_local_origin_success_rate"] = 0
    # Few endpoints are the rule: no panic unless it is asked for.
    percent = outlier.min_health_percent
    panic: Json = {"value": float(percent)} if percent else {}
    return {"outlier_detection": found}, {"healthy_panic_threshold": panic}


def balancer_fields(service: Service, policy: TrafficPolicy) -> tuple[Json, Json]:
    """The fields of load balancing, and what they add to `common_lb_config`."""
    balancer = policy.load_balancer or LoadBalancer()
    common: Json = {}
    if balancer.locality is not None and balancer.locality.is_enabled:
        common["locality_weighted_lb_config"] = {}
    if is_original_dst(service, policy):
        return {"lb_policy": "CLUSTER_PROVIDED"}, {}
    hashing = balancer.consistent_hash
    if hashing is not None and hashing.is_maglev:
        fields: Json = {"lb_policy": "MAGLEV"}
        if hashing.table_size:
            fields["maglev_lb_config"] = {"table_size": hashing.table_size}
        return fields, common
    if hashing is not None:
        ring = {"minimum_ring_size": str(hashing.minimum_ring_size)}
        return {"lb_policy": "RING_HASH", "ring_hash_lb_config": ring}, common
    return _simple(balancer), common


def _simple(balancer: LoadBalancer) -> Json:
    slow: Json = {}
    if balancer.warmup is not None:
        slow = {"slow_start_config": _slow_start(balancer.warmup)}
    match balancer.simple:
        case "ROUND_ROBIN":  # the enum's zero
            return {"round_robin_lb_config": slow} if slow else {}
        case "RANDOM":
            return {"lb_policy": "RANDOM"}
        case _:
            fields: Json = {"lb_policy": "LEAST_REQUEST"}
            return {**fields, "least_request_lb_config": slow} if slow else fields


def _slow_start(warmup: Warmup) -> Json:
    found: Json = {"slow_start_window": seconds_text(warmup.duration)}
    if warmup.aggression is not None:
        found["aggression"] = {
            "default_value": warmup.aggression,
            "runtime_key": _SLOW_START_KEY,
        }
    if warmup.minimum_percent is not None:
        percent = warmup.minimum_percent
        found["min_weight_percent"] = {"value": percent} if percent else {}
    return found
