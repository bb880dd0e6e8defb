"""The part of HttpConnectionManager that decides what a request looks like before routing.

Source: envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.
`resources/hcm.py` owns the message's table and takes `OPTION_FIELDS` into it.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal, TypeAlias

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import (
    MessageTable,
    Table,
    check,
    honoured,
    ignored,
    not_built,
    refused,
)
from meshsdk.config.reader import Reader
from meshsdk.matching.cidr import CidrRange, parse_cidr

Compat: TypeAlias = Literal["strict", "envoy"]

_FRAGMENT_KEY: Final = "envoy.reloadable_features.http_reject_path_with_fragment"
_DEFAULT_MAX_HEADERS_KB: Final = 60
_DEFAULT_MAX_HEADERS_COUNT: Final = 100


class EscapedSlashes(Enum):
    """PathWithEscapedSlashesAction."""

    KEEP_UNCHANGED = "KEEP_UNCHANGED"
    REJECT_REQUEST = "REJECT_REQUEST"
    UNESCAPE_AND_REDIRECT = "UNESCAPE_AND_REDIRECT"
    UNESCAPE_AND_FORWARD = "UNESCAPE_AND_FORWARD"


class ForwardClientCert(Enum):
    """ForwardClientCertDetails."""

    SANITIZE = "SANITIZE"
    FORWARD_ONLY = "FORWARD_ONLY"
    APPEND_FORWARD = "APPEND_FORWARD"
    SANITIZE_SET = "SANITIZE_SET"
    ALWAYS_FORWARD_ONLY = "ALWAYS_FORWARD_ONLY"


class ServerHeader(Enum):
    """ServerHeaderTransformation."""

    OVERWRITE = "OVERWRITE"
    APPEND_IF_ABSENT = "APPEND_IF_ABSENT"
    PASS_THROUGH = "PASS_THROUGH"  # noqa: S105 - an enum value of the proto


class Underscores(Enum):
    """HeadersWithUnderscoresAction."""

    ALLOW = "ALLOW"
    REJECT_REQUEST = "REJECT_REQUEST"
    DROP_HEADER = "DROP_HEADER"


@dataclass(frozen=True, slots=True)
class ClientCertDetails:
    """SetCurrentClientCertDetails: what an XFCC element of ours tells, besides By and Hash."""

    cert: bool = False
    chain: bool = False
    subject: bool = False
    uri: bool = False
    dns: bool = False


@dataclass(frozen=True, slots=True)
class Upgrade:
    """UpgradeConfig: whether an upgrade of this type may pass. Its own filter chain is not built."""

    upgrade_type: str
    """Lower case."""
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class HcmOptions:
    """Fields keep the proto's names; times are seconds, None is unset and 0 is "no limit"."""

    normalize_path: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: EscapedSlashes = EscapedSlashes.KEEP_UNCHANGED
    strip_matching_host_port: bool = False
    strip_any_host_port: bool = False
    strip_trailing_host_dot: bool = False
    use_remote_address: bool = False
    xff_num_trusted_hops: int = 0
    skip_xff_append: bool = False
    append_x_forwarded_port: bool = False
    internal_cidr_ranges: tuple[CidrRange, ...] = ()
    internal_unix_sockets: bool = False
    forward_client_cert_details: ForwardClientCert = ForwardClientCert.SANITIZE
    set_current_client_cert_details: ClientCertDetails = ClientCertDetails()
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    server_name: str = "envoy"
    server_header_transformation: ServerHeader = ServerHeader.OVERWRITE
    scheme_to_overwrite: str = ""
    via: str = ""
    user_agent: str = ""
    """add_user_agent: our service cluster, which the runtime knows; empty when off."""
    upgrades: tuple[Upgrade, ...] = ()
    max_request_headers_kb: int = _DEFAULT_MAX_HEADERS_KB
    max_headers_count: int = _DEFAULT_MAX_HEADERS_COUNT
    headers_with_underscores_action: Underscores = Underscores.ALLOW
    stream_idle_timeout: float | None = None
    """Unset is Envoy's five minutes."""
    max_stream_duration: float | None = None
    reject_fragment: bool = True
    """Runtime key envoy.reloadable_features.http_reject_path_with_fragment; else it is cut off."""
    compat: Compat = "strict"
    """`envoy` switches off what the threat model's section 12 adds to Envoy's own refusals."""
    local_address: str = "127.0.0.1"
    """This machine's own, for X-Forwarded-For of callers on loopback."""
    not_built: tuple[str, ...] = ()
    takes_short_way: bool = field(init=False, repr=False, compare=False)
    """Whether nothing here makes more of a usual request's fields than a sidecar's options do."""

    def __post_init__(self) -> None:
        is_usual = not (self.use_remote_address or self.via or self.append_x_forwarded_port)
        usual = is_usual and self.headers_with_underscores_action is Underscores.ALLOW
        object.__setattr__(self, "takes_short_way", usual)

    def allows_upgrade(self, upgrade_type: str) -> bool:
        """Whether this connection manager lets an upgrade type pass, routes aside."""
        return any(u.enabled and u.upgrade_type == upgrade_type for u in self.upgrades)


