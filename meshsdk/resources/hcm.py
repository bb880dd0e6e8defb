"""HttpConnectionManager: how requests of a chain are read, filtered and routed."""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.resources import access_log, hcm_options, http_filters, local_reply
from meshsdk.resources import tracing as tracing_
from meshsdk.resources.access_log import AccessLog, parse_access_logs
from meshsdk.resources.config_source import ADS, ConfigSource, parse_config_source
from meshsdk.resources.hcm_options import OPTION_FIELDS, HcmOptions, parse_hcm_options
from meshsdk.resources.http_filters import NamedFilter, parse_http_filters
from meshsdk.resources.local_reply import LocalReplies, parse_local_replies
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.route_configuration import parse as parse_route_configuration
from meshsdk.resources.tracing import NO_TRACING, Tracing, parse_tracing

TYPE_URL: Final = (
    "type.googleapis.com/"
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_UUID: Final = "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_TELEMETRY = ignored("telemetry")
_SOCKETS = ignored("a matter of sockets")
HTTP_CONNECTION_MANAGER: Final = MessageTable(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    {
        **OPTION_FIELDS,
        **honoured(
            "rds",
            "route_config",
            "http_filters",
            "request_id_extension",
            "access_log",
            "tracing",
            "local_reply_config",
        ),
        "scoped_routes": not_built("scoped routes"),
        "proxy_status_config": not_built("the Proxy-Status header"),
        "forward_proto_config": not_built("rules for x-forwarded-proto"),
        "stat_prefix": _TELEMETRY,
        "access_log_flush_interval": _TELEMETRY,
        "flush_access_log_on_new_request": _TELEMETRY,
        "access_log_options": _TELEMETRY,
        "record_route_resolution_stats": _TELEMETRY,
        "http1_safe_max_connection_duration": _SOCKETS,
        "stream_flush_timeout": _SOCKETS,
        "drain_timeout": _SOCKETS,
        "drain_timeout_jitter": _SOCKETS,
        "delayed_close_timeout": _SOCKETS,
        "stream_error_on_invalid_http_message": _SOCKETS,
        "proxy_100_continue": ignored("the application's server answers Expect"),
        "append_local_overload": ignored("there is no overload manager"),
        "add_proxy_protocol_connection_state": ignored("there is no PROXY protocol"),
    },
)
RDS: Final = MessageTable(
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds",
    honoured("config_source", "route_config_name"),
)
TABLES: Final = (
    HTTP_CONNECTION_MANAGER,
    RDS,
    *hcm_options.TABLES,
    *http_filters.TABLES,
    *access_log.TABLES,
    *local_reply.TABLES,
    *tracing_.TABLES,
)


@dataclass(frozen=True, slots=True, eq=False)
class HttpConnectionManager:
    """One connection manager. Exactly one of `route_config` and `rds_name` is set, unless its
    routes are of a kind that `not_built` names."""

    options: HcmOptions
    http_filters: tuple[NamedFilter, ...]
    """In order; the last is the router."""
    route_config: RouteConfiguration | None = None
    rds_name: str = ""
    rds_source: ConfigSource = ADS
    not_built: tuple[str, ...] = ()
    """Paths of fields that a call through here needs and that have no code."""
    reports: tuple[tuple[str, str], ...] = ()
    """Path and reason of what was skipped."""
    access_logs: tuple[AccessLog, ...] = ()
    unlogged: tuple[tuple[str, str], ...] = ()
    """Path and reason of access loggers, and of their commands, that have no effect."""
    tracing: Tracing = NO_TRACING
    local_replies: LocalReplies | None = None
    """What becomes of answers of the mesh itself; None: they stay as they are."""


def parse_hcm(reader: Reader, extensions: Extensions) -> HttpConnectionManager:
    """An HttpConnectionManager message."""
    missing = list(check(reader, HTTP_CONNECTION_MANAGER))
    options = parse_hcm_options(reader, extensions)
    missing.extend(options.not_built)
    missing.extend(_request_id(reader))
    filters = parse_http_filters(reader, extensions)
    kind = reader.required("rds", "route_config", "scoped_routes")
    access_logs, without_effect = parse_access_logs(reader, extensions)
    tracing = reader.message("tracing")
    own = reader.message("local_reply_config")
    local_replies = None if own is None else parse_local_replies(own, extensions)
    missing.extend(() if local_replies is None else local_replies.not_built)
    rds = reader.message("rds")
    route_config = reader.message("route_config")
    return HttpConnectionManager(
        options,
        filters,
        None if route_config is None else parse_route_configuration(route_config, extensions),
        "" if rds is None else _rds_name(rds),
        _rds_source(rds) if kind == "rds" and rds is not None else ADS,
        tuple(missing),
        tuple(
            (f"{reader.path}.http_filters[{i}]", f"{f.name}: {f.skipped}")
            for i, f in enumerate(filters)
            if f.is_unknown
        ),
        access_logs,
        without_effect,
        NO_TRACING if tracing is None else parse_tracing(tracing),
        local_replies,
    )


def _rds_name(reader: Reader) -> str:
    check(reader, RDS)
    return reader.required_string("route_config_name")


def _rds_source(reader: Reader) -> ConfigSource:
    return parse_config_source(reader.required_message("config_source"))


def _request_id(reader: Reader) -> tuple[str, ...]:
    extension = reader.message("request_id_extension")
    config = None if extension is None else extension.typed("typed_config")
    return () if config is None or config.type_url == _UUID else (config.path,)
