"""The balancer of policies that pick within one source: a priority's or a locality's hosts.

Source: Envoy, ZoneAwareLoadBalancerBase (without a local cluster).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from meshsdk.call.endpoint import Host
from meshsdk.lb_policies.edf import Edf
from meshsdk.lb_policies.localities import LocalityHosts, by_locality, scheduler
from meshsdk.lb_policies.policy import Live, PickContext, Picker, Source, SourcePolicy
from meshsdk.lb_policies.priority import HostSet, PriorityState, by_priority, choose, spread
from meshsdk.lb_policies.settings import Settings


@dataclass(frozen=True, slots=True)
class _Level:
    """The pickers of one priority."""

    everyone: Picker
    healthy: Picker
    degraded: Picker
    by_locality: "_ByLocality | None"


@dataclass(frozen=True, slots=True)
class _ByLocality:
    """The schedulers of one priority, and a picker for each locality."""

    schedule: tuple[Edf[tuple[int, float]] | None, Edf[tuple[int, float]] | None]
    """For healthy hosts, for degraded ones."""
    pickers: tuple[tuple[Picker, ...], tuple[Picker, ...]]


@dataclass(frozen=True, slots=True)
class _View:
    """Everything that depends on health, swapped whole."""

    version: int
    state: PriorityState
    levels: tuple[_Level, ...]
    sole: Picker | None
    """Where every call goes to the healthy hosts of one priority without choice of locality."""


class SourceBalancer:
    """Chooses a priority, then maybe a locality, then asks the policy's picker."""

    __slots__ = ("_hosts", "_policy", "_settings", "_view", "live")

    def __init__(
        self, policy: SourcePolicy, hosts: Sequence[Host], settings: Settings, live: Live
    ) -> None:
        self._policy = policy
        self._hosts = tuple(hosts)
        self._settings = settings
        self.live = live
        self._view = self._look()

    def pick(self, context: PickContext) -> Host | None:
        """A host, or None when none may be used."""
        health = self._settings.health
        health.sweep(context.now)
        view = self._view
        if view.version != health.version:
            view = self._view = self._look()
        picker = view.sole
        if picker is not None and context.avoid is None and context.reload is None:
            return picker.pick(context)
        return self._pick_with_care(view, context)

    def _pick_with_care(self, view: _View, context: PickContext) -> Host | None:
        host: Host | None = None
        for _ in range(context.reselections + 1):
            picker = self._choose(view, context)
            host = None if picker is None else picker.pick(context)
            if host is None or context.avoid is None or not context.avoid(host):
                return host
        return host

    def _choose(self, view: _View, context: PickContext) -> Picker | None:
        state = view.state
        loads = state.loads
        if context.reload is not None:
            loads = context.reload(state.availability, loads)
        priority, degraded = choose(loads, context.random.randrange(100) + 1)
        level = view.levels[priority]
        if state.panic[priority]:
            return None if self._settings.fail_traffic_on_panic else level.everyone
        if level.by_locality is not None:
            schedule = level.by_locality.schedule[degraded]
            chosen = None if schedule is None else schedule.pick(lambda item: item[1])
            if chosen is not None:
                return level.by_locality.pickers[degraded][chosen[0]]
        return level.degraded if degraded else level.healthy

    def _look(self) -> _View:
        """Sort the hosts by health and make pickers."""
        settings = self._settings
        version = settings.health.version
        sets = by_priority(self._hosts)
        state = spread(
            sets,
            overprovisioning=settings.overprovisioning,
            weighted=settings.weighted_priority_health,
            panic_threshold=settings.panic_threshold,
        )
        levels = tuple(self._level(index, hosts) for index, hosts in enumerate(sets))
        return _View(version, state, levels, _sole(state, levels))

    def _level(self, priority: int, hosts: HostSet) -> _Level:
        return _Level(
            self._picker((priority, "all", None), hosts.hosts),
            self._picker((priority, "healthy", None), hosts.healthy),
            self._picker((priority, "degraded", None), hosts.degraded),
            self._localities(priority, hosts) if self._policy.locality_weighted else None,
        )

    def _localities(self, priority: int, hosts: HostSet) -> _ByLocality:
        groups = by_locality(hosts.hosts)
        factor, random = self._settings.overprovisioning, self._settings.random
        return _ByLocality(
            (
                scheduler(groups, factor, random, degraded=False) if hosts.healthy else None,
                scheduler(groups, factor, random, degraded=True) if hosts.degraded else None,
            ),
            (
                self._pickers(priority, "healthy", groups),
                self._pickers(priority, "degraded", groups),
            ),
        )

    def _pickers(
        self, priority: int, kind: str, groups: tuple[LocalityHosts, ...]
    ) -> tuple[Picker, ...]:
        return tuple(
            self._picker(
                (priority, kind, group.locality),
                group.degraded if kind == "degraded" else group.healthy,
            )
            for group in groups
        )

    def _picker(self, key: tuple[int, str, object], hosts: tuple[Host, ...]) -> Picker:
        settings = self._settings
        return self._policy.picker(Source(key, hosts, self.live, settings.clock, settings.random))


def _sole(state: PriorityState, levels: tuple[_Level, ...]) -> Picker | None:
    for priority, share in enumerate(state.loads[0]):
        if share != 100:
            continue
        level = levels[priority]
        if state.panic[priority] or level.by_locality is not None:
            return None
        return level.healthy
    return None