_SOCKETS = ignored("a matter of sockets")
OPTION_FIELDS: Final[Table] = {
    **honoured(
        "normalize_path",
        "merge_slashes",
        "path_with_escaped_slashes_action",
        "strip_matching_host_port",
        "strip_any_host_port",
        "strip_trailing_host_dot",
        "use_remote_address",
        "xff_num_trusted_hops",
        "skip_xff_append",
        "append_x_forwarded_port",
        "internal_address_config",
        "forward_client_cert_details",
        "set_current_client_cert_details",
        "generate_request_id",
        "preserve_external_request_id",
        "always_set_request_id_in_response",
        "server_name",
        "server_header_transformation",
        "scheme_header_transformation",
        "via",
        "upgrade_configs",
        "max_request_headers_kb",
        "common_http_protocol_options",
        "http_protocol_options",
        "stream_idle_timeout",
    ),
    "request_timeout": ignored("the application's own server reads requests"),
    "request_headers_timeout": ignored("the application's own server reads requests"),
    "add_user_agent": not_built("x-envoy-downstream-service-cluster of our own"),
    "original_ip_detection_extensions": not_built("another source for remote_ip"),
    "early_header_mutation_extensions": not_built("header mutation before routing"),
    "path_normalization_options": not_built("custom path transformations"),
    "represent_ipv4_remote_address_as_ipv4_mapped_ipv6": not_built("mapped remote addresses"),
    "typed_header_validation_config": not_built("custom header validation"),
    "forward_client_cert_matcher": not_built("XFCC mode by request"),
    "http2_protocol_options": _SOCKETS,
    "http3_protocol_options": _SOCKETS,
    "codec_type": _SOCKETS,
}
"""Rows of the HttpConnectionManager table that this module answers for."""

COMMON_HTTP_PROTOCOL_OPTIONS: Final = MessageTable(
    "envoy.config.core.v3.HttpProtocolOptions",
    {
        **honoured("max_headers_count", "headers_with_underscores_action", "max_stream_duration"),
        "idle_timeout": _SOCKETS,
        "max_connection_duration": _SOCKETS,
        "max_connection_duration_jitter": _SOCKETS,
        "max_response_headers_kb": _SOCKETS,
        "max_requests_per_connection": _SOCKETS,
    },
)
HTTP1_PROTOCOL_OPTIONS: Final = MessageTable(
    "envoy.config.core.v3.Http1ProtocolOptions",
    {
        "accept_http_10": ignored("the application's own server decides"),
        "allow_absolute_url": not_built("absolute-form targets"),
        "default_host_for_http_10": not_built("a host for HTTP/1.0"),
        "header_key_format": ignored(
            "names are lower case in the core; letter case is no decision"
        ),
        "enable_trailers": _SOCKETS,
        "allow_chunked_length": refused("both content-length and transfer-encoding"),
        "send_fully_qualified_url": ignored("of requests that a cluster sends"),
        "use_balsa_parser": ignored("choice of Envoy's parser"),
        "allow_custom_methods": ignored("any token is a method"),
        "ignore_http_11_upgrade": not_built("upgrades that are left out"),
        "override_stream_error_on_invalid_http_message": _SOCKETS,
    },
)
UPGRADE_CONFIG: Final = MessageTable(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
    {
        **honoured("upgrade_type", "enabled"),
        "filters": not_built("a filter chain of the upgrade's own"),
    },
)
SCHEME: Final = MessageTable(
    "envoy.config.core.v3.SchemeHeaderTransformation",
    {
        **honoured("scheme_to_overwrite"),
        "match_upstream": not_built("a scheme that follows the transport socket"),
    },
)
TABLES: Final = (COMMON_HTTP_PROTOCOL_OPTIONS, HTTP1_PROTOCOL_OPTIONS, UPGRADE_CONFIG, SCHEME)

_ESCAPED: Final = {
    "IMPLEMENTATION_SPECIFIC_DEFAULT": EscapedSlashes.KEEP_UNCHANGED,
    **{action.value: action for action in EscapedSlashes},
}
_FORWARD: Final = {mode.value: mode for mode in ForwardClientCert}
_SERVER: Final = {mode.value: mode for mode in ServerHeader}
_UNDERSCORES: Final = {action.value: action for action in Underscores}


