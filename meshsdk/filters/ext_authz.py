"""envoy.filters.http.ext_authz: a service decides who may pass."""

from dataclasses import replace
from typing import Final

from meshsdk.call.filter import HttpFilter
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.filters import ext_authz_http, side_service
from meshsdk.filters.ext_authz_check import Shown
from meshsdk.filters.ext_authz_filter import (
    FORBIDDEN,
    NAMESPACE,
    Authorization,
    BodyLimit,
    CheckSettings,
    ExtAuthz,
    overridden,
)
from meshsdk.filters.ext_authz_grpc import GrpcAuthorization
from meshsdk.filters.ext_authz_http import always_shown, parse_http_authorization, parse_list
from meshsdk.filters.runtime_values import runtime_flag
from meshsdk.filters.side_service import parse_grpc_service
from meshsdk.filters.status_code import parse_status
from meshsdk.matching.fraction import ALWAYS, parse_runtime_fraction
from meshsdk.matching.metadata import parse_metadata_matcher
from meshsdk.matching.strings import StringMatcher

_TYPED: Final = ignored("there is no typed metadata")
_TELEMETRY: Final = ignored("telemetry")
TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    {
        **honoured(
            "grpc_service",
            "http_service",
            "transport_api_version",
            "failure_mode_allow",
            "failure_mode_allow_header_add",
            "with_request_body",
            "clear_route_cache",
            "status_on_error",
            "metadata_context_namespaces",
            "route_metadata_context_namespaces",
            "filter_enabled",
            "filter_enabled_metadata",
            "deny_at_disable",
            "include_peer_certificate",
            "include_tls_session",
            "allowed_headers",
            "disallowed_headers",
            "encode_raw_headers",
            "enable_dynamic_metadata_ingestion",
            "max_denied_response_body_bytes",
            "shadow_mode",
        ),
        "validate_mutations": ignored("what cannot be sent is never sent"),
        "enforce_response_header_limits": ignored("servers limit what they send"),
        "typed_metadata_context_namespaces": _TYPED,
        "route_typed_metadata_context_namespaces": _TYPED,
        "stat_prefix": _TELEMETRY,
        "charge_cluster_response_stats": _TELEMETRY,
        "emit_filter_state_stats": _TELEMETRY,
        "filter_metadata": _TELEMETRY,
        "emit_client_span": _TELEMETRY,
        "bootstrap_metadata_labels_key": refused("labels of the node are not known"),
        "decoder_header_mutation_rules": refused("rules for the service's mutations are not built"),
    },
    security=True,
)
BODY: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.BufferSettings",
    honoured("max_request_bytes", "allow_partial_message", "pack_as_bytes"),
    security=True,
)
PER_ROUTE: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    honoured("disabled", "check_settings"),
    security=True,
)
CHECK_SETTINGS: Final = MessageTable(
    "envoy.extensions.filters.http.ext_authz.v3.CheckSettings",
    {
        **honoured(
            "context_extensions",
            "disable_request_body_buffering",
            "with_request_body",
            "grpc_service",
            "http_service",
        ),
        "emit_client_span": _TELEMETRY,
    },
    security=True,
)
TABLES: Final = (
    TABLE,
    BODY,
    PER_ROUTE,
    CHECK_SETTINGS,
    *ext_authz_http.TABLES,
    *side_service.TABLES,
)
_GRPC_TIMEOUT: Final = 0.2
"""Seconds where grpc_service sets none (Envoy, DefaultTimeout)."""


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of an ExtAuthz."""
    check(reader, TABLE)
    if reader.has("grpc_service"):
        reader.enum("transport_api_version", {"V3": 3}, "AUTO")
    service, allowed = _service(reader, parse_list(reader, "allowed_headers"))
    body = reader.message("with_request_body")
    metadata = reader.message("filter_enabled_metadata")
    enabled = reader.message("filter_enabled")
    return ExtAuthz(
        service,
        _shown(reader, allowed, body),
        None if body is None else _body(body),
        ALWAYS if enabled is None else parse_runtime_fraction(enabled, extensions.runtime),
        None if metadata is None else parse_metadata_matcher(metadata),
        runtime_flag(reader, "deny_at_disable", extensions.runtime, default=False),
        reader.boolean("failure_mode_allow"),
        reader.boolean("failure_mode_allow_header_add"),
        parse_status(reader, "status_on_error", FORBIDDEN),
        reader.boolean("clear_route_cache"),
        reader.boolean("enable_dynamic_metadata_ingestion", True),
        reader.integer("max_denied_response_body_bytes", at_least=0),
        reader.boolean("shadow_mode"),
        extensions.compat == "envoy",
    )


def _shown(reader: Reader, allowed: tuple[StringMatcher, ...] | None, body: Reader | None) -> Shown:
    return Shown(
        allowed,
        parse_list(reader, "disallowed_headers") or (),
        reader.strings("metadata_context_namespaces"),
        reader.strings("route_metadata_context_namespaces"),
        reader.boolean("include_peer_certificate"),
        reader.boolean("include_tls_session"),
        reader.boolean("encode_raw_headers"),
        body is not None and body.boolean("pack_as_bytes"),
    )


def _service(
    reader: Reader, allowed: tuple[StringMatcher, ...] | None
) -> tuple[Authorization, tuple[StringMatcher, ...] | None]:
    """The service, and the names of the request fields that it sees (None: all)."""
    if reader.required("grpc_service", "http_service") == "grpc_service":
        service = parse_grpc_service(reader.required_message("grpc_service"), _GRPC_TIMEOUT)
        return GrpcAuthorization(service), allowed
    http, more = parse_http_authorization(reader.required_message("http_service"))
    return http, (*always_shown(), *(allowed or ()), *more)


def _body(reader: Reader) -> BodyLimit:
    check(reader, BODY)
    if not reader.has("max_request_bytes"):
        raise reader.error_at("max_request_bytes", "expected more than 0, found none")
    limit = reader.integer("max_request_bytes", at_least=1)
    return BodyLimit(limit, reader.boolean("allow_partial_message"))


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """What a level makes of the filter."""
    del extensions
    check(reader, PER_ROUTE)
    if reader.required("disabled", "check_settings") == "disabled":
        if not reader.boolean("disabled"):
            raise reader.error_at("disabled", "expected true")
        return lambda running: overridden(running, None)
    settings, packs = _settings(reader.required_message("check_settings"))

    def override(running: HttpFilter) -> HttpFilter:
        found = overridden(running, settings)
        if packs is None or not isinstance(found, ExtAuthz):
            return found
        return replace(found, shown=replace(found.shown, raw_body=packs))

    return override


def _settings(reader: Reader) -> tuple[CheckSettings, bool | None]:
    """Settings, and whether the body goes as octets (None: as before)."""
    check(reader, CHECK_SETTINGS)
    service: Authorization | None = None
    if reader.one_of("grpc_service", "http_service"):
        service, _ = _service(reader, None)
    body = reader.message("with_request_body")
    reads_no_body = reader.boolean("disable_request_body_buffering")
    if body is not None and reads_no_body:
        raise reader.error(
            "with_request_body and disable_request_body_buffering exclude each other"
        )
    extensions = {k: str(v) for k, v in reader.struct("context_extensions").items()}
    settings = CheckSettings(
        extensions, service, None if body is None else _body(body), reads_no_body
    )
    return settings, None if body is None else body.boolean("pack_as_bytes")


EXTENSION: Final = HttpFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
    ),
)
