"""The tracing block of connection managers, which is there without a provider too. Source: istiod,
tracing.go."""

from collections.abc import Mapping
from typing import Final, cast

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.extension_providers import ExtensionProvider
from meshsdk.control_plane.istio.provider_cluster import provider_cluster
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.proxy_settings import proxy_settings
from meshsdk.control_plane.istio.spec_fields import seconds_of
from meshsdk.control_plane.istio.telemetry import (
    CustomTag,
    Side,
    Telemetry,
    Tracing,
    chosen,
    telemetry_of,
)
from meshsdk.control_plane.shapes.tls import Json

_SAMPLING: Final = 1.0  # percent: istiod's PILOT_TRACE_SAMPLING
_TRACE: Final = "type.googleapis.com/envoy.config.trace.v3"
_TRACERS: Final = "envoy.tracers.opentelemetry.resource_detectors"
_DETECTORS: Final = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors"
_UNKNOWN: Final = "unknown"


def tracing_of(config: Config, proxy: Proxy, side: Side) -> Json | None:
    """None where a Telemetry turns it off."""
    mesh = config.mesh
    found = telemetry_of(config.loaded.all(Telemetry), proxy.workload, mesh.root_namespace)
    levels = [each.tracing for each in found if each.tracing]
    rules = [each for level in levels for each in level if side in each.sides]
    if _last([each.is_disabled for each in rules]):
        return None
    written = proxy_settings(config, proxy).tracing
    sampling = _last([each.sampling for each in rules])
    if sampling is None:
        own = written.get("sampling")
        sampling = float(own) if isinstance(own, int | float) else _SAMPLING
    block: Json = {
        "client_sampling": {"value": 100.0},
        "random_sampling": {"value": sampling},
        "overall_sampling": {"value": 100.0},
    }
    tags = _tags(proxy, rules)
    if tags:
        block["custom_tags"] = tags
    names = chosen(levels, side, _names, _sides, mesh.default_providers.tracing)
    provider = mesh.provider(names[0]) if names else None
    if provider is not None:
        block |= _provider(config, proxy, provider)
    return block


def _names(rule: Tracing) -> tuple[str, ...]:
    return rule.providers


def _sides(rule: Tracing) -> frozenset[Side]:
    return rule.sides


def _last(values: list[bool | None] | list[float | None]) -> float | None:
    found: float | None = None
    for value in values:
        found = found if value is None else value
    return found


def _tags(proxy: Proxy, rules: list[Tracing]) -> list[Json]:
    """By name."""
    found: dict[str, Json] = {}
    if _last([each.has_istio_tags for each in rules]) is not False:
        found |= {
            "istio.canonical_revision": _literal(
                proxy.labels.get("service.istio.io/canonical-revision") or "latest"
            ),
            "istio.canonical_service": _literal(
                proxy.labels.get("service.istio.io/canonical-name") or _UNKNOWN
            ),
            "istio.cluster_id": _literal(proxy.cluster_id or _UNKNOWN),
            "istio.mesh_id": _literal(proxy.text("MESH_ID") or _UNKNOWN),
            "istio.namespace": _literal(proxy.namespace),
        }
    for action in ("allow", "deny"):
        for name, key in (("name", "effective_policy_id"), ("result", "engine_result")):
            path = [{"key": f"istio_dry_run_{action}_shadow_{key}"}]
            metadata = {"key": "envoy.filters.http.rbac", "path": path}
            tag = f"istio.authorization.dry_run.{action}_policy.{name}"
            found[tag] = {"metadata": {"kind": {"request": {}}, "metadata_key": metadata}}
    for rule in rules:
        found |= {name: _custom(tag) for name, tag in rule.custom_tags.items()}
    return [{"tag": name, **value} for name, value in sorted(found.items())]


def _literal(value: str) -> Json:
    return {"literal": {"value": value}}


def _custom(tag: CustomTag) -> Json:
    if tag.kind == "literal":
        return _literal(tag.value)
    if tag.kind == "formatter":
        return {"value": tag.value}
    named: Json = {"name": tag.value}
    if tag.default:
        named["default_value"] = tag.default
    return {"environment" if tag.kind == "environment" else "request_header": named}


def _provider(config: Config, proxy: Proxy, provider: ExtensionProvider) -> Json:
    target = provider_cluster(config, proxy, provider)
    if target is None:
        return {}
    settings = provider.settings
    length = settings.get("maxTagLength")
    beside: Json = {"max_path_tag_length": length} if length else {}
    service = f"{proxy.labels.get('app') or proxy.name}.{proxy.namespace}"
    cluster, host = target
    match provider.type:
        case "opentelemetry":
            tracer = _opentelemetry(settings, cluster, host, service)
        case "zipkin":
            tracer = _zipkin(settings, cluster, host)
        case "datadog":
            tracer = {
                "@type": f"{_TRACE}.DatadogConfig",
                "collector_cluster": cluster,
                "collector_hostname": host,
                "service_name": service,
            }
        case _:
            return {}  # named in the table of differences
    name = f"envoy.tracers.{provider.type}"
    return {**beside, "provider": {"name": name, "typed_config": tracer}}


def _opentelemetry(settings: Mapping[str, object], cluster: str, host: str, service: str) -> Json:
    found: Json = {"@type": f"{_TRACE}.OpenTelemetryConfig", "service_name": service}
    http = settings.get("http")
    if isinstance(http, Mapping):
        found["http_service"] = _http_service(cast("Mapping[str, object]", http), cluster, host)
    else:
        envoy: Json = {"authority": host, "cluster_name": cluster}
        grpc = settings.get("grpc")
        found["grpc_service"] = {"envoy_grpc": envoy} | _timeout(grpc)
    detectors = settings.get("resourceDetectors")
    if isinstance(detectors, Mapping):
        names = (("environment", "Environment"), ("dynatrace", "Dynatrace"))
        found["resource_detectors"] = [
            {
                "name": f"{_TRACERS}.{name}",
                "typed_config": {
                    "@type": f"{_DETECTORS}.v3.{message}ResourceDetectorConfig",
                },
            }
            for name, message in names
            if name in detectors
        ]
    return found


def _timeout(settings: object) -> Json:
    if not isinstance(settings, Mapping):
        return {}
    written = cast("Mapping[str, object]", settings).get("timeout")
    seconds = seconds_of(written) if isinstance(written, str) else None
    return {} if seconds is None else {"timeout": seconds_text(seconds)}


def _http_service(http: Mapping[str, object], cluster: str, host: str) -> Json:
    headers = http.get("headers")
    uri = {"cluster": cluster, "uri": f"{host}{http.get('path') or ''}", **_timeout(http)}
    found: Json = {"http_uri": uri}
    if isinstance(headers, list):
        found["request_headers_to_add"] = [
            {
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                "header": {"key": each.get("name"), "value": each.get("value")},
            }
            for each in cast("list[Mapping[str, object]]", headers)
        ]
    return found


def _zipkin(settings: Mapping[str, object], cluster: str, host: str) -> Json:
    path = settings.get("path") or "/api/v2/spans"
    uri: Json = {"cluster": cluster, "timeout": "5s", "uri": f"http://{host}{path}"}
    return {
        "@type": f"{_TRACE}.ZipkinConfig",
        "collector_endpoint_version": "HTTP_JSON",
        "collector_service": {"http_uri": uri | _timeout(settings)},
        "shared_span_context": False,
        "trace_id_128bit": True,
    }