def parse_hcm_options(reader: Reader, extensions: Extensions) -> HcmOptions:
    """The options of a connection manager; other fields of the message are not looked at."""
    common = reader.message("common_http_protocol_options") or _EMPTY
    http1 = reader.message("http_protocol_options") or _EMPTY
    scheme = reader.message("scheme_header_transformation") or _EMPTY
    internal = reader.message("internal_address_config") or _EMPTY
    if reader.boolean("strip_matching_host_port") and reader.boolean("strip_any_host_port"):
        raise reader.error("strip_matching_host_port and strip_any_host_port exclude each other")
    return HcmOptions(
        normalize_path=reader.boolean("normalize_path"),
        merge_slashes=reader.boolean("merge_slashes"),
        path_with_escaped_slashes_action=reader.enum(
            "path_with_escaped_slashes_action", _ESCAPED, "KEEP_UNCHANGED"
        ),
        strip_matching_host_port=reader.boolean("strip_matching_host_port"),
        strip_any_host_port=reader.boolean("strip_any_host_port"),
        strip_trailing_host_dot=reader.boolean("strip_trailing_host_dot"),
        use_remote_address=reader.boolean("use_remote_address"),
        xff_num_trusted_hops=reader.integer("xff_num_trusted_hops", at_least=0),
        skip_xff_append=reader.boolean("skip_xff_append"),
        append_x_forwarded_port=reader.boolean("append_x_forwarded_port"),
        internal_cidr_ranges=internal.each("cidr_ranges", parse_cidr),
        internal_unix_sockets=internal.boolean("unix_sockets"),
        forward_client_cert_details=reader.enum(
            "forward_client_cert_details", _FORWARD, "SANITIZE"
        ),
        set_current_client_cert_details=_client_cert_details(
            reader.message("set_current_client_cert_details") or _EMPTY
        ),
        generate_request_id=reader.boolean("generate_request_id", True),
        preserve_external_request_id=reader.boolean("preserve_external_request_id"),
        always_set_request_id_in_response=reader.boolean("always_set_request_id_in_response"),
        server_name=reader.string("server_name") or "envoy",
        server_header_transformation=reader.enum(
            "server_header_transformation", _SERVER, "OVERWRITE"
        ),
        scheme_to_overwrite=_scheme(scheme),
        via=reader.string("via"),
        upgrades=reader.each("upgrade_configs", _upgrade),
        max_request_headers_kb=reader.integer(
            "max_request_headers_kb", _DEFAULT_MAX_HEADERS_KB, at_least=1, at_most=8192
        ),
        max_headers_count=common.integer(
            "max_headers_count", _DEFAULT_MAX_HEADERS_COUNT, at_least=1
        ),
        headers_with_underscores_action=common.enum(
            "headers_with_underscores_action", _UNDERSCORES, "ALLOW"
        ),
        stream_idle_timeout=reader.optional_duration("stream_idle_timeout"),
        max_stream_duration=common.optional_duration("max_stream_duration"),
        reject_fragment=_runtime_flag(extensions, _FRAGMENT_KEY),
        compat=extensions.compat,
        local_address=extensions.local_address,
        not_built=(
            *check(common, COMMON_HTTP_PROTOCOL_OPTIONS),
            *check(http1, HTTP1_PROTOCOL_OPTIONS),
            *(
                path
                for config in reader.messages("upgrade_configs")
                for path in check(config, UPGRADE_CONFIG)
            ),
        ),
    )


_EMPTY: Final = Reader({})


def _scheme(reader: Reader) -> str:
    scheme = reader.string("scheme_to_overwrite")
    if scheme not in ("", "http", "https"):
        raise reader.error_at("scheme_to_overwrite", f"expected http or https, found {scheme!r}")
    return scheme


def _upgrade(reader: Reader) -> Upgrade:
    return Upgrade(reader.string("upgrade_type").lower(), reader.boolean("enabled", True))


def _client_cert_details(reader: Reader) -> ClientCertDetails:
    return ClientCertDetails(
        cert=reader.boolean("cert"),
        chain=reader.boolean("chain"),
        subject=reader.boolean("subject"),
        uri=reader.boolean("uri"),
        dns=reader.boolean("dns"),
    )


def _runtime_flag(extensions: Extensions, key: str) -> bool:
    """A reloadable feature that is on unless the runtime layer says otherwise."""
    value = (extensions.runtime or {}).get(key, True)
    return value not in (False, 0, "false", "0")
