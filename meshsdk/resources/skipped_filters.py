"""Filters of a sidecar's telemetry and Istio's own, which change no decision of ours."""

from collections.abc import Mapping
from typing import Final

_TELEMETRY: Final = "telemetry"
_PEER_METADATA: Final = "telemetry: metadata exchange between proxies"

HTTP: Final[Mapping[str, str]] = {
    "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": _TELEMETRY,
    "type.googleapis.com/stats.PluginConfig": _TELEMETRY,
    "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig": (
        "upstream/ offers Istio's ALPN itself"
    ),
}
"""Why, by the type URL of the config (the inner one of a TypedStruct)."""

NETWORK: Final[Mapping[str, str]] = {
    "type.googleapis.com/stats.PluginConfig": _TELEMETRY,
    "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange": _PEER_METADATA,
}

TYPED_STRUCTS: Final = frozenset(
    {
        "type.googleapis.com/udpa.type.v1.TypedStruct",
        "type.googleapis.com/xds.type.v3.TypedStruct",
    }
)

AUTHORIZATION: Final = frozenset(
    {
        "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
        "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
        "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "type.googleapis.com/envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
        "type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
        "type.googleapis.com/envoy.extensions.filters.http.oauth2.v3.OAuth2",
    }
)
"""HTTP filters that decide who may pass; what stands before one of them may too."""
