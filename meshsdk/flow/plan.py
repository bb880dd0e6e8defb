"""The plan: all configuration that a call can need, compiled, immutable, swapped whole.

Live state is not configuration: `flow/cluster_plan.py` holds it by cluster name, and `compile_plan`
hands it from one plan to the next.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshsdk.config.extension import Extensions, PlacedFilter
from meshsdk.filters.chain import InForce, effective
from meshsdk.filters.router import Router
from meshsdk.flow.chains import uses_source
from meshsdk.flow.cluster_plan import (
    CACHED_CHOICES,
    ClusterPlan,
    LiveState,
    cluster_plan,
    drop_idle,
)
from meshsdk.flow.placed import placed_in, with_placed
from meshsdk.resilience.deadline import Duration, Timeouts
from meshsdk.resources.address import is_ip
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.filter_overrides import NO_OVERRIDES, Overrides
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.resources.http_filters import NamedFilter
from meshsdk.resources.listener import FilterChain, Listener
from meshsdk.resources.name_table import NameTable
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.snapshot import Absent, Bad, Missing, Snapshot
from meshsdk.routing.table import RouteTable
from meshsdk.telemetry.seen_call import CallRecorder

ANY_ADDRESSES = ("0.0.0.0", "::")  # noqa: S104 - what listeners are named after, nothing is bound


@dataclass(slots=True, eq=False)
class HttpPlan:
    """A connection manager as calls use it."""

    hcm: HttpConnectionManager
    filters: tuple[InForce, ...]
    """Without any override."""
    inline_routes: RouteTable | None
    router: Router
    """The terminal filter's own settings."""
    named: tuple[NamedFilter, ...]
    """What `filters` was made of."""
    bounds: dict[object, tuple[Timeouts, Duration]] = field(
        default_factory=dict[object, tuple[Timeouts, Duration]]
    )
    """What `flow/router.py` worked out: the time limits of routes, by `Chosen.bounds_key`, for
    requests that name none."""
    recorder: CallRecorder | None = None
    """Who takes note of calls; asked for at the first call."""
    is_unobserved: bool = False
    """That nobody does is known."""
    _by_overrides: dict[int, tuple[Overrides, tuple[InForce, ...]]] = field(
        default_factory=dict[int, tuple[Overrides, tuple[InForce, ...]]]
    )

    def filters_for(self, overrides: Overrides) -> tuple[InForce, ...]:
        """The filters in force under a route's overrides, compiled at their first use."""
        if not overrides:
            return self.filters
        known = self._by_overrides.get(id(overrides))
        if known is None:
            if len(self._by_overrides) >= CACHED_CHOICES:
                self._by_overrides.clear()
            # The mapping is kept too: its id stays taken while the entry lives.
            known = (overrides, effective(self.named, overrides))
            self._by_overrides[id(overrides)] = known
        return known[1]


@dataclass(slots=True, eq=False)
class ListenerPlan:
    """A listener with what its filter chains need to be found and run."""

    listener: Listener
    by_source: bool
    placed: tuple[PlacedFilter, ...] = ()
    """The application's own filters."""
    chosen: dict[object, FilterChain | None] = field(
        default_factory=dict[object, FilterChain | None]
    )
    http: dict[int, HttpPlan] = field(default_factory=dict[int, HttpPlan])

    def http_plan(self, hcm: HttpConnectionManager) -> HttpPlan:
        """A connection manager of this listener, compiled at its first use."""
        known = self.http.get(id(hcm))
        if known is None:
            routes = hcm.route_config
            named = with_placed(hcm.http_filters, self.placed)
            known = HttpPlan(
                hcm,
                effective(named, NO_OVERRIDES),
                None if routes is None else RouteTable(routes),
                next(
                    (f.filter for f in hcm.http_filters if isinstance(f.filter, Router)), Router()
                ),
                named,
            )
            self.http[id(hcm)] = known
        return known

    def remember(self, key: object, chain: FilterChain | None) -> FilterChain | None:
        """Cache a choice of chain."""
        if len(self.chosen) >= CACHED_CHOICES:
            self.chosen.clear()
        self.chosen[key] = chain
        return chain


