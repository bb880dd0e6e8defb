"""Findings about Istio's AuthorizationPolicies. The rows named are those of the threat model."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.cli.authz.lint import Finding
from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy, Match, Rule
from meshsdk.control_plane.istio.loader import Loaded, Parsed, load
from meshsdk.control_plane.istio.peer_authentication import PeerAuthentication, inbound_mtls
from meshsdk.control_plane.istio.selectors import Workload

_IDENTITY: Final = frozenset(
    {"source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain"}
)
_MERGES: Final = frozenset({"MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"})


@dataclass(frozen=True, slots=True)
class _Seen:
    """One policy and what it stands in."""

    loaded: Loaded
    parsed: Parsed
    policy: AuthorizationPolicy

    def finding(self, code: str, text: str) -> Finding:
        """About this policy."""
        return Finding(code, str(self.parsed.mark), f"{self.parsed.key}: {text}")

    @property
    def is_permissive(self) -> bool:
        """Whether some port of the workloads that it selects takes plaintext."""
        metadata = self.policy.metadata
        workload = Workload(metadata.namespace, dict(self.policy.selector))
        found = inbound_mtls(
            self.loaded.all(PeerAuthentication), workload, self.loaded.mesh_config.root_namespace
        )
        return any(mode != "STRICT" for mode in (found.mode, *found.ports.values()))


def lint_istio(texts: Mapping[str, str]) -> list[Finding]:
    """Every finding, the documents' own problems first."""
    loaded = load(texts)
    found = [
        Finding(problem.severity, str(problem.mark), f"{problem.field_path}: {problem.text}")
        for problem in loaded.problems
        if problem.severity in ("error", "warning")
    ]
    for parsed in loaded.documents:
        if isinstance(parsed.noun, AuthorizationPolicy):
            seen = _Seen(loaded, parsed, parsed.noun)
            for check in _CHECKS:
                found.extend(check(seen))
    return found


def _matches(rule: Rule) -> Iterator[Match]:
    for group in (*rule.sources, *rule.operations, rule.conditions):
        yield from group


def _of(policy: AuthorizationPolicy, attribute: str) -> Iterator[Match]:
    for rule in policy.rules:
        yield from (match for match in _matches(rule) if match.attribute == attribute)


def _slashes(seen: _Seen) -> Iterator[Finding]:
    """P6: `//admin` is another path where slashes are not merged."""
    if seen.policy.action != "DENY":
        return
    mode = seen.loaded.mesh_config.path_normalization
    paths = [v for m in _of(seen.policy, "paths") for v in m.values if not v.startswith("*")]
    if paths and mode not in _MERGES:
        text = (
            f"DENY of {paths[0]} does not deny /{paths[0]}: pathNormalization is {mode};"
            " MERGE_SLASHES closes that"
        )
        yield seen.finding("deny-path-slashes", text)
    encoded = mode != "DECODE_AND_MERGE_SLASHES"
    nested = next((path for path in paths if "/" in path[1:].rstrip("/*")), "")
    if nested and encoded:
        text = f"DENY of {nested} does not deny its spellings with %2F: pathNormalization is {mode}"
        yield seen.finding("deny-path-escaped-slashes", text)


def _exact_paths(seen: _Seen) -> Iterator[Finding]:
    """P12, P16: what frameworks take for the same path."""
    if seen.policy.action != "DENY":
        return
    values = {value for match in _of(seen.policy, "paths") for value in match.values}
    for path in sorted(values):
        is_exact = "*" not in path and "{" not in path and path != "/"
        if is_exact and not {f"{path}*", f"{path}/*", f"{path}/"} & values:
            text = f"DENY of {path} denies neither {path}/ nor {path};x: better {path}*"
            yield seen.finding("deny-path-exact", text)


def _queries(seen: _Seen) -> Iterator[Finding]:
    """P14: the query is no part of a path."""
    for match in _of(seen.policy, "paths"):
        for value in (*match.values, *match.not_values):
            if "?" in value or "#" in value:
                yield seen.finding("path-with-query", f"the path {value} matches nothing")


def _stars(seen: _Seen) -> Iterator[Finding]:
    """P23: a star is one only at one end."""
    for rule in seen.policy.rules:
        for match in _matches(rule):
            for value in (*match.values, *match.not_values):
                if len(value) > 1 and value.startswith("*") and "*" in value[1:]:
                    text = f"{value} is everything that ends in {value[1:]!r}, the star included"
                    yield seen.finding("two-stars", text)


