"""An extension provider as Envoy's ext_authz filters. FEED.md 3.9, CUSTOM."""

from collections.abc import Sequence
from typing import Final

from meshsdk.control_plane.istio.authz_clauses import string_match
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.ext_authz_provider import ExtAuthz
from meshsdk.control_plane.shapes.clusters import cluster_name
from meshsdk.control_plane.shapes.tls import Json

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters"


def http_ext_authz(provider: ExtAuthz, match_prefix: str) -> Json:
    """The HTTP filter; it asks where the RBAC filter before it found a policy of that prefix."""
    config: Json = {
        "@type": f"{_FILTERS}.http.ext_authz.v3.ExtAuthz",
        **_enabled("envoy.filters.http.rbac", match_prefix),
        "transport_api_version": "V3",
    }
    if provider.fail_open:
        config["failure_mode_allow"] = True
    if provider.status is not None:
        config["status_on_error"] = {"code": provider.status}
    if provider.body is not None:
        body: Json = {"max_request_bytes": provider.body.max_request_bytes}
        body |= {"allow_partial_message": True} if provider.body.allow_partial_message else {}
        config["with_request_body"] = (
            {**body, "pack_as_bytes": True} if provider.body.pack_as_bytes else body
        )
    if provider.protocol == "grpc":
        config["grpc_service"] = _grpc_service(provider)
    else:
        config["http_service"] = _http_service(provider)
        if provider.request_headers:
            config["allowed_headers"] = _headers(provider.request_headers)
    return {"name": "envoy.filters.http.ext_authz", "typed_config": config}


def tcp_ext_authz(provider: ExtAuthz, match_prefix: str) -> Json:
    """The network filter; gRPC providers only."""
    config: Json = {
        "@type": f"{_FILTERS}.network.ext_authz.v3.ExtAuthz",
        **_enabled("envoy.filters.network.rbac", match_prefix),
        "grpc_service": _grpc_service(provider),
        "stat_prefix": "tcp.",
        "transport_api_version": "V3",
    }
    if provider.fail_open:
        config["failure_mode_allow"] = True
    return {"name": "envoy.filters.network.ext_authz", "typed_config": config}


def _enabled(rbac: str, match_prefix: str) -> Json:
    matcher: Json = {
        "filter": rbac,
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": match_prefix}},
    }
    return {"filter_enabled_metadata": matcher}


def _grpc_service(provider: ExtAuthz) -> Json:
    cluster = cluster_name(provider.service, provider.port)
    return {
        "envoy_grpc": {"authority": provider.service, "cluster_name": cluster},
        "timeout": seconds_text(provider.timeout),
    }


def _http_service(provider: ExtAuthz) -> Json:
    service: Json = {
        "server_uri": {
            "cluster": cluster_name(provider.service, provider.port),
            "timeout": seconds_text(provider.timeout),
            "uri": f"http://{provider.service}",
        }
    }
    if provider.path_prefix:
        service["path_prefix"] = provider.path_prefix
    if provider.additional_headers:
        added = [
            {"key": key, "value": value}
            for key, value in sorted(provider.additional_headers.items())
        ]
        service["authorization_request"] = {"headers_to_add": added}
    response = {
        name: _headers(headers)
        for name, headers in (
            ("allowed_upstream_headers", provider.upstream_headers_on_allow),
            ("allowed_client_headers", provider.downstream_headers_on_deny),
            ("allowed_client_headers_on_success", provider.downstream_headers_on_allow),
        )
        if headers
    }
    if response:
        service["authorization_response"] = response
    return service


def _headers(names: Sequence[str]) -> Json:
    return {"patterns": [{**string_match(name), "ignore_case": True} for name in names]}
