"""envoy.filters.http.ratelimit: a service counts calls, and says which are too many (RLS v3)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal

from meshsdk.call.filter import HttpFilter
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters.not_built import NotBuilt
from meshsdk.filters.ratelimit_filter import NAMESPACE, RateLimitService
from meshsdk.filters.side_service import GrpcService, parse_grpc_service
from meshsdk.filters.status_code import parse_status
from meshsdk.matching.fraction import ALWAYS, Fraction, parse_runtime_fraction
from meshsdk.matching.octets import octets
from meshsdk.resources.header_mutations import HeaderMutations, parse_header_addition
from meshsdk.resources.rate_limit import parse_rate_limits

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    {
        **honoured(
            "domain",
            "stage",
            "request_type",
            "timeout",
            "failure_mode_deny",
            "rate_limited_as_resource_exhausted",
            "rate_limit_service",
            "enable_x_ratelimit_headers",
            "disable_x_envoy_ratelimited_header",
            "rate_limited_status",
            "response_headers_to_add",
            "status_on_error",
            "filter_enabled",
            "filter_enforced",
            "failure_mode_deny_percent",
            "rate_limits",
            "metadata_namespace",
            "enable_retry_after_header",
        ),
        "stat_prefix": ignored("telemetry"),
    },
)
SERVICE: Final = MessageTable(
    "envoy.config.ratelimit.v3.RateLimitServiceConfig",
    honoured("grpc_service", "transport_api_version"),
)
PER_ROUTE: Final = MessageTable(
    "envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
    {
        **honoured("vh_rate_limits", "rate_limits", "domain"),
        "override_option": ignored("Envoy does not look at it"),
    },
)
TABLES: Final = (TABLE, SERVICE, PER_ROUTE)
_TIMEOUT: Final = 0.02
"""Seconds where `timeout` is not set; the service's own timeout is not looked at (observed)."""
_MAX_STAGE: Final = 10
_TOO_MANY: Final = 429
_RESOURCE_EXHAUSTED: Final = 8
_RequestType = Literal["both", "internal", "external"]
_REQUEST_TYPES: Final[Mapping[str, _RequestType]] = {
    "": "both",
    "both": "both",
    "internal": "internal",
    "external": "external",
}
_VIRTUAL_HOST: Final = {"OVERRIDE": "OVERRIDE", "INCLUDE": "INCLUDE", "IGNORE": "IGNORE"}
_X_RATELIMIT: Final = {"OFF": False, "DRAFT_VERSION_03": True}


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of a RateLimit."""
    missing = list(check(reader, TABLE))
    limits = parse_rate_limits(reader, extensions)
    added = HeaderMutations(reader.each("response_headers_to_add", parse_header_addition))
    missing.extend(path for limit in limits for path in limit.not_built)
    missing.extend(added.not_built)
    service = _service(reader, missing)
    # A status below 400 stays 429.
    status = parse_status(reader, "rate_limited_status", _TOO_MANY)
    exhausted = reader.boolean("rate_limited_as_resource_exhausted")
    domain = octets(reader.required_string("domain"))
    if missing:
        return NotBuilt(missing[0])
    return RateLimitService(
        service,
        domain,
        reader.integer("stage", at_least=0, at_most=_MAX_STAGE),
        reader.enum("request_type", _REQUEST_TYPES, ""),
        limits,
        enabled=_share(reader, "filter_enabled", extensions),
        enforced=_share(reader, "filter_enforced", extensions),
        denies_on_failure=_denies(reader, extensions),
        status=status if status >= 400 else _TOO_MANY,
        grpc_status=_RESOURCE_EXHAUSTED if exhausted else None,
        status_on_error=parse_status(reader, "status_on_error", 500),
        response_headers=added,
        x_ratelimit_headers=reader.enum("enable_x_ratelimit_headers", _X_RATELIMIT, "OFF"),
        tells_limited=not reader.boolean("disable_x_envoy_ratelimited_header"),
        retry_after=reader.boolean("enable_retry_after_header"),
        namespace=reader.string("metadata_namespace") or NAMESPACE,
        runtime=extensions.runtime or {},
    )


def _service(reader: Reader, missing: list[str]) -> GrpcService:
    config = reader.required_message("rate_limit_service")
    missing.extend(check(config, SERVICE))
    config.enum("transport_api_version", {"V3": 3}, "AUTO")
    service = parse_grpc_service(config.required_message("grpc_service"), None)
    timeout = reader.optional_duration("timeout")
    return replace(service, timeout=_TIMEOUT if timeout is None else timeout or None)


def _share(reader: Reader, name: str, extensions: Extensions) -> Fraction:
    found = reader.message(name)
    return ALWAYS if found is None else parse_runtime_fraction(found, extensions.runtime)


def _denies(reader: Reader, extensions: Extensions) -> Fraction | bool:
    found = reader.message("failure_mode_deny_percent")
    if found is None:
        return reader.boolean("failure_mode_deny")
    return parse_runtime_fraction(found, extensions.runtime)


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """What a level makes of the filter."""
    missing = list(check(reader, PER_ROUTE))
    limits = parse_rate_limits(reader, extensions)
    missing.extend(path for limit in limits for path in limit.not_built)
    virtual_host = reader.enum("vh_rate_limits", _VIRTUAL_HOST, "OVERRIDE")
    domain = octets(reader.string("domain"))

    def override(running: HttpFilter) -> HttpFilter:
        if not isinstance(running, RateLimitService):
            return running
        if missing:
            return NotBuilt(missing[0])
        return replace(
            running,
            domain=domain or running.domain,
            rate_limits=limits or running.rate_limits,
            virtual_host=virtual_host,
        )

    return override


EXTENSION: Final = HttpFilterExtension(
    name=NAMESPACE,
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
    ),
)
