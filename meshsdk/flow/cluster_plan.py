"""A cluster as calls use it, and the live state of all clusters, which outlives plans."""

from dataclasses import dataclass, field
from threading import Lock

from meshsdk.call.address import Address
from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import Endpoint, HealthStatus, Host, HostState
from meshsdk.clock import Clock, Random
from meshsdk.lb_policies import LoadBalancer, build
from meshsdk.lb_policies.policy import STEADY
from meshsdk.resilience.breakers import Breakers
from meshsdk.resilience.caller_retries import RetryStrategy
from meshsdk.resilience.outlier import OutlierDetector
from meshsdk.resources.cluster import Cluster, DiscoveryType
from meshsdk.resources.load_assignment import LoadAssignment
from meshsdk.resources.snapshot import Snapshot
from meshsdk.telemetry import Emit, silent
from meshsdk.telemetry.seen_call import Telemetry
from meshsdk.telemetry.why import RecordBudget

CACHED_CHOICES = 4096
"""Bound of caches by name or address; reached only by clients that invent names."""

_USABLE = (HealthStatus.UNKNOWN, HealthStatus.HEALTHY, HealthStatus.DEGRADED)
"""CommonLbConfig.override_host_status, where unset."""


@dataclass(slots=True, eq=False)
class ClusterState:
    """Live state of one cluster, whichever plan is in force."""

    breakers: Breakers
    outlier: OutlierDetector | None = None
    hosts: dict[Address, HostState] = field(default_factory=dict[Address, HostState])
    balancer: LoadBalancer | None = None
    """The newest: the pick of each try asks it, so that no retry goes to a removed endpoint."""
    cluster: Cluster | None = None
    assignment: LoadAssignment | None = None
    """What `balancer` was built from."""
    placed: tuple[Host, ...] = ()
    """The hosts of `assignment`."""
    by_address: dict[str, Host] | None = None
    """The same by `ip:port`, made when a sticky session first asks."""
    version: int = 0
    """Of the snapshot that those came from: an older plan never overwrites a newer one."""


@dataclass(frozen=True, slots=True, eq=False)
class ClusterPlan:
    """A cluster as calls use it. `Attempt.cluster` holds one."""

    cluster: Cluster
    state: ClusterState

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.cluster.name

    @property
    def breakers(self) -> Breakers:
        """Live counts of requests, connections and retries."""
        return self.state.breakers

    @property
    def not_built(self) -> tuple[str, ...]:
        """Fields that a call through this cluster needs and that have no code."""
        assignment = self.state.assignment
        return self.cluster.not_built or (() if assignment is None else assignment.not_built)

    @property
    def is_original_dst(self) -> bool:
        """Whether calls go to the address that the application asked for."""
        return self.cluster.type is DiscoveryType.ORIGINAL_DST

    def host_at(self, address: Address) -> Host:
        """A host outside any load assignment (ORIGINAL_DST): the address that the caller asked for."""
        state = self.state.hosts.get(address)
        if state is None:
            self._forget_idle()
            state = self.state.hosts.setdefault(address, HostState())
        endpoint = Endpoint(address, hostname=address.host)
        return Host(endpoint, state, self.cluster.socket_for(endpoint.metadata))

    def session_host(self, context: CallContext) -> Host | None:
        """The host that a sticky session asks for, where it may be used (Envoy, override host)."""
        state = self.state
        known = state.by_address
        if known is None:
            known = state.by_address = {str(h.endpoint.address): h for h in state.placed}
        host = known.get(context.override_host)
        if host is None or host.endpoint.health not in _USABLE:
            return None
        ejected = state.outlier is not None and state.outlier.is_ejected(host.state)
        return None if ejected else host

    def _forget_idle(self) -> None:
        hosts = self.state.hosts
        if len(hosts) < CACHED_CHOICES:
            return
        for address in [a for a, s in list(hosts.items()) if not s.active_requests]:
            hosts.pop(address, None)  # another thread may be at it too


@dataclass(slots=True, eq=False)
class LiveState:
    """Everything that outlives plans, by name."""

    clock: Clock
    random: Random
    emit: Emit = silent
    retry: RetryStrategy | None = None
    """The application's own word on retries."""
    records: RecordBudget | None = None
    """How many records of decisions may be made; None: as many as are asked for."""
    guards_writes: bool = False
    """No POST or PATCH without an Idempotency-Key is ever sent twice."""
    telemetry: Telemetry | None = None
    """Who takes note of calls; None: nobody."""
    propagates_deadline: bool = True
    """Calls end when the request ends that they are made for."""
    propagates_context: bool = True
    """They take its trace, baggage and request id along."""
    clusters: dict[str, ClusterState] = field(default_factory=dict[str, ClusterState])
    compiling: Lock = field(default_factory=Lock)
    """Held while a cluster's balancer is made; calls that find one made never take it."""


def drop_idle(live: LiveState, name: str) -> None:
    """Forget the state of a vanished cluster when nothing is in flight."""
    state = live.clusters.get(name)
    if state is not None and not any(h.active_requests for h in list(state.hosts.values())):
        del live.clusters[name]


def cluster_plan(cluster: Cluster, snapshot: Snapshot, live: LiveState) -> ClusterPlan:
    """A cluster of a snapshot, its live state brought up to date."""
    assignment = cluster.load_assignment or snapshot.load_assignments.get(cluster.eds_name)
    if not isinstance(assignment, LoadAssignment):
        assignment = None
    with live.compiling:
        state = live.clusters.get(cluster.name)
        if state is None:
            state = live.clusters.setdefault(cluster.name, ClusterState(Breakers(cluster)))
        if snapshot.version >= state.version and (
            state.cluster is not cluster or state.assignment is not assignment
        ):
            _bring_up_to_date(state, cluster, assignment, live)
        state.version = max(state.version, snapshot.version)
    return ClusterPlan(cluster, state)


def _bring_up_to_date(
    state: ClusterState, cluster: Cluster, assignment: LoadAssignment | None, live: LiveState
) -> None:
    """New endpoints, limits and settings; counts, ejections and rotations stay."""
    endpoints = () if assignment is None else assignment.endpoints
    current = {e.address: state.hosts.get(e.address) or HostState() for e in endpoints}
    hosts = tuple(Host(e, current[e.address], cluster.socket_for(e.metadata)) for e in endpoints)
    known = list(state.hosts.items())  # calls add to it
    in_flight = {a: s for a, s in known if s.active_requests and a not in current}
    state.breakers.update(cluster.circuit_breakers)
    _update_outlier(state, cluster, live)
    if state.outlier is not None:
        state.outlier.set_hosts(host.state for host in hosts)
    if cluster.type is not DiscoveryType.ORIGINAL_DST:
        state.balancer = build(
            cluster,
            hosts,
            state.balancer,
            live.clock,
            live.random,
            assignment=assignment,
            health=state.outlier or STEADY,
        )
    state.hosts = current | in_flight
    state.placed, state.by_address = hosts, None
    state.cluster = cluster
    state.assignment = assignment


def _update_outlier(state: ClusterState, cluster: Cluster, live: LiveState) -> None:
    config = cluster.outlier_detection
    if config is None:
        if state.outlier is not None:
            state.outlier.close()
        state.outlier = None
    elif state.outlier is None:
        state.outlier = OutlierDetector(config, live.random, live.clock.monotonic())
    else:
        state.outlier.update(config)
