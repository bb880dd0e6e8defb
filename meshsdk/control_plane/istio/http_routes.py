"""The HTTP rules of a VirtualService as the routes of a virtual host. Source: istiod,
BuildHTTPRoutesForVirtualService."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from meshsdk.control_plane.istio.envoy_json import message
from meshsdk.control_plane.istio.http_actions import Destination, Retries
from meshsdk.control_plane.istio.http_match import MESH, HttpMatch
from meshsdk.control_plane.istio.http_rule import HttpRule
from meshsdk.control_plane.istio.route_action import (
    ClusterOf,
    HashOf,
    action_of,
    direct_response_json,
    header_fields,
    merged_header_fields,
    per_filter_config,
    redirect_json,
)
from meshsdk.control_plane.istio.route_match import is_catch_all, route_match
from meshsdk.control_plane.istio.virtual_service import VirtualService
from meshsdk.control_plane.shapes.clusters import cluster_name
from meshsdk.control_plane.shapes.tls import Json


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for routes, and where."""

    port: int
    """Of the listener; 0 where it has none."""
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    gateway: str = MESH
    is_tls: bool = False
    """The gateway opened TLS."""
    default_retries: Retries | None = None
    """The mesh config's `defaultHttpRetryPolicy`."""


def no_hash(destination: Destination) -> Json | None:
    """No DestinationRule wants consistent hashing."""
    del destination
    return None


def http_routes(
    service: VirtualService, asking: Asking, cluster_of: ClusterOf, hash_of: HashOf = no_hash
) -> list[Json]:
    """The routes, up to the first that matches everything. Empty where no rule is for who asks."""
    found: list[Json] = []
    for rule, match in _pairs(service, asking):
        route = _route(service, rule, match, asking, cluster_of, hash_of)
        found.append(route)
        if match is None or is_catch_all(message(route["match"])):
            break
    return found


def _pairs(service: VirtualService, asking: Asking) -> Iterator[tuple[HttpRule, HttpMatch | None]]:
    for rule in service.http:
        if not rule.matches:
            yield rule, None
        for match in rule.matches:
            is_here = match.port in (0, asking.port)
            if is_here and match.is_for(asking.gateway, asking.labels, asking.namespace):
                yield rule, match


def _route(
    service: VirtualService,
    rule: HttpRule,
    match: HttpMatch | None,
    asking: Asking,
    cluster_of: ClusterOf,
    hash_of: HashOf,
) -> Json:
    found: Json = {
        "match": route_match(match),
        "metadata": {"filter_metadata": {"istio": {"config": service.config}}},
    }
    name = rule.name if match is None or not match.name else f"{rule.name}.{match.name}"
    if name:
        found["name"] = name
    if match is not None and match.stat_prefix:
        found["stat_prefix"] = match.stat_prefix
    headers = header_fields(rule.headers)
    if rule.redirect is not None:
        found["redirect"] = redirect_json(rule.redirect, asking.port, is_tls=asking.is_tls)
    elif rule.direct_response is not None:
        found["direct_response"] = direct_response_json(rule.direct_response)
    else:
        action, beside = action_of(rule, cluster_of, hash_of, asking.default_retries)
        found["route"] = action
        headers = merged_header_fields(headers, beside)
    found |= headers
    filters = per_filter_config(rule.fault, rule.cors)
    if filters:
        found["typed_per_filter_config"] = filters
    found["decorator"] = {"operation": _operation(found, service.metadata.name, asking.port)}
    return found


def _operation(route: Json, name: str, port: int) -> str:
    """What a trace calls it. Source: istiod, GetRouteOperation."""
    match, action = message(route["match"]), message(route.get("route", {}))
    path = match.get("path") or f"{match.get('prefix', match.get('path_separated_prefix'))}*"
    if "safe_regex" in match:
        path = message(match["safe_regex"])["regex"]
    parts = str(action.get("cluster", "")).split("|")
    if len(parts) == 4:
        return f"{parts[3]}:{parts[1]}{path}"
    return f"{name}:{port}{path}"


def outbound_cluster(destination: Destination, port: int) -> str:
    """The cluster of a destination; the dialled port where it names none."""
    return cluster_name(destination.host, destination.port or port, destination.subset)
