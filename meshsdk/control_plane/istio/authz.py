"""AuthorizationPolicies of a workload as Envoy's RBAC filters. FEED.md 3.9."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio import authz_clauses as clauses
from meshsdk.control_plane.istio.authorization_policy import (
    Action,
    AuthorizationPolicy,
    Match,
    Rule,
)
from meshsdk.control_plane.istio.ext_authz import http_ext_authz, tcp_ext_authz
from meshsdk.control_plane.istio.ext_authz_provider import ExtAuthz
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.selectors import Workload, of_workload
from meshsdk.control_plane.istio.trust_domains import with_aliases
from meshsdk.control_plane.shapes.tls import Json

IstioVersion: TypeAlias = Literal["1.29", "1.32"]
"""Whose names CUSTOM policies get: 1.32 has the provider in them, and a filter per provider."""
Services: TypeAlias = Mapping[str, Collection[str]]
"""Host name to the namespaces that have a service of it."""

_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters"
_EXT_AUTHZ: Final = "istio-ext-authz"
_BAD: Final = "-deny-due-to-bad-CUSTOM-action"
_ACTIONS: Final[tuple[tuple[Action, str], ...]] = (
    ("AUDIT", "LOG"),
    ("DENY", "DENY"),
    ("ALLOW", ""),
)
_NEVER: Final[Json] = {
    "permissions": [{"not_rule": {"any": True}}],
    "principals": [{"not_id": {"any": True}}],
}


@dataclass(frozen=True, slots=True)
class AuthorizationFilters:
    """Filters in the order of a chain: CUSTOM, then AUDIT, DENY, ALLOW."""

    custom_http: tuple[Json, ...] = ()
    http: tuple[Json, ...] = ()
    custom_tcp: tuple[Json, ...] = ()
    """Network filters, for chains that end in `tcp_proxy`; HTTP chains have none."""
    tcp: tuple[Json, ...] = ()


def authorization_filters(
    policies: Iterable[AuthorizationPolicy],
    workload: Workload,
    mesh: MeshConfig,
    services: Services,
    istio_version: IstioVersion = "1.29",
) -> AuthorizationFilters:
    """What istiod puts into the inbound chains of a workload. `policies`: of all namespaces."""
    chosen = of_workload(policies, workload, mesh.root_namespace)
    custom = [policy for policy in chosen if policy.action == "CUSTOM"]
    return AuthorizationFilters(
        tuple(_custom(custom, mesh, services, istio_version, is_tcp=False)),
        tuple(_plain(chosen, mesh, is_tcp=False)),
        tuple(_custom(custom, mesh, services, istio_version, is_tcp=True)),
        tuple(_plain(chosen, mesh, is_tcp=True)),
    )


def _plain(
    policies: Sequence[AuthorizationPolicy], mesh: MeshConfig, *, is_tcp: bool
) -> Iterable[Json]:
    for action, envoy_action in _ACTIONS:
        chosen = [policy for policy in policies if policy.action == action]
        if not chosen:
            continue
        config: Json = {}
        for name, is_dry in (("rules", False), ("shadow_rules", True)):
            some = [policy for policy in chosen if policy.is_dry_run is is_dry]
            if some:
                rules: dict[str, Json] = {}
                for policy in some:
                    rules |= _policies(policy, mesh, _key(policy), is_tcp=is_tcp)
                config[name] = _rules(envoy_action, rules)
        # istiod asks the shadow rules for their action, and finds ALLOW where there are none.
        is_deny = action == "DENY" and "shadow_rules" in config
        config["shadow_rules_stat_prefix"] = f"istio_dry_run_{'deny' if is_deny else 'allow'}_"
        yield _rbac(config, is_tcp=is_tcp)


def _custom(
    policies: Sequence[AuthorizationPolicy],
    mesh: MeshConfig,
    services: Services,
    version: IstioVersion,
    *,
    is_tcp: bool,
) -> Iterable[Json]:
    providers = sorted({policy.provider for policy in policies})
    rules: dict[str, dict[str, Json]] = {provider: {} for provider in providers}
    for policy in policies:
        key = f"{_match_prefix(policy.provider, version)}-{_key(policy)}"
        rules[policy.provider] |= _policies(policy, mesh, key, is_tcp=is_tcp)
    if len(providers) > 1:
        groups = list(rules.values())
        if version == "1.29":
            groups = [{key: rule for each in groups for key, rule in each.items()}]
        for group in groups:
            yield _denied(group, is_tcp=is_tcp)
        return
    for provider in providers:
        found = _provider(provider, mesh, services)
        if found is None:
            yield _denied(rules[provider], is_tcp=is_tcp)
        elif not is_tcp or found.protocol == "grpc":
            config: Json = {
                "shadow_rules": _rules("DENY", rules[provider]),
                "shadow_rules_stat_prefix": "istio_ext_authz_",
            }
            yield _rbac(config, is_tcp=is_tcp)
            build = tcp_ext_authz if is_tcp else http_ext_authz
            yield build(found, _match_prefix(provider, version))


def _provider(name: str, mesh: MeshConfig, services: Services) -> ExtAuthz | None:
    """The provider with its host for a service; None where nobody can be asked."""
    provider = mesh.provider(name)
    found = None if provider is None else provider.ext_authz
    if found is None or found.problem is not None:
        return None
    namespace, slash, host = found.service.rpartition("/")
    namespaces = services.get(host, ())
    is_known = namespace in namespaces if slash else len(namespaces) == 1
    return replace(found, service=host) if is_known else None


def _denied(policies: Mapping[str, Json], *, is_tcp: bool) -> Json:
    """Nobody can be asked: who would have been asked about is denied."""
    bad = {key + _BAD: policy for key, policy in policies.items()}
    return _rbac({"rules": _rules("DENY", bad)}, is_tcp=is_tcp)


def _match_prefix(provider: str, version: IstioVersion) -> str:
    return _EXT_AUTHZ if version == "1.29" else f"{_EXT_AUTHZ}-{provider}"


def _key(policy: AuthorizationPolicy) -> str:
    return f"ns[{policy.metadata.namespace}]-policy[{policy.metadata.name}]-rule"


def _rules(action: str, policies: Mapping[str, Json]) -> Json:
    rules: Json = {"action": action} if action else {}
    return {**rules, "policies": dict(policies)} if policies else rules


def _rbac(config: Json, *, is_tcp: bool) -> Json:
    room = "network" if is_tcp else "http"
    config = {"@type": f"{_FILTERS}.{room}.rbac.v3.RBAC", **config}
    if is_tcp:
        config["stat_prefix"] = "tcp."
    return {"name": f"envoy.filters.{room}.rbac", "typed_config": config}


# -- rules ----------------------------------------------------------------------------------


def _policies(
    policy: AuthorizationPolicy, mesh: MeshConfig, key: str, *, is_tcp: bool
) -> dict[str, Json]:
    if not policy.rules:
        return {f"{key}[0]": _NEVER}
    found: dict[str, Json] = {}
    for i, rule in enumerate(policy.rules):
        # Of a connection without HTTP an ALLOW rule that asks for HTTP cannot be true: it goes.
        # From the others only what asks for HTTP goes, which makes them wider: istiod's choice.
        if is_tcp and policy.action == "ALLOW" and any(each.is_http for each in _matches(rule)):
            continue
        found[f"{key}[{i}]"] = _policy(rule, policy.metadata.namespace, mesh, is_tcp=is_tcp)
    return found


def _matches(rule: Rule) -> Iterable[Match]:
    for group in (*rule.sources, *rule.operations, rule.conditions):
        yield from group


def _policy(rule: Rule, namespace: str, mesh: MeshConfig, *, is_tcp: bool) -> Json:
    def kept(matches: Iterable[Match]) -> list[Match]:
        return [_with_aliases(match, mesh) for match in matches if not (is_tcp and match.is_http)]

    conditions = kept(rule.conditions)
    permissions = [
        {
            "and_rules": {
                "rules": [
                    clause
                    for match in (*kept(operation), *conditions)
                    if clauses.is_permission(match)
                    for clause in clauses.permissions(match)
                ]
                or [{"any": True}]
            }
        }
        for operation in rule.operations or ((),)
    ]
    principals = [
        {
            "and_ids": {
                "ids": [
                    clause
                    for match in (*kept(source), *conditions)
                    if not clauses.is_permission(match)
                    for clause in clauses.principals(match, namespace)
                ]
                or [{"any": True}]
            }
        }
        for source in rule.sources or ((),)
    ]
    return {"permissions": permissions, "principals": principals}


def _with_aliases(match: Match, mesh: MeshConfig) -> Match:
    if match.attribute != "source.principal":
        return match
    return replace(
        match,
        values=with_aliases(match.values, mesh.trust_domains),
        not_values=with_aliases(match.not_values, mesh.trust_domains),
    )
