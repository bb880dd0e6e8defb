"""Clusters, hosts and clocks for the tests of balancing and of resilience."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from meshsdk.call.endpoint import Host, HostState
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.lb_policies import LB_POLICIES, LoadBalancer, PickContext, build
from meshsdk.lb_policies.policy import STEADY, Health
from meshsdk.resources.cluster import Cluster, parse

EXTENSIONS = Extensions(
    Registry("HTTP filter"),
    Registry("network filter"),
    Registry("load balancing policy", LB_POLICIES),
)


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def lb_endpoint(port: int, **fields: object) -> dict[str, object]:
    """An LbEndpoint at 127.0.0.1."""
    socket = {"address": "127.0.0.1", "port_value": port}
    return {"endpoint": {"address": {"socket_address": socket}}, **fields}


def labelled(port: int, **labels: object) -> dict[str, object]:
    """An LbEndpoint with `envoy.lb` metadata."""
    return lb_endpoint(port, metadata={"filter_metadata": {"envoy.lb": labels}})


def group(*endpoints: Mapping[str, object], zone: str = "", **fields: object) -> dict[str, object]:
    """A LocalityLbEndpoints."""
    locality = {"locality": {"zone": zone}} if zone else {}
    return {**locality, "lb_endpoints": list(endpoints), **fields}


def cluster_config(*groups: Mapping[str, object], **fields: object) -> dict[str, object]:
    """A STATIC Cluster in proto-JSON."""
    assignment = {"cluster_name": "backend", "endpoints": list(groups)}
    return {"name": "backend", "type": "STATIC", "load_assignment": assignment, **fields}


def parse_cluster(config: Mapping[str, object]) -> Cluster:
    """The noun of a cluster in proto-JSON."""
    return parse(Reader(config, "cluster"), EXTENSIONS)


class Balanced:
    """A cluster with live hosts and its balancer."""

    def __init__(
        self,
        *groups: Mapping[str, object],
        clock: FakeClock | None = None,
        health: Health = STEADY,
        previous: LoadBalancer | None = None,
        config: Mapping[str, object] | None = None,
        **fields: object,
    ) -> None:
        self.cluster = parse_cluster({**cluster_config(*groups, **fields), **(config or {})})
        self.clock = clock or FakeClock()
        self.random = random.Random(7)
        assignment = self.cluster.load_assignment
        assert assignment is not None
        self.hosts = tuple(Host(e, HostState()) for e in assignment.endpoints)
        self.balancer = build(
            self.cluster,
            self.hosts,
            previous,
            self.clock,
            self.random,
            assignment=assignment,
            health=health,
        )

    def context(self, **fields: object) -> PickContext:
        """What a pick depends on; fields by name."""
        context = PickContext(self.clock.monotonic(), self.random)
        for name, value in fields.items():
            setattr(context, name, value)
        return context

    def pick(self, **fields: object) -> int:
        """The port that was picked; 0: no host."""
        host = self.balancer.pick(self.context(**fields))
        return 0 if host is None else host.endpoint.address.port

    def picks(self, count: int, **fields: object) -> list[int]:
        """The ports of some picks."""
        return [self.pick(**fields) for _ in range(count)]

    def shares(self, count: int = 1000, **fields: object) -> dict[int, float]:
        """The share of the picks that each port got."""
        return {port: n / count for port, n in Counter(self.picks(count, **fields)).items()}


def is_near(
    found: Mapping[int, float], expected: Mapping[int, float], margin: float = 0.05
) -> bool:
    """Whether shares are what was expected, give or take a margin."""
    ports: Sequence[int] = (*found, *expected)
    return all(abs(found.get(p, 0.0) - expected.get(p, 0.0)) <= margin for p in ports)
