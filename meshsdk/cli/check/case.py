"""The case format: a neutral config and requests (conformance README), or Envoy resources."""

from collections.abc import Iterator, Mapping
from typing import cast

from meshsdk.resources.cluster import TYPE_URL as CLUSTER
from meshsdk.resources.hcm import TYPE_URL as HCM
from meshsdk.resources.listener import TYPE_URL as LISTENER

Json = Mapping[str, object]

ROUTER: Json = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
LISTEN_PORT = 8080
"""Local port of a case's connections (`dest_port`)."""
FIRST_PORT = 22000
"""Where the endpoints of generated clusters begin."""


def is_neutral(config: Json) -> bool:
    """Whether a config is in the neutral form rather than Envoy's static resources."""
    return "route_config" in config


def resources(config: Json) -> dict[str, dict[str, Json]]:
    """A neutral config as Envoy resources by type URL and name."""
    clusters = {str(c["name"]): c for c in _objects(config.get("clusters"))}
    names = set(_cluster_names(config.get("route_config")))
    names |= set(_strings(config.get("extra_clusters")))
    names -= set(_strings(config.get("missing_clusters")))
    for i, name in enumerate(sorted(names - clusters.keys())):
        clusters[name] = _static_cluster(name, FIRST_PORT + i)
    return {LISTENER: {"check": _listener(config)}, CLUSTER: clusters}


def _listener(config: Json) -> Json:
    route_config = dict(_object(config.get("route_config")))
    route_config.setdefault("name", "rc")
    if "validateClusters" not in route_config:
        route_config.setdefault("validate_clusters", False)
    filters = list(_objects(config.get("http_filters")))
    if (
        not filters
        or "router"
        not in str(filters[-1].get("typed_config", filters[-1].get("typedConfig", ""))).lower()
    ):
        filters.append(ROUTER)
    hcm = {
        "@type": HCM,
        "stat_prefix": "check",
        "generate_request_id": False,
        "route_config": route_config,
        "http_filters": filters,
        **_object(config.get("hcm")),
    }
    chain = {
        "filters": [
            *_objects(config.get("network_filters")),
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": hcm},
        ]
    }
    return {
        "name": "check",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": LISTEN_PORT}},  # noqa: S104 - nothing is bound
        "filter_chains": [chain],
    }


def _static_cluster(name: str, port: int) -> Json:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def _cluster_names(node: object) -> Iterator[str]:
    """Every cluster that a route configuration can name statically."""
    if isinstance(node, Mapping):
        for key, value in cast("Json", node).items():
            if key == "cluster" and isinstance(value, str):
                yield value
            elif key in ("weighted_clusters", "weightedClusters"):
                for entry in _objects(_object(value).get("clusters")):
                    if entry.get("name"):
                        yield str(entry["name"])
                yield from _cluster_names(value)
            elif key not in ("filter_metadata", "filterMetadata"):
                yield from _cluster_names(value)
    elif isinstance(node, list):
        for item in cast("list[object]", node):
            yield from _cluster_names(item)


def mirror_clusters(node: object) -> Iterator[str]:
    """Clusters that request_mirror_policies name."""
    if isinstance(node, Mapping):
        for key, value in cast("Json", node).items():
            if key in ("request_mirror_policies", "requestMirrorPolicies"):
                yield from (str(m["cluster"]) for m in _objects(value) if m.get("cluster"))
            yield from mirror_clusters(value)
    elif isinstance(node, list):
        for item in cast("list[object]", node):
            yield from mirror_clusters(item)


def _object(value: object) -> Json:
    return cast("Json", value) if isinstance(value, Mapping) else {}


def _objects(value: object) -> list[Json]:
    return cast("list[Json]", value) if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    return cast("list[str]", value) if isinstance(value, list) else []
