"""HttpProtocolOptions: which HTTP a cluster's connections speak, and how long they live."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built, refused
from meshsdk.config.reader import Reader
from meshsdk.resources.error_matcher import IsError, parse_error_matcher

UpstreamProtocol = Literal["http1", "h2", "downstream", "auto"]
EXTENSION_NAME: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TYPE_URL: Final = f"type.googleapis.com/{EXTENSION_NAME}"

_OPTIONS: Final = MessageTable(
    EXTENSION_NAME,
    honoured(
        "common_http_protocol_options",
        "upstream_http_protocol_options",
        "explicit_http_config",
        "use_downstream_protocol_config",
        "auto_config",
        "outlier_detection",
    )
    | {
        "http_filters": not_built("HTTP filters of the upstream side"),
        "header_validation_config": ignored("the SDK's own codecs validate"),
        "request_mirror_policies": not_built("request mirroring of a cluster"),
        "retry_policy": not_built("a retry policy of the cluster"),
        "hash_policy": not_built("hash policies of the cluster"),
    },
)
_COMMON: Final = MessageTable(
    "envoy.config.core.v3.HttpProtocolOptions",
    honoured("idle_timeout", "max_connection_duration", "max_requests_per_connection")
    | {
        "max_connection_duration_jitter": ignored("tuning"),
        "max_headers_count": ignored("a limit of the codec"),
        "max_response_headers_kb": ignored("a limit of the codec"),
        "max_stream_duration": not_built("a time limit of the cluster's streams"),
        "headers_with_underscores_action": ignored("of requests that a listener gets"),
    },
)
_UPSTREAM: Final = MessageTable(
    "envoy.config.core.v3.UpstreamHttpProtocolOptions",
    honoured("auto_sni", "auto_san_validation")
    | {"override_auto_sni_header": refused("SNI from another header than Host")},
    security=True,
)
_HTTP1: Final = MessageTable(
    "envoy.config.core.v3.Http1ProtocolOptions",
    {
        "allow_absolute_url": ignored("of requests that a listener gets"),
        "accept_http_10": ignored("of requests that a listener gets"),
        "default_host_for_http_10": ignored("of requests that a listener gets"),
        "header_key_format": ignored("names are sent in lower case"),
        "enable_trailers": ignored("trailers are forwarded as they come"),
        "allow_chunked_length": refused("both content-length and transfer-encoding"),
        "override_stream_error_on_invalid_http_message": ignored("of the listener's codec"),
        "send_fully_qualified_url": not_built("absolute-form requests to an upstream proxy"),
        "use_balsa_parser": ignored("choice of Envoy's parser"),
        "allow_custom_methods": ignored("any token is a method"),
        "ignore_http_11_upgrade": ignored("of requests that a listener gets"),
    },
)
_HTTP2: Final = MessageTable(
    "envoy.config.core.v3.Http2ProtocolOptions",
    honoured("max_concurrent_streams")
    | {"connection_keepalive": ignored("a request's own limits find a dead connection")}
    | dict.fromkeys(
        (
            "hpack_table_size",
            "initial_stream_window_size",
            "initial_connection_window_size",
            "allow_connect",
            "allow_metadata",
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
            "custom_settings_parameters",
            "use_oghttp2_codec",
            "max_metadata_size",
            "enable_huffman_encoding",
        ),
        ignored("tuning of the codec"),
    ),
)
_KEEPALIVE: Final = MessageTable(
    "envoy.config.core.v3.KeepaliveSettings",
    honoured("interval", "timeout")
    | {
        "interval_jitter": ignored("tuning"),
        "connection_idle_interval": ignored("tuning"),
    },
)
_EXPLICIT: Final = MessageTable(
    f"{EXTENSION_NAME}.ExplicitHttpConfig",
    honoured("http_protocol_options", "http2_protocol_options")
    | {"http3_protocol_options": not_built("HTTP/3")},
)
_DOWNSTREAM: Final = MessageTable(
    f"{EXTENSION_NAME}.UseDownstreamHttpConfig",
    honoured("http_protocol_options", "http2_protocol_options")
    | {"http3_protocol_options": ignored("no caller of ours speaks HTTP/3")},
)
_AUTO: Final = MessageTable(
    f"{EXTENSION_NAME}.AutoHttpConfig",
    honoured("http_protocol_options", "http2_protocol_options")
    | {
        "http3_protocol_options": ignored("HTTP/2 and HTTP/1.1 are in the choice too"),
        "alternate_protocols_cache_options": ignored("of HTTP/3"),
    },
)
TABLES: Final = (
    _OPTIONS,
    _COMMON,
    _UPSTREAM,
    _HTTP1,
    _HTTP2,
    _KEEPALIVE,
    _EXPLICIT,
    _DOWNSTREAM,
    _AUTO,
)


@dataclass(frozen=True, slots=True)
class HttpProtocolOptions:
    """What a cluster's connections speak; seconds."""

    protocol: UpstreamProtocol = "http1"
    """`downstream`: what the caller spoke; `auto`: h2 or http1 as ALPN decides."""
    idle_timeout: float | None = 3600.0
    """None: never; Envoy's default is an hour."""
    max_connection_duration: float | None = None
    max_requests_per_connection: int | None = None
    max_concurrent_streams: int | None = None
    keepalive_interval: float | None = None
    """Of HTTP/2 PINGs."""
    keepalive_timeout: float | None = None
    auto_sni: bool = False
    auto_san_validation: bool = False
    is_error: IsError | None = field(default=None, compare=False)
    """What outlier detection calls a failure; None: status 5xx."""
    not_built: tuple[str, ...] = ()


