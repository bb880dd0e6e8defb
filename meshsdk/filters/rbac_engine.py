"""What a set of policies decides, and the index that spares most of them the question."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, Protocol, TypeAlias

from meshsdk.call.message import LocalReply, Request
from meshsdk.config.fields import check
from meshsdk.config.reader import Reader
from meshsdk.filters.rbac_leaves import policy_path
from meshsdk.filters.rbac_nodes import And, Dimension, Facts, Test, compile_node, keys_of, simplify
from meshsdk.filters.rbac_peer import peer_values
from meshsdk.filters.rbac_rules import AUDIT_TABLE, RBAC_TABLE, Policy, Scope, parse_policy

ActionName: TypeAlias = Literal["ALLOW", "DENY", "LOG"]
ACTIONS: Final[Mapping[str, ActionName]] = {"ALLOW": "ALLOW", "DENY": "DENY", "LOG": "LOG"}
_AUDITED: Final[Mapping[str, Collection[bool]]] = {
    "NONE": (),
    "ON_DENY": (False,),
    "ON_ALLOW": (True,),
    "ON_DENY_AND_ALLOW": (False, True),
}
_INDEXED: Final = 4
"""Policies that must have a key before an index of them pays."""
_SPACES: Final = {ord(space): "_" for space in " \t\n\v\f\r"}


@dataclass(frozen=True, slots=True)
class Ruling:
    """A decision, ready to be used: made once per policy."""

    allowed: bool
    policy: str
    """Empty: none matched."""
    metadata: Mapping[str, object]
    """What is published under the filter's namespace."""
    log_hint: bool | None = None
    """`access_log_hint` where the action is LOG."""
    is_shadow: bool = False
    statistics: str = ""
    """The prefix of the metadata's keys."""
    is_audited: bool = False
    """Whether somebody asked for a record of it: Istio's AUDIT, Envoy's LOG, or audit options."""

    @property
    def details(self) -> str:
        """%RESPONSE_CODE_DETAILS% of a denial; blanks would break the columns of access logs."""
        name = self.policy.translate(_SPACES) or "none"
        return f"rbac_access_denied_matched_policy[{name}]"

    def reply(self) -> LocalReply:
        """The answer to a denied request."""
        return LocalReply.denied(self.details)


@dataclass(frozen=True, slots=True)
class Names:
    """The metadata keys under which an engine publishes."""

    result: str
    policy: str
    is_shadow: bool = False
    prefix: str = ""

    @classmethod
    def of(cls, prefix: str, mode: Literal["enforced", "shadow"]) -> "Names":
        """The keys of one mode behind the configured statistics prefix (observed)."""
        return cls(
            f"{prefix}{mode}_engine_result",
            f"{prefix}{mode}_effective_policy_id",
            mode == "shadow",
            prefix,
        )

    def ruling(
        self,
        allowed: bool,
        policy: str,
        log_hint: bool | None = None,
        *,
        is_audited: bool = False,
    ) -> Ruling:
        """A ruling with its metadata."""
        metadata: dict[str, object] = {self.result: "allowed" if allowed else "denied"}
        if policy:
            metadata[self.policy] = policy
        hint = None if self.is_shadow else log_hint
        is_audited = (is_audited or hint is True) and not self.is_shadow
        return Ruling(allowed, policy, metadata, hint, self.is_shadow, self.prefix, is_audited)

    def renamed(self, ruling: Ruling) -> Ruling:
        """The same ruling under these keys."""
        return self.ruling(
            ruling.allowed, ruling.policy, ruling.log_hint, is_audited=ruling.is_audited
        )


class Engine(Protocol):
    """Rules or a matcher, compiled."""

    def decide(self, request: Request, facts: Facts) -> Ruling:
        """The ruling on a request."""
        ...

    def named(self, names: Names) -> "Engine":
        """The same, publishing under other keys."""
        ...


