"""Access loggers of a node. Source: istiod, telemetry_logging.go. FEED.md 3.12."""

import json
from collections.abc import Mapping
from typing import Final, cast

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.extension_providers import ExtensionProvider
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.provider_cluster import provider_cluster
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.telemetry import (
    AccessLogging,
    Side,
    Telemetry,
    chosen,
    telemetry_of,
)
from meshsdk.control_plane.shapes.tls import Json

_LOGGERS: Final = "type.googleapis.com/envoy.extensions.access_loggers"
_TEXT: Final = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%"'
    " %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS%"
    ' "%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION%'
    ' %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%"'
    ' "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW%'
    " %UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS%"
    " %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
)
_JSON: Final = {
    "authority": "%REQ(:AUTHORITY)%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "connection_termination_details": "%CONNECTION_TERMINATION_DETAILS%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "duration": "%DURATION%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "requested_server_name": "%REQUESTED_SERVER_NAME%",
    "response_code": "%RESPONSE_CODE%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "response_flags": "%RESPONSE_FLAGS%",
    "route_name": "%ROUTE_NAME%",
    "start_time": "%START_TIME%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_host": "%UPSTREAM_HOST%",
    "upstream_local_address": "%UPSTREAM_LOCAL_ADDRESS%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "user_agent": "%REQ(USER-AGENT)%",
    "x_forwarded_for": "%REQ(X-FORWARDED-FOR)%",
}
_PEERS: Final = ("upstream_peer", "downstream_peer")
_WASM_PEERS: Final = (
    "wasm.upstream_peer", "wasm.upstream_peer_id", "wasm.downstream_peer",
    "wasm.downstream_peer_id",
)  # fmt: skip
ENVOY: Final = "envoy"
"""The provider that is always there: the mesh config's file."""


def access_loggers(config: Config, proxy: Proxy, side: Side) -> list[Json]:
    """The loggers of a node's connection managers and TCP proxies of one side."""
    mesh = config.mesh
    levels = [
        each.access_logging
        for each in telemetry_of(config.loaded.all(Telemetry), proxy.workload, mesh.root_namespace)
        if each.access_logging
    ]
    default = mesh.default_providers.access_logging
    if not levels and not default:
        return [_mesh_file(mesh)] if mesh.access_log_file else []
    found: list[Json] = []
    for name, expression in _merged(levels, default, side).items():
        logger = _logger(config, proxy, name)
        if logger is not None:
            found.append(_filtered(logger, _expression(expression)))
    return found


def listener_loggers(loggers: list[Json]) -> list[Json]:
    """The same for a listener: only what no filter chain takes."""
    is_lost: Json = {"response_flag_filter": {"flags": ["NR"]}}
    found: list[Json] = []
    for logger in loggers:
        own = logger.get("filter")
        both = is_lost if own is None else {"and_filter": {"filters": [is_lost, own]}}
        found.append({**logger, "filter": both})
    return found


def _merged(
    levels: list[tuple[AccessLogging, ...]], default: tuple[str, ...], side: Side
) -> dict[str, str]:
    """Provider to CEL expression. Source: istiod, mergeLogs."""
    if not levels:
        return dict.fromkeys(default, "")
    in_scope = chosen(levels, side, lambda e: e.providers, lambda e: e.sides, default)
    expressions = {
        name: each.expression
        for level in levels
        for each in level
        if side in each.sides
        for name in each.providers
    }
    found: dict[str, str] = {}
    parents = default
    for each in (each for level in levels for each in level):
        parents = each.providers or parents
        if side not in each.sides:
            continue
        for name in parents:
            if each.is_disabled:
                found.pop(name, None)
            elif name in in_scope:
                found[name] = expressions.get(name, "")
    return found


def _logger(config: Config, proxy: Proxy, name: str) -> Json | None:
    """None where the provider is unknown, or its service is."""
    provider = config.mesh.provider(name)
    if provider is None:
        return _mesh_file(config.mesh) if name == ENVOY else None
    if provider.type == "envoyFileAccessLog":
        return _file(str(provider.settings.get("path") or "/dev/stdout"), provider.settings)
    if provider.type not in ("envoyHttpAls", "envoyTcpAls", "envoyOtelAls"):
        return None
    found = provider_cluster(config, proxy, provider)
    return None if found is None else _grpc(provider, *found)