def parse_http_protocol_options(cluster: Reader) -> HttpProtocolOptions:
    """A cluster's protocol options, typed or in the old fields of the cluster itself."""
    found = _typed_or_legacy(cluster)
    requests = cluster.optional_integer("max_requests_per_connection")
    if requests and found.max_requests_per_connection is None:
        return replace(found, max_requests_per_connection=requests)
    return found


def _typed_or_legacy(cluster: Reader) -> HttpProtocolOptions:
    for name, options in cluster.entries("typed_extension_protocol_options"):
        if options.type_url == TYPE_URL:
            return _typed(options)
        if name == EXTENSION_NAME:
            raise options.error(f"expected {TYPE_URL}, found {options.type_url!r}")
    return _legacy(cluster)


def _typed(reader: Reader) -> HttpProtocolOptions:
    missing = list(check(reader, _OPTIONS))
    kind = reader.required("explicit_http_config", "use_downstream_protocol_config", "auto_config")
    choice = reader.required_message(kind)
    protocol = _protocol(kind, choice, missing)
    upstream = reader.message("upstream_http_protocol_options")
    if upstream is not None:
        check(upstream, _UPSTREAM)
    outlier = reader.message("outlier_detection")
    matcher = None if outlier is None else outlier.message("error_matcher")
    return _options(
        protocol,
        reader.message("common_http_protocol_options"),
        choice.message("http2_protocol_options"),
        upstream,
        None if matcher is None else parse_error_matcher(matcher),
        missing,
    )


def _protocol(kind: str, choice: Reader, missing: list[str]) -> UpstreamProtocol:
    http1 = choice.message("http_protocol_options")
    if http1 is not None:
        missing.extend(check(http1, _HTTP1))
    if kind == "use_downstream_protocol_config":
        missing.extend(check(choice, _DOWNSTREAM))
        return "downstream"
    if kind == "auto_config":
        missing.extend(check(choice, _AUTO))
        return "auto"
    missing.extend(check(choice, _EXPLICIT))
    found = choice.required(
        "http_protocol_options", "http2_protocol_options", "http3_protocol_options"
    )
    return "h2" if found == "http2_protocol_options" else "http1"


def _legacy(cluster: Reader) -> HttpProtocolOptions:
    """`http2_protocol_options` and its kin in the cluster: Envoy still takes them."""
    missing: list[str] = []
    http2 = cluster.message("http2_protocol_options")
    http1 = cluster.message("http_protocol_options")
    if http1 is not None:
        missing.extend(check(http1, _HTTP1))
    protocol: UpstreamProtocol = "http1" if http2 is None else "h2"
    if cluster.string("protocol_selection") == "USE_DOWNSTREAM_PROTOCOL":
        protocol = "downstream"
    upstream = cluster.message("upstream_http_protocol_options")
    if upstream is not None:
        check(upstream, _UPSTREAM)
    common = cluster.message("common_http_protocol_options")
    return _options(protocol, common, http2, upstream, None, missing)


def _options(
    protocol: UpstreamProtocol,
    common: Reader | None,
    http2: Reader | None,
    upstream: Reader | None,
    is_error: IsError | None,
    missing: list[str],
) -> HttpProtocolOptions:
    idle: float | None = 3600.0
    duration: float | None = None
    requests: int | None = None
    if common is not None:
        missing.extend(check(common, _COMMON))
        idle = common.duration("idle_timeout", 3600.0) or None
        duration = common.optional_duration("max_connection_duration") or None
        requests = common.optional_integer("max_requests_per_connection") or None
    keepalive: Reader | None = None
    streams: int | None = None
    if http2 is not None:
        missing.extend(check(http2, _HTTP2))
        streams = http2.optional_integer("max_concurrent_streams")
        keepalive = http2.message("connection_keepalive")
    if keepalive is not None:
        missing.extend(check(keepalive, _KEEPALIVE))
    return HttpProtocolOptions(
        protocol=protocol,
        idle_timeout=idle,
        max_connection_duration=duration,
        max_requests_per_connection=requests,
        max_concurrent_streams=streams,
        keepalive_interval=None if keepalive is None else keepalive.optional_duration("interval"),
        keepalive_timeout=None if keepalive is None else keepalive.optional_duration("timeout"),
        auto_sni=upstream is not None and upstream.boolean("auto_sni"),
        auto_san_validation=upstream is not None and upstream.boolean("auto_san_validation"),
        is_error=is_error,
        not_built=tuple(missing),
    )
