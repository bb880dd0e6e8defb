"""Why a policy decided as it did, for people. Made only when somebody asks."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TypeAlias

REDACTED = "[redacted]"


@dataclass(frozen=True, slots=True)
class Shown:
    """Header fields and claims whose values a record may show; those of others are redacted."""

    headers: Collection[str] = frozenset({"content-type", "user-agent"})
    """In lower case."""
    claims: Collection[str] = frozenset({"iss", "aud"})
    """Nested ones with dots: `realm_access.roles`."""


SHOWN = Shown()


@dataclass(frozen=True, slots=True)
class Condition:
    """One question of a policy, and what the request had."""

    what: str
    """`method`, `path`, `principal`, `claim sub`, `header x-role` ..."""
    expected: str
    """`exact "GET"`; `not exact "GET"`."""
    actual: str
    """In quotes; `none` where the request has nothing of the kind."""

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A policy that did not match."""

    policy: str
    rule: int
    failed: Condition
    """The first of its conditions that did not hold."""
    missing: int
    """How many did not, at least."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One judgement. It is the operator's: callers are told no more than Envoy tells them."""

    filter: str
    action: str
    allowed: bool
    is_dry_run: bool
    policy: str = ""
    """The one that matched."""
    rule: int | None = None
    """Its rule: what an Istio name ends with, else its place in the order of names."""
    conditions: tuple[Condition, ...] = ()
    """Those that matched."""
    policies: int = 0
    """How many there are."""
    nearest: tuple[NearMiss, ...] = ()
    """Where none matched: at most three."""
    change: Condition | None = None
    """The only condition that stood between the request and the other verdict of this filter."""
    config_version: int = 0
    request_id: str = ""

    def __str__(self) -> str:
        verdict = "allowed" if self.allowed else "denied"
        dry = " (dry run)" if self.is_dry_run else ""
        parts = [f"{verdict}{dry} by {self.filter}, {self.action}"]
        if self.policy:
            parts.append(f"policy {self.policy} rule {self.rule} matched")
            parts += [str(condition) for condition in self.conditions]
        else:
            parts.append(f"none of {self.policies} policies matched")
            parts += [f"nearest {near.policy}: {near.failed}" for near in self.nearest]
        if self.change is not None:
            parts.append(f"one change decides otherwise: {self.change.what}")
        return "; ".join(parts)


Explain: TypeAlias = Callable[[Shown], DecisionRecord]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a filter decided by policy; `explain` works the record out from what it kept."""

    filter: str
    policy: str
    allowed: bool
    is_dry_run: bool
    statistics: str
    """The prefix under which it counts: `istio_dry_run_allow_`."""
    explain: Explain = field(repr=False)
    is_audited: bool = False
    """Whether its policy asks for a record of the decision."""