@dataclass(slots=True, eq=False, weakref_slot=True)
class Plan:
    """One version of everything. A call takes it once and keeps it."""

    version: int
    snapshot: Snapshot
    extensions: Extensions
    live: LiveState
    by_address: Mapping[tuple[str, int], ListenerPlan]
    """Outbound listeners."""
    inbound_by_address: Mapping[tuple[str, int], ListenerPlan]
    by_name: Mapping[str, ListenerPlan]
    virtual_outbound: ListenerPlan | None
    virtual_inbound: ListenerPlan | None
    only_outbound: ListenerPlan | None
    """The listener that takes everything where no control plane speaks of addresses."""
    names: NameTable | None
    selected: dict[object, object] = field(default_factory=dict[object, object])
    """What `flow/select.py` found for targets of outbound calls."""
    _routes: dict[str, RouteTable] = field(default_factory=dict[str, RouteTable])
    _clusters: dict[str, ClusterPlan] = field(default_factory=dict[str, ClusterPlan])

    def routes(self, http: HttpPlan) -> RouteTable | Absent | None:
        """The route table of a connection manager; None while it has not arrived."""
        if http.inline_routes is not None:
            return http.inline_routes
        name = http.hcm.rds_name
        known = self._routes.get(name)
        if known is not None:
            return known
        found = self.snapshot.routes.get(name)
        if isinstance(found, RouteConfiguration):
            return self._routes.setdefault(name, RouteTable(found))
        return found

    def cluster(self, name: str) -> ClusterPlan | None:
        """A cluster, compiled at its first use; None when there is none (flag NC)."""
        known = self._clusters.get(name)
        if known is None:
            cluster = self.snapshot.clusters.get(name)
            if not isinstance(cluster, Cluster):
                return None
            known = self._clusters.setdefault(name, cluster_plan(cluster, self.snapshot, self.live))
        return known

    def addresses_of(self, host: str) -> tuple[str, ...]:
        """Addresses under which the mesh knows a host; an IP literal is its own."""
        if is_ip(host):
            return (host,)
        if self.names is None:
            return ()
        return self.names.addresses(host, self.extensions.namespace, self.extensions.dns_domain)

    def refusal_of(self, listener: str) -> str | None:
        """Why a listener that was asked for by name will not come; None while it may."""
        found = self.snapshot.listeners.get(listener)
        return found.reason if isinstance(found, Bad | Missing) else None

    def take_over(self, previous: "Plan") -> None:
        """Keep compiled tables whose source is the same object, and bring live balancers up to
        date."""
        for name, table in list(previous._routes.items()):  # calls go on adding to it
            if self.snapshot.routes.get(name) is table.config:
                self._routes[name] = table
        for name in list(previous._clusters):
            if self.cluster(name) is None:
                drop_idle(self.live, name)


def compile_plan(
    snapshot: Snapshot, extensions: Extensions, live: LiveState, previous: Plan | None = None
) -> Plan:
    """A plan for a snapshot. What did not change since `previous` is taken over as it is.

    Everything that can fail has failed before: parsers raise ConfigError, this does not.
    """
    by_name = {
        name: _listener_plan(listener, extensions, previous)
        for name, listener in snapshot.listeners.items()
        if isinstance(listener, Listener)
    }
    outbound = [p for p in by_name.values() if not _is_inbound(p.listener)]
    inbound = [p for p in by_name.values() if _is_inbound(p.listener)]
    plan = Plan(
        version=snapshot.version,
        snapshot=snapshot,
        extensions=extensions,
        live=live,
        by_address=_addresses(outbound),
        inbound_by_address=_addresses(inbound),
        by_name=by_name,
        virtual_outbound=_virtual(outbound),
        virtual_inbound=_virtual(inbound),
        only_outbound=outbound[0] if len(outbound) == 1 else None,
        names=snapshot.name_table,
    )
    if previous is not None:
        plan.take_over(previous)
    return plan


def _is_inbound(listener: Listener) -> bool:
    return listener.traffic_direction == "INBOUND"


def _virtual(plans: Iterable[ListenerPlan]) -> ListenerPlan | None:
    """The listener to which captured connections come (virtualOutbound, virtualInbound)."""
    return next((p for p in plans if p.listener.is_virtual), None)


def _addresses(plans: Iterable[ListenerPlan]) -> dict[tuple[str, int], ListenerPlan]:
    found: dict[tuple[str, int], ListenerPlan] = {}
    for plan in plans:
        for address in plan.listener.addresses:
            found.setdefault((address.host, address.port), plan)
    return found


def _listener_plan(
    listener: Listener, extensions: Extensions, previous: Plan | None
) -> ListenerPlan:
    before = None if previous is None else previous.by_name.get(listener.name)
    if before is not None and before.listener is listener:
        return before
    own = placed_in(listener, extensions.placed_filters)
    return ListenerPlan(listener, uses_source(listener.filter_chains), own)
