"""RBAC filters as istiod makes them of AuthorizationPolicies. FEED.md 3.9."""

from collections.abc import Mapping, Sequence

from meshsdk.control_plane.shapes.tls import Json


def allow(policies: Mapping[str, Json]) -> Json:
    """The filter of all ALLOW policies of a workload."""
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {"policies": dict(policies)},
            "shadow_rules_stat_prefix": "istio_dry_run_allow_",
        },
    }


def allow_tcp(policies: Mapping[str, Json]) -> Json:
    """The same for connections. A policy that asks for anything of HTTP has no rule here."""
    return {
        "name": "envoy.filters.network.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
            "rules": {"policies": dict(policies)},
            "shadow_rules_stat_prefix": "istio_dry_run_allow_",
            "stat_prefix": "tcp.",
        },
    }


def rule(
    *, principals: Sequence[str] = (), methods: Sequence[str] = (), paths: Sequence[str] = ()
) -> Json:
    """One rule: SPIFFE IDs, methods and paths, each exact; none is any."""
    ids = [{"authenticated": {"principal_name": {"exact": each}}} for each in principals]
    method_rules = [
        {"header": {"name": ":method", "string_match": {"exact": each}}} for each in methods
    ]
    path_rules = [{"url_path": {"path": {"exact": each}}} for each in paths]
    rules: list[Json] = [
        {"or_rules": {"rules": each}} for each in (method_rules, path_rules) if each
    ]
    principal: Json = {"or_ids": {"ids": ids}} if ids else {"any": True}
    return {
        "permissions": [{"and_rules": {"rules": rules or [{"any": True}]}}],
        "principals": [{"and_ids": {"ids": [principal]}}],
    }


def deny_all() -> Json:
    """The policy without rules: it matches nobody, so that ALLOW denies who matches nothing else."""
    return {
        "permissions": [{"not_rule": {"any": True}}],
        "principals": [{"not_id": {"any": True}}],
    }


def policy_key(namespace: str, policy: str, index: int = 0) -> str:
    """The name of a rule in `rules.policies`."""
    return f"ns[{namespace}]-policy[{policy}]-rule[{index}]"