def _mesh_file(mesh: MeshConfig) -> Json:
    path = mesh.access_log_file or "/dev/stdout"
    if mesh.access_log_encoding == "TEXT":
        return _file_logger(path, _text_format(mesh.access_log_format))
    labels: object = _JSON
    if mesh.access_log_format:
        try:
            labels = json.loads(mesh.access_log_format)
        except ValueError:
            labels = _JSON  # as istiod: an unreadable format is the default one
    return _file_logger(path, {"json_format": labels, "json_format_options": {}})


def _file(path: str, settings: Mapping[str, object]) -> Json:
    found = _mapping(settings.get("logFormat"))
    labels = found.get("labels")
    log_format = _text_format(str(found.get("text") or ""))
    if labels is not None:
        log_format = {"json_format": labels, "json_format_options": dict[str, object]()}
    if settings.get("omitEmptyValues") is True:
        log_format["omit_empty_values"] = True
    return _file_logger(path, log_format)


def _text_format(text: str) -> Json:
    text = text or _TEXT
    whole = text if text.endswith("\n") else f"{text}\n"
    return {"text_format_source": {"inline_string": whole}}


def _file_logger(path: str, log_format: Json) -> Json:
    config: Json = {
        "@type": f"{_LOGGERS}.file.v3.FileAccessLog",
        "log_format": log_format,
        "path": path,
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def _grpc(provider: ExtensionProvider, cluster: str, host: str) -> Json:
    settings = provider.settings
    is_otel = provider.type == "envoyOtelAls"
    usual = "otel_envoy_accesslog" if is_otel else {
        "envoyHttpAls": "http_envoy_accesslog", "envoyTcpAls": "tcp_envoy_accesslog",
    }[provider.type]  # fmt: skip
    objects = _strings(settings.get("filterStateObjectsToLog"))
    default = [*_PEERS, *_WASM_PEERS] if is_otel else [*_PEERS]
    common: Json = {
        "filter_state_objects_to_log": objects or default,
        "grpc_service": {"envoy_grpc": {"authority": host, "cluster_name": cluster}},
        "log_name": str(settings.get("logName") or usual),
        "transport_api_version": "V3",
    }
    if is_otel:
        return _otel(settings, common)
    kind = "http_grpc" if provider.type == "envoyHttpAls" else "tcp_grpc"
    message = "HttpGrpcAccessLogConfig" if kind == "http_grpc" else "TcpGrpcAccessLogConfig"
    config: Json = {"@type": f"{_LOGGERS}.grpc.v3.{message}", "common_config": common}
    for name, written in (
        ("additional_request_headers_to_log", "additionalRequestHeadersToLog"),
        ("additional_response_headers_to_log", "additionalResponseHeadersToLog"),
        ("additional_response_trailers_to_log", "additionalResponseTrailersToLog"),
    ):
        if _strings(settings.get(written)):
            config[name] = _strings(settings.get(written))
    return {"name": f"envoy.access_loggers.{kind}", "typed_config": config}


def _otel(settings: Mapping[str, object], common: Json) -> Json:
    log_format = _mapping(settings.get("logFormat"))
    labels = _mapping(log_format.get("labels"))
    config: Json = {
        "@type": f"{_LOGGERS}.open_telemetry.v3.OpenTelemetryAccessLogConfig",
        "body": {"string_value": str(log_format.get("text") or _TEXT)},
        "common_config": common,
        "disable_builtin_labels": True,
    }
    if labels:
        values = [
            {"key": key, "value": {"string_value": str(value)}} for key, value in labels.items()
        ]
        config["attributes"] = {"values": values}
    return {"name": "envoy.access_loggers.open_telemetry", "typed_config": config}


def _expression(text: str) -> Json | None:
    if not text:
        return None
    config = {"@type": f"{_LOGGERS}.filters.cel.v3.ExpressionFilter", "expression": text}
    name = "envoy.access_loggers.extension_filters.cel"
    return {"extension_filter": {"name": name, "typed_config": config}}


def _filtered(logger: Json, condition: Json | None) -> Json:
    return logger if condition is None else {**logger, "filter": condition}


def _strings(value: object) -> list[str]:
    return [str(each) for each in cast("list[object]", value)] if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