def _plaintext(seen: _Seen) -> Iterator[Finding]:
    """I7: plaintext has no principal."""
    if not seen.is_permissive:
        return
    matches = [m for rule in seen.policy.rules for m in _matches(rule) if m.attribute in _IDENTITY]
    names = sorted({match.attribute for match in matches})
    if not names:
        return
    by_value = any(match.values for match in matches)
    by_other = any(match.not_values for match in matches)
    text = ""
    if seen.policy.action == "DENY" and by_value:
        text = f"DENY by {names[0]} denies nothing to plaintext callers"
    elif seen.policy.action == "ALLOW" and by_other and not by_value:
        text = f"ALLOW of all but some by {names[0]} allows every plaintext caller"
    elif seen.policy.action == "ALLOW":
        text = f"ALLOW by {names[0]} never matches plaintext callers"
    if text:
        yield seen.finding("permissive-identity", f"{text}; a port is PERMISSIVE or DISABLE")


def _remote_ips(seen: _Seen) -> Iterator[Finding]:
    """H13: any caller writes X-Forwarded-For."""
    for match in _of(seen.policy, "remote.ip"):
        topology = seen.loaded.mesh_config.default_config.get("gatewayTopology")
        if not topology:
            values = ", ".join((*match.values, *match.not_values))
            text = f"remote IP {values} is what the caller says in X-Forwarded-For"
            yield seen.finding("remote-ip-forged", text)


def _hosts(seen: _Seen) -> Iterator[Finding]:
    """H17: Envoy takes the port for a part of the host."""
    if seen.policy.action != "DENY":
        return
    values = {value for match in _of(seen.policy, "hosts") for value in match.values}
    for host in sorted(values):
        if "*" not in host and ":" not in host and f"{host}:*" not in values:
            text = f"DENY of the host {host} does not deny {host}:80 at an Envoy: add {host}:*"
            yield seen.finding("deny-host-port", text)


def _tcp(seen: _Seen) -> Iterator[Finding]:
    """B9: on TCP ports what asks for HTTP goes."""
    if seen.policy.action != "ALLOW":
        return
    for i, rule in enumerate(seen.policy.rules):
        ports = [v for m in _matches(rule) if m.attribute == "destination.port" for v in m.values]
        fields = sorted({match.attribute for match in _matches(rule) if match.is_http})
        if ports and fields:
            text = (
                f"rule {i} asks for {fields[0]}: on ports {', '.join(ports)} it works for HTTP only"
            )
            yield seen.finding("http-on-port", text)


def _unreachable(seen: _Seen) -> Iterator[Finding]:
    """Rules that cannot decide anything."""
    rules = seen.policy.rules
    for i, rule in enumerate(rules):
        for j, other in enumerate(rules):
            if i != j and _covers(other, rule) and (j < i or not _covers(rule, other)):
                text = f"rule {i} decides nothing: rule {j} matches whatever it matches"
                yield seen.finding("unreachable-rule", text)
                break
    if seen.policy.action != "ALLOW":
        return
    for parsed in seen.loaded.documents:
        policy = parsed.noun
        if isinstance(policy, AuthorizationPolicy) and _denies_all(policy, seen):
            yield seen.finding("unreachable-policy", f"{parsed.key} denies everything before it")


def _denies_all(other: AuthorizationPolicy, seen: _Seen) -> bool:
    mine = seen.policy
    root = seen.loaded.mesh_config.root_namespace
    is_wider = other.selector.items() <= mine.selector.items()
    is_near = other.metadata.namespace in (mine.metadata.namespace, root)
    return (
        other.action == "DENY"
        and not other.is_dry_run
        and is_wider
        and is_near
        and any(not any(_matches(rule)) for rule in other.rules)
    )


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether a rule matches all that another does: fewer questions, or the same ones."""
    return (
        _covers_any(wide.sources, narrow.sources)
        and _covers_any(wide.operations, narrow.operations)
        and set(wide.conditions) <= set(narrow.conditions)
    )


def _covers_any(wide: tuple[tuple[Match, ...], ...], narrow: tuple[tuple[Match, ...], ...]) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(any(set(w) <= set(n) for w in wide) for n in narrow)


_CHECKS: Final[tuple[Callable[[_Seen], Iterator[Finding]], ...]] = (
    _slashes,
    _exact_paths,
    _queries,
    _stars,
    _plaintext,
    _remote_ips,
    _hosts,
    _tcp,
    _unreachable,
)
