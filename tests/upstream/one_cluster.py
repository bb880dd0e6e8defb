"""A mesh of one cluster, whose flow sends each call to one host: what adapters need, no more."""

from collections.abc import Callable, Mapping

from meshsdk.call.address import Address
from meshsdk.call.address_map import AS_THEY_ARE, AddressMap
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, Deliver, Dial, Dialed, Flow, Send
from meshsdk.call.endpoint import Endpoint, Host, HostState
from meshsdk.call.message import BodyEnd, Request, Reset, Response
from meshsdk.clock import Clock, SystemClock, SystemRandom
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.flow import reply
from meshsdk.flow.cluster_plan import ClusterPlan, ClusterState
from meshsdk.flow.drive import Fetcher, NoFetcher
from meshsdk.flow.select import Target
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resilience.breakers import Breakers
from meshsdk.resources.cluster import Cluster, parse
from meshsdk.resources.tls import UpstreamTls
from meshsdk.runtime.publisher import Publisher
from meshsdk.upstream.aio import AsyncUpstream
from meshsdk.upstream.sync import SyncUpstream
from meshsdk.upstream.tls import ClientContext

FlowOf = Callable[["OneCluster", Request, CallContext], Flow[None]]


class NoTls:
    """For plaintext clusters."""

    generation = 0

    def context(self, socket: UpstreamTls, protocol: str, sni: str) -> ClientContext:
        raise AssertionError("no TLS here")


class HandClock(SystemClock):
    """The machine's clocks, moved on by hand."""

    __slots__ = ("ahead",)

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        return SystemClock.monotonic() + self.ahead

    def time(self) -> float:
        return SystemClock.time() + self.ahead


class NoFeed:
    """A feed that never brings anything; it remembers what was wanted."""

    on_demand = True

    def __init__(self) -> None:
        self.wanted: list[str] = []

    def start(self) -> None: ...
    def close(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...

    def want(self, listener: str) -> None:
        self.wanted.append(listener)


def cluster_of(config: Mapping[str, object]) -> Cluster:
    """A cluster in proto-JSON form."""
    extensions = Extensions(
        http_filters=Registry("HTTP filter", ()),
        network_filters=Registry("network filter", ()),
        lb_policies=Registry("load balancing policy", LB_POLICIES),
    )
    whole = {"name": "backend", "type": "STATIC", **config}
    return parse(Reader(whole, "cluster"), extensions)


def plan_of(config: Mapping[str, object]) -> ClusterPlan:
    """A cluster's plan with live state of its own."""
    cluster = cluster_of(config)
    return ClusterPlan(cluster, ClusterState(Breakers(cluster)))


class OneCluster:
    """Implements `upstream.calls.Membership`."""

    def __init__(
        self,
        address: Address,
        config: Mapping[str, object] = {},
        *,
        flow: FlowOf | None = None,
        tls: object = None,
        socket: UpstreamTls | None = None,
        timeout: float | None = None,
        addresses: AddressMap = AS_THEY_ARE,
        clock: Clock | None = None,
    ) -> None:
        self.clock, self.random = clock or SystemClock(), SystemRandom()
        self.plan = plan_of(config)
        self.host = Host(Endpoint(address, "backend.local"), HostState(), socket)
        self.timeout = timeout
        self.ends: list[BodyEnd] = []
        self.flows_closed = 0
        self.contexts: list[CallContext] = []
        self.publisher = Publisher()
        self.feed = NoFeed()
        contexts = tls or NoTls()
        self.sync_upstream = SyncUpstream(contexts, addresses, self.clock)  # type: ignore[arg-type]
        self.async_upstream = AsyncUpstream(contexts, addresses, self.clock)  # type: ignore[arg-type]
        self.fetcher: Fetcher = NoFetcher()
        self.flow = flow or http_flow

    def outbound(
        self,
        request: Request,
        target: Target,
        *,
        wait: float | None = None,
        observe: Callable[[CallContext], None] | None = None,
    ) -> Flow[None]:
        context = CallContext(
            self.clock, self.random, Connection(Address(target.host, target.port))
        )
        context.cluster = self.plan.name
        context.host = self.host
        if observe is not None:
            observe(context)
        self.contexts.append(context)
        try:
            yield from self.flow(self, request, context)
        except GeneratorExit:
            self.flows_closed += 1
            raise

    def attempt(self, request: Request) -> Attempt:
        """An attempt at the only host."""
        return Attempt(request, self.host, self.plan)


def http_flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
    """One attempt; a reset becomes Envoy's local reply."""
    context.attempts = 1
    outcome = yield Send(mesh.attempt(request), timeout=mesh.timeout)
    assert isinstance(outcome, Response | Reset)
    if isinstance(outcome, Reset):
        outcome = reply.to_response(reply.of_reset(outcome, retried=False), request, context)
    end = yield Deliver(outcome)
    assert isinstance(end, BodyEnd)
    mesh.ends.append(end)


def tcp_flow(mesh: OneCluster, request: Request, context: CallContext) -> Flow[None]:
    """A chain that ends in tcp_proxy."""
    outcome = yield Dial(mesh.host, mesh.plan, mesh.plan.cluster.connect_timeout)
    assert isinstance(outcome, Dialed | Reset)
    end = yield Deliver(outcome)
    assert isinstance(end, BodyEnd)
    mesh.ends.append(end)
