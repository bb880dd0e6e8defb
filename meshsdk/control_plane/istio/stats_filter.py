"""`istio.stats`, which makes Istio's metrics, where a provider of metrics is set."""

from typing import Final

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.telemetry import (
    MetricOverride,
    Metrics,
    Side,
    Telemetry,
    telemetry_of,
)
from meshsdk.control_plane.shapes.tls import Json

_PROMETHEUS: Final = "prometheus"
_NAMES: Final = {
    "REQUEST_COUNT": "requests_total",
    "REQUEST_DURATION": "request_duration_milliseconds",
    "REQUEST_SIZE": "request_bytes",
    "RESPONSE_SIZE": "response_bytes",
    "TCP_OPENED_CONNECTIONS": "tcp_connections_opened_total",
    "TCP_CLOSED_CONNECTIONS": "tcp_connections_closed_total",
    "TCP_SENT_BYTES": "tcp_sent_bytes_total",
    "TCP_RECEIVED_BYTES": "tcp_received_bytes_total",
    "GRPC_REQUEST_MESSAGES": "request_messages_total",
    "GRPC_RESPONSE_MESSAGES": "response_messages_total",
}


def stats_filter(config: Config, proxy: Proxy, side: Side) -> Json | None:
    """The filter of connection managers and TCP chains; None without Prometheus."""
    mesh = config.mesh
    documents = telemetry_of(config.loaded.all(Telemetry), proxy.workload, mesh.root_namespace)
    rules: list[Metrics] = []
    providers = mesh.default_providers.metrics
    for document in documents:
        names = [name for each in document.metrics for name in each.providers]
        providers = tuple(names) or providers
        rules += document.metrics
    kinds = {name: mesh.provider(name) for name in providers}
    if not any(
        name == _PROMETHEUS or (found is not None and found.type == _PROMETHEUS)
        for name, found in kinds.items()
    ):
        return None
    plugin: Json = {"@type": "type.googleapis.com/stats.PluginConfig"}
    metrics = [
        found
        for rule in rules
        for override in rule.overrides
        if side in override.sides
        for found in _metrics(override)
    ]
    if metrics:
        plugin["metrics"] = metrics
    intervals = [rule.reporting_interval for rule in rules if rule.reporting_interval is not None]
    if intervals:
        plugin["tcp_reporting_duration"] = seconds_text(intervals[-1])
    return {"name": "istio.stats", "typed_config": plugin}


def _metrics(override: MetricOverride) -> list[Json]:
    is_every = override.metric == "ALL_METRICS"
    names = list(_NAMES.values()) if is_every else [_NAMES.get(override.metric, override.metric)]
    found: list[Json] = []
    for name in names:
        metric: Json = {"name": name}
        if override.is_disabled:
            metric["drop"] = True
        dimensions = {
            tag.name: tag.expression for tag in override.tags if tag.expression is not None
        }
        removed = [tag.name for tag in override.tags if tag.expression is None]
        if dimensions:
            metric["dimensions"] = dimensions
        if removed:
            metric["tags_to_remove"] = removed
        found.append(metric)
    return found
