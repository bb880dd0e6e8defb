"""RequestAuthentications of a workload as Envoy's jwt_authn filter. FEED.md 3.10."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.mesh_config import MeshConfig
from meshsdk.control_plane.istio.request_authentication import (
    JwtRule,
    RequestAuthentication,
    key_set_problem,
)
from meshsdk.control_plane.istio.selectors import Workload, of_workload
from meshsdk.control_plane.shapes.clusters import cluster_name
from meshsdk.control_plane.shapes.tls import Json

FetchedJwks: TypeAlias = Callable[[JwtRule], str | None]
"""The key set of a rule without `jwks`, as last fetched from `jwks_uri` (or where
`discovery_uri` says); None where that failed. Does not block."""

_JWT_AUTHN: Final = (
    "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication"
)
_ALWAYS_SPLIT: Final = ("permission", "scope")  # claims that are lists with spaces
_CACHE_DURATION: Final = "300s"  # istiod, of remote_jwks


@dataclass(frozen=True, slots=True)
class KeySets:
    """Where key sets come from."""

    fetched: FetchedJwks
    unusable: str
    """A key set that nobody can sign for, in place of one that could not be fetched: every token
    fails, requests without one still pass. `identity.unusable_jwks` makes it."""
    is_remote: bool = False
    """Leave the fetching to the proxies: istiod's PILOT_JWT_ENABLE_REMOTE_JWKS=envoy."""


def jwt_filter(
    policies: Iterable[RequestAuthentication],
    workload: Workload,
    mesh: MeshConfig,
    key_sets: KeySets,
) -> Json | None:
    """The filter of a workload's inbound HTTP chains; None where no policy has a rule for it."""
    chosen = of_workload(policies, workload, mesh.root_namespace)
    rules = sorted(
        (rule for policy in chosen for rule in policy.rules), key=lambda rule: rule.issuer
    )
    if not rules:
        return None
    names = [f"origins-{i}" for i in range(len(rules))]
    config: Json = {
        "@type": _JWT_AUTHN,
        "bypass_cors_preflight": True,
        "providers": {
            name: _provider(rule, key_sets) for name, rule in zip(names, rules, strict=True)
        },
        "rules": [{"match": {"prefix": "/"}, "requires": _requirement(names)}],
    }
    return {"name": "envoy.filters.http.jwt_authn", "typed_config": config}


def _requirement(names: list[str]) -> Json:
    """No token passes; a token that is there must be good for one of the providers."""
    providers: list[Json] = [{"provider_name": name} for name in names]
    missing: list[Json] = [_any([provider, {"allow_missing": {}}]) for provider in providers]
    if len(names) == 1:
        return missing[0]
    return _any([*providers, {"requires_all": {"requirements": missing}}])


def _any(requirements: list[Json]) -> Json:
    return {"requires_any": {"requirements": requirements}}


def _provider(rule: JwtRule, key_sets: KeySets) -> Json:
    claims = sorted({*_ALWAYS_SPLIT, *rule.space_delimited_claims})
    headers = [
        {"name": name, "value_prefix": prefix} if prefix else {"name": name}
        for name, prefix in rule.from_headers
    ]
    outputs = [
        {"claim_name": claim, "header_name": header}
        for header, claim in rule.output_claim_to_headers
    ]
    optional: Json = {
        "issuer": rule.issuer,
        "audiences": list(rule.audiences),
        "from_headers": headers,
        "from_params": list(rule.from_params),
        "from_cookies": list(rule.from_cookies),
        "forward": rule.forward_original_token,
        "forward_payload_header": rule.output_payload_to_header,
        "claim_to_headers": outputs,
    }
    return {
        **{name: value for name, value in optional.items() if value},
        **_key_set(rule, key_sets),
        "normalize_payload_in_metadata": {"space_delimited_claims": claims},
        "payload_in_metadata": "payload",
    }


def _key_set(rule: JwtRule, key_sets: KeySets) -> Json:
    if rule.jwks:
        return {"local_jwks": {"inline_string": rule.jwks}}
    if key_sets.is_remote and rule.jwks_uri:
        return {"remote_jwks": _remote(rule)}
    found = key_sets.fetched(rule)
    if found is None or key_set_problem(found) is not None:
        found = key_sets.unusable
    return {"local_jwks": {"inline_string": found}}


def _remote(rule: JwtRule) -> Json:
    parts = urlsplit(rule.jwks_uri)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return {
        "cache_duration": _CACHE_DURATION,
        "http_uri": {
            "cluster": cluster_name(parts.hostname or "", port),
            "timeout": seconds_text(rule.timeout),
            "uri": rule.jwks_uri,
        },
    }
