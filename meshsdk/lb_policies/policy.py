"""What a load balancing policy is, and what it is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, TypeAlias, runtime_checkable

from meshsdk.call.endpoint import Host, HostState
from meshsdk.clock import Clock, Random

Loads: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
"""Percent of the calls per priority: for its healthy hosts, for its degraded ones."""
Reload: TypeAlias = Callable[[Loads, Loads], Loads]
"""A retry's own idea of the loads, from (availability, loads) of the balancer."""
NO_CRITERIA: Mapping[str, object] = MappingProxyType({})


@dataclass(slots=True)
class PickContext:
    """What a pick may depend on."""

    now: float
    """Monotonic seconds."""
    random: Random
    hash: int | None = None
    """Of the route's hash policies; None: hashing policies draw one."""
    metadata_match: Mapping[str, object] = field(default_factory=lambda: NO_CRITERIA)
    """`envoy.lb` criteria of the route and the weighted cluster."""
    avoid: Callable[[Host], bool] | None = None
    """A retry's host predicates."""
    reselections: int = 0
    """How often a host to be avoided is thrown back (host_selection_retry_max_attempts)."""
    reload: Reload | None = None
    """A retry's priority plugin."""


class Health(Protocol):
    """Who ejects hosts (outlier detection); balancers look again when `version` moves."""

    @property
    def version(self) -> int:
        """Moves whenever a host was ejected or came back."""
        ...

    def sweep(self, now: float) -> None:
        """Let ejections end that are over."""
        ...


class Steady:
    """No host is ever ejected."""

    __slots__ = ()
    version = 0

    def sweep(self, now: float) -> None:
        """Nothing to do."""


STEADY = Steady()


class Picker(Protocol):
    """Picks among the hosts of one source: a priority's or a locality's healthy, degraded or all."""

    def pick(self, context: PickContext) -> Host | None: ...


@dataclass(slots=True)
class Position:
    """How far a rotation has come."""

    next: int


SourceKey: TypeAlias = tuple[int, str, object]
"""Priority; `healthy`, `degraded` or `all`; the locality or None."""


@dataclass(slots=True)
class Live:
    """What a balancer's successor takes over: rotations and since when hosts are known."""

    positions: dict[SourceKey, Position] = field(default_factory=dict[SourceKey, Position])
    since: dict[HostState, float] = field(default_factory=dict[HostState, float])


@dataclass(slots=True)
class Source:
    """One set of hosts to make a picker for."""

    key: SourceKey
    hosts: tuple[Host, ...]
    live: Live
    clock: Clock
    random: Random


@runtime_checkable
class SourcePolicy(Protocol):
    """A policy that picks within the source that the balancer chose."""

    @property
    def not_built(self) -> tuple[str, ...]: ...
    @property
    def locality_weighted(self) -> bool: ...

    def picker(self, source: Source) -> Picker: ...


class HashTable(Protocol):
    """Maps a hash to a host."""

    def find(self, hash_: int, attempt: int) -> Host | None:
        """`attempt` counts the hosts that a retry threw back."""
        ...


WeightedHosts: TypeAlias = Sequence[tuple[Host, float]]
"""Hosts with their share of the whole: the weights sum to 1."""


@runtime_checkable
class HashPolicy(Protocol):
    """A policy that maps the call's hash to a host of a priority."""

    @property
    def not_built(self) -> tuple[str, ...]: ...
    @property
    def locality_weighted(self) -> bool: ...

    def table(self, hosts: WeightedHosts) -> HashTable: ...


class LoadBalancer(Protocol):
    """Picks hosts of one cluster; made anew for each version of its endpoints."""

    @property
    def live(self) -> Live: ...
    def pick(self, context: PickContext) -> Host | None:
        """A host, or None when none may be used (flag UH)."""
        ...