@dataclass(frozen=True, slots=True)
class RuleEngine:
    """One action and its policies: the first in byte order of names that matches has decided."""

    action: ActionName
    policies: tuple[Policy, ...]
    tests: tuple[Test, ...]
    on_match: tuple[Ruling, ...]
    on_none: Ruling
    index: "PolicyIndex | None" = field(default=None)

    def named(self, names: Names) -> "RuleEngine":
        return replace(
            self,
            on_match=tuple(map(names.renamed, self.on_match)),
            on_none=names.renamed(self.on_none),
        )

    def decide(self, request: Request, facts: Facts) -> Ruling:
        index = self.index
        tests = self.tests
        if index is None:
            for i, test in enumerate(tests):
                if test(request, facts):
                    return self.on_match[i]
            return self.on_none
        candidates = index.candidates(request, facts)
        while candidates:
            lowest = candidates & -candidates
            i = lowest.bit_length() - 1
            if tests[i](request, facts):
                return self.on_match[i]
            candidates ^= lowest
        return self.on_none


def compile_rules(
    action: ActionName,
    policies: Iterable[Policy],
    names: Names,
    audited: Collection[bool] = (),
) -> RuleEngine:
    """The engine for some policies. `audited`: verdicts (allowed, or not) that are recorded."""
    ordered = tuple(sorted(policies, key=lambda policy: policy.name))
    allows = action != "DENY"
    logs = action == "LOG"
    return RuleEngine(
        action,
        ordered,
        tuple(
            compile_node(simplify(And((p.permission, p.principal))), unknown=action == "DENY")
            for p in ordered
        ),
        tuple(
            names.ruling(allows, p.name, True if logs else None, is_audited=allows in audited)
            for p in ordered
        ),
        names.ruling(
            action != "ALLOW",
            "",
            False if logs else None,
            is_audited=(action != "ALLOW") in audited,
        ),
        build_index(ordered),
    )


def parse_rules(reader: Reader, names: Names, *, strict: bool) -> RuleEngine:
    """The engine of an envoy.config.rbac.v3.RBAC; `strict` reads a DENY as section 12 of the
    threat model says."""
    check(reader, RBAC_TABLE)
    action = reader.enum("action", ACTIONS, "ALLOW")
    scope = Scope(widens=strict and action == "DENY", strict=strict, denies=action == "DENY")
    policies = [parse_policy(name, item, scope) for name, item in reader.entries("policies")]
    return compile_rules(action, policies, names, _audited(reader))


def _audited(reader: Reader) -> Collection[bool]:
    options = reader.message("audit_logging_options")
    if options is None:
        return ()
    check(options, AUDIT_TABLE)
    return options.enum("audit_condition", _AUDITED, "NONE")


@dataclass(frozen=True, slots=True)
class _Keyed:
    """Policies by the value that they require, as bits; `rest` requires none."""

    by_value: Mapping[str, int]
    rest: int


@dataclass(frozen=True, slots=True)
class PolicyIndex:
    """Which policies can match at all. Bit n is the n-th policy in order of names."""

    every: int
    peer: _Keyed | None
    path: _Keyed | None
    method: _Keyed | None

    def candidates(self, request: Request, facts: Facts) -> int:
        """The policies that the request's peer, path and method leave."""
        found = self.every
        keyed = self.peer
        if keyed is not None:
            peer = keyed.rest
            certificate = facts.connection.peer.certificate
            if certificate is not None:
                get = keyed.by_value.get
                for value in peer_values(certificate):
                    peer |= get(value, 0)
            found = peer
        keyed = self.path
        if keyed is not None and found:
            found &= keyed.rest | keyed.by_value.get(policy_path(request, facts), 0)
        keyed = self.method
        if keyed is not None and found:
            found &= keyed.rest | keyed.by_value.get(request.method, 0)
        return found


def build_index(policies: Sequence[Policy]) -> PolicyIndex | None:
    """The index of some policies; None where asking them all is as fast."""
    peer = _keyed(policies, "peer")
    path = _keyed(policies, "path")
    method = _keyed(policies, "method")
    if peer is None and path is None and method is None:
        return None
    return PolicyIndex((1 << len(policies)) - 1, peer, path, method)


def _keyed(policies: Sequence[Policy], dimension: Dimension) -> _Keyed | None:
    by_value: dict[str, int] = {}
    rest = 0
    for i, policy in enumerate(policies):
        keys = keys_of(And((policy.permission, policy.principal)), dimension)
        if keys is None:
            rest |= 1 << i
            continue
        for key in keys:
            by_value[key] = by_value.get(key, 0) | 1 << i
    return _Keyed(by_value, rest) if len(policies) - rest.bit_count() >= _INDEXED else None
