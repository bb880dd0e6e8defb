"""Route configurations. FEED.md 3.4, 3.5."""

from collections.abc import Mapping, Sequence
from typing import Final

from meshsdk.control_plane.shapes.tls import Json

DEFAULT_RETRY_ON: Final = (
    "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
)
PREVIOUS_HOSTS: Final[Json] = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {
        "@type": "type.googleapis.com/"
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    },
}


def retry_policy(
    retry_on: str = DEFAULT_RETRY_ON, num_retries: int = 2, per_try_timeout: str = ""
) -> Json:
    """Retries on another host than before."""
    policy: Json = {
        "host_selection_retry_max_attempts": "5",
        "num_retries": num_retries,
        "retry_host_predicate": [PREVIOUS_HOSTS],
        "retry_on": retry_on,
    }
    return policy | ({"per_try_timeout": per_try_timeout} if per_try_timeout else {})


def route(
    clusters: str | Mapping[str, int],
    *,
    operation: str,
    name: str = "",
    timeout: str = "0s",
    retries: Json | None = None,
    config: str = "",
) -> Json:
    """Everything to one cluster, or by weight. `config`: the VirtualService that says so."""
    action: Json = {
        "max_grpc_timeout": timeout,
        "retry_policy": retries or retry_policy(),
        "timeout": timeout,
    }
    if isinstance(clusters, str):
        action["cluster"] = clusters
    else:
        weighted = [{"name": cluster, "weight": weight} for cluster, weight in clusters.items()]
        action["weighted_clusters"] = {"clusters": weighted}
    found: Json = {
        "decorator": {"operation": operation},
        "match": {"prefix": "/"},
        "route": action,
    }
    found |= {"name": name} if name else {}
    if config:
        found["metadata"] = {"filter_metadata": {"istio": {"config": config}}}
    return found


def virtual_host(
    host: str, port: int, vip: str, routes: Sequence[Json], *, caller_namespace: str
) -> Json:
    """A service as a caller in a namespace may name it."""
    service, namespace, _ = host.split(".", 2)
    short = [f"{service}.{namespace}", f"{service}.{namespace}.svc"]
    if namespace == caller_namespace:
        short = [service, *reversed(short)]
    return {
        "domains": [host, f"{host}.", *short, vip],
        "include_request_attempt_count": True,
        "name": f"{host}:{port}",
        "routes": list(routes),
    }


def route_configuration(name: str, virtual_hosts: Sequence[Json], *, allow_any: bool) -> Json:
    """All HTTP services of a port; the rest passes through, or is blocked (REGISTRY_ONLY)."""
    rest: Json = {"match": {"prefix": "/"}, "name": "block_all", "direct_response": {"status": 502}}
    if allow_any:
        action = {"cluster": "PassthroughCluster", "max_grpc_timeout": "0s", "timeout": "0s"}
        rest = {"match": {"prefix": "/"}, "name": "allow_any", "route": action}
    catch_all = {
        "domains": ["*"],
        "include_request_attempt_count": True,
        "name": rest["name"],
        "routes": [rest],
    }
    return {
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": 1048576,
        "name": name,
        "validate_clusters": False,
        "virtual_hosts": [*virtual_hosts, catch_all],
    }
