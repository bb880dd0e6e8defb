"""Why RBAC decided as it did: the conditions that held, or the nearest policies."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from meshsdk.call.decision_record import (
    REDACTED,
    Condition,
    DecisionRecord,
    NearMiss,
    Shown,
)
from meshsdk.call.message import Request
from meshsdk.filters.rbac_engine import Engine, RuleEngine, Ruling
from meshsdk.filters.rbac_nodes import Always, And, Facts, Leaf, Node, Not, Or, simplify
from meshsdk.filters.rbac_rules import Policy

_NEAREST: Final = 3
_LOOKED_AT: Final = 1000
"""Policies that are looked through for the nearest: a record must not cost a second."""
_LONGEST: Final = 256
"""Characters of a value that a record shows."""
_ISTIO_RULE: Final = re.compile(r"-rule\[([0-9]{1,9})\]\Z")


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request, as policies see it."""

    request: Request
    facts: Facts
    shown: Shown

    def holds(self, node: Node) -> bool:
        match node:
            case Leaf():
                return node.test(self.request, self.facts)
            case Always():
                return True
            case Not(item):
                return not self.holds(item)
            case And(items):
                return all(self.holds(item) for item in items)
            case Or(items):
                return any(self.holds(item) for item in items)

    def evidence(self, node: Node, wanted: bool = True) -> Iterator[Condition]:
        """Why a tree holds, or does not: the fewest conditions that say it. Of a branch that is as
        `wanted` only."""
        match node:
            case Leaf():
                yield self._condition(node, wanted)
            case Always():
                return
            case Not(item):
                yield from self.evidence(item, not wanted)
            case And(items) if wanted:
                for item in items:
                    yield from self.evidence(item)
            case Or(items) if not wanted:
                for item in items:
                    yield from self.evidence(item, False)
            case And(items) | Or(items):
                first = next(item for item in items if self.holds(item) is wanted)
                yield from self.evidence(first, wanted)

    def lacks(self, node: Node, wanted: bool = True) -> tuple[int, Condition | None]:
        """How many conditions keep a tree from being as `wanted`, at least, and the first."""
        if self.holds(node) is wanted:
            return 0, None
        match node:
            case Leaf():
                return 1, self._condition(node, wanted)
            case Always():
                return 1, Condition("nothing", "to match", "any")
            case Not(item):
                return self.lacks(item, not wanted)
            case And(items) | Or(items):
                found = [lack for item in items if (lack := self.lacks(item, wanted))[0]]
                if isinstance(node, And) is wanted:  # every one of them is needed
                    return sum(count for count, _ in found), found[0][1]
                return min(found, key=lambda lack: lack[0])

    def _condition(self, leaf: Leaf, wanted: bool) -> Condition:
        seen = leaf.seen
        negation = "" if wanted else "not "
        if seen is None:
            return Condition(leaf.describe, "no match" if negation else "a match", "otherwise")
        what = f"{seen.kind} {seen.name}" if seen.name else seen.kind
        values = seen.read(self.request, self.facts)
        is_hidden = (
            (seen.kind == "header" and seen.name not in self.shown.headers)
            or (seen.kind == "claim" and seen.name not in self.shown.claims)
            or seen.kind in ("metadata", "filter state")
        )
        if is_hidden:
            return Condition(what, negation + REDACTED, REDACTED if values else "none")
        return Condition(what, negation + seen.expected, ", ".join(map(_quoted, values)) or "none")


def _quoted(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def record(
    name: str, engine: Engine, ruling: Ruling, request: Request, facts: Facts, shown: Shown, /
) -> DecisionRecord:
    """The record of a ruling. Later filters may have added metadata since; nothing else changed."""
    if not isinstance(engine, RuleEngine):
        return DecisionRecord(name, "matcher", ruling.allowed, ruling.is_shadow, ruling.policy)
    asked = _Asked(request, facts, shown)
    policies = engine.policies
    found = DecisionRecord(
        name, engine.action, ruling.allowed, ruling.is_shadow, policies=len(policies)
    )
    if ruling.policy:
        return _matched(found, engine, ruling.policy, asked)
    misses = sorted(
        (_miss(i, policy, asked) for i, policy in enumerate(policies[:_LOOKED_AT])),
        key=lambda miss: miss.missing,
    )[:_NEAREST]
    change = misses[0].failed if misses and misses[0].missing == 1 else None
    return _with(found, nearest=tuple(misses), change=change)


def _matched(found: DecisionRecord, engine: RuleEngine, name: str, asked: _Asked) -> DecisionRecord:
    policies = engine.policies
    at = next(i for i, policy in enumerate(policies) if policy.name == name)
    conditions = tuple(asked.evidence(_tree(policies[at])))
    change: Condition | None = None
    lacking, failed = asked.lacks(_tree(policies[at]), wanted=False)
    if lacking == 1 and failed is not None and _is_alone(policies, at, asked):
        change = failed
    return _with(
        found, policy=name, rule=_rule(policies[at], at), conditions=conditions, change=change
    )


def _is_alone(policies: tuple[Policy, ...], at: int, asked: _Asked) -> bool:
    """Whether no other policy matches too."""
    others = (p for i, p in enumerate(policies[:_LOOKED_AT]) if i != at)
    return len(policies) <= _LOOKED_AT and not any(asked.holds(_tree(p)) for p in others)


def _miss(at: int, policy: Policy, asked: _Asked) -> NearMiss:
    missing, failed = asked.lacks(_tree(policy))
    assert failed is not None
    return NearMiss(policy.name, _rule(policy, at), failed, missing)


def _tree(policy: Policy) -> Node:
    return simplify(And((policy.permission, policy.principal)))


def _rule(policy: Policy, at: int) -> int:
    written = _ISTIO_RULE.search(policy.name)
    return at if written is None else int(written[1])


def _with(
    found: DecisionRecord,
    *,
    policy: str = "",
    rule: int | None = None,
    conditions: tuple[Condition, ...] = (),
    nearest: tuple[NearMiss, ...] = (),
    change: Condition | None = None,
) -> DecisionRecord:
    return DecisionRecord(
        found.filter,
        found.action,
        found.allowed,
        found.is_dry_run,
        policy,
        rule,
        conditions,
        found.policies,
        nearest,
        change,
    )
