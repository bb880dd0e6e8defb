"""Which pool an attempt gets, and what happens to pools when configuration changes."""

import pytest

from meshsdk.call.address import Address
from meshsdk.call.address_map import AS_THEY_ARE
from meshsdk.call.effects import Attempt, Send
from meshsdk.call.endpoint import Endpoint, Host, HostState
from meshsdk.call.message import Request
from meshsdk.flow.cluster_plan import ClusterPlan, ClusterState
from meshsdk.resilience.breakers import Breakers
from meshsdk.resources.tls import UpstreamTls
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Lease
from meshsdk.upstream.http1 import Http1
from meshsdk.upstream.pool import HostPool, Origin
from meshsdk.upstream.pools import Pools, Priority
from meshsdk.upstream.timeouts import UNBOUNDED
from meshsdk.upstream.tls import Layer
from tests.upstream.one_cluster import HandClock, NoTls, cluster_of, plan_of

_ADDRESS = Address("10.0.0.1", 80)
_PROTOCOLS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


class FakeConnection:
    """Implements `Connection`."""

    def __init__(self) -> None:
        self.http = Http1()
        self.layer: Layer | None = None
        self.lease = Lease(0)
        self.is_closed = False

    def is_alive(self) -> bool:
        return not self.is_closed

    def close(self) -> None:
        self.is_closed = True


def _pools() -> Pools[FakeConnection]:
    return Pools(NoTls(), AS_THEY_ARE, HandClock())


def _host(address: Address = _ADDRESS, socket: UpstreamTls | None = None) -> Host:
    return Host(Endpoint(address, "one.example"), HostState(), socket)


def _find(
    pools: Pools[FakeConnection],
    plan: ClusterPlan,
    host: Host,
    priority: Priority = "DEFAULT",
    authority: str = "shop",
    origin: Origin | None = None,
) -> HostPool[FakeConnection]:
    return pools.pool(plan, host, priority, "http1", authority, origin)


def _options(**options: object) -> dict[str, object]:
    found = {"@type": f"type.googleapis.com/{_PROTOCOLS}", **options}
    return {"typed_extension_protocol_options": {_PROTOCOLS: found}}


def _opened(pool: HostPool[FakeConnection]) -> FakeConnection:
    connection = FakeConnection()
    assert pool.count_in()
    pool.give_back(connection, 0.0)
    return connection


def test_equal_endpoints_of_one_cluster_share_a_pool() -> None:
    pools, plan = _pools(), plan_of({})

    assert _find(pools, plan, _host()) is _find(pools, plan, _host())


@pytest.mark.parametrize(
    "other",
    ["address", "socket", "sni", "priority", "origin", "cluster"],
)
def test_what_may_not_share_a_connection_has_a_pool_of_its_own(other: str) -> None:
    pools, plan = _pools(), plan_of({})
    socket = UpstreamTls(sni="a", digest=b"1")
    first = _find(pools, plan, _host(socket=socket))

    second = {
        "address": lambda: _find(pools, plan, _host(Address("10.0.0.2", 80), socket)),
        "socket": lambda: _find(pools, plan, _host(socket=UpstreamTls(sni="a", digest=b"2"))),
        "sni": lambda: _find(pools, plan, _host(socket=UpstreamTls(sni="b", digest=b"1"))),
        "priority": lambda: _find(pools, plan, _host(socket=socket), "HIGH"),
        "origin": lambda: _find(pools, plan, _host(socket=socket), origin=Origin("shop", 80)),
        "cluster": lambda: _find(pools, plan_of({"name": "other"}), _host(socket=socket)),
    }[other]()

    assert second is not first


def test_a_push_changes_limits_and_keeps_connections() -> None:
    pools, before = _pools(), plan_of({})
    pool = _find(pools, before, _host())
    connection = _opened(pool)

    after = ClusterPlan(cluster_of({"connect_timeout": "1s"}), before.state)
    same = _find(pools, after, _host())

    assert same is pool
    assert pool.cluster.connect_timeout == 1.0
    assert pool.take(0.0, 0) is connection


def test_a_cluster_that_came_back_counts_anew_and_the_old_connections_end() -> None:
    pools, before = _pools(), plan_of({})
    old = _find(pools, before, _host())
    idle, busy = _opened(old), FakeConnection()
    assert old.count_in()

    cluster = cluster_of({})
    new = _find(pools, ClusterPlan(cluster, ClusterState(Breakers(cluster))), _host())
    old.give_back(busy, 0.0)

    assert new is not old
    assert (idle.is_closed, busy.is_closed) == (True, True)
    assert before.breakers.default.connections == 0


def test_pools_of_vanished_endpoints_are_forgotten() -> None:
    pools, plan = _pools(), plan_of({})
    kept = _find(pools, plan, _host())
    connection = _opened(kept)

    for number in range(5000):
        _find(pools, plan, _host(Address("10.0.0.2", number + 1)))

    assert len(pools._pools) < 4100  # pyright: ignore[reportPrivateUsage]
    assert _find(pools, plan, _host()) is kept
    assert not connection.is_closed


def test_auto_sni_is_the_requests_host_and_auto_host_sni_the_endpoints() -> None:
    pools = _pools()
    auto = plan_of(
        _options(
            explicit_http_config={"http_protocol_options": {}},
            upstream_http_protocol_options={"auto_sni": True},
        )
    )
    fixed = UpstreamTls(sni="fixed", digest=b"1")
    by_host = UpstreamTls(sni="fixed", auto_host_sni=True, digest=b"2")

    names = [
        _find(pools, auto, _host(socket=fixed), authority=authority).sni
        for authority in ("shop:8080", "shop", "[::1]:80", "")
    ]

    assert names == ["shop", "shop", "::1", "fixed"]
    assert _find(pools, plan_of({}), _host(socket=by_host)).sni == "one.example"
    assert _find(pools, plan_of({}), _host(socket=fixed)).sni == "fixed"


def test_a_host_with_a_connection_takes_more_only_below_the_limits() -> None:
    thresholds = [{"max_connections": 2}]
    per_host = [{"max_connections": 3}]
    plan = plan_of(
        {"circuit_breakers": {"thresholds": thresholds, "per_host_thresholds": per_host}}
    )
    pools = _pools()
    first, second = (_find(pools, plan, _host(Address("10.0.0.1", port))) for port in (1, 2))

    asked = [first.count_in(), first.count_in(), first.count_in(), second.count_in()]

    assert asked == [True, True, False, True], "the first connection of a host is always allowed"
    assert (first.has_room, second.has_room) == (False, False)


@pytest.mark.parametrize(
    ("config", "asked", "spoken"),
    [
        ({"http2_protocol_options": {}}, "http1", "h2"),
        (_options(use_downstream_protocol_config={}), "h2", "h2"),
        (_options(use_downstream_protocol_config={}), "http1", "http1"),
        (_options(auto_config={}), "http1", "http1"),
    ],
)
def test_a_cluster_says_what_its_connections_speak(
    config: dict[str, object], asked: str, spoken: str
) -> None:
    plan = plan_of(config)
    request = Request("GET", "shop", "/", protocol="h2" if asked == "h2" else "http1")

    found = _pools().ask(Send(Attempt(request, _host(), plan)), RequestBody(), UNBOUNDED)

    assert found.pool.key.protocol == spoken
    assert bool(found.head.fields) is (spoken == "h2")
    assert bool(found.head.data) is (spoken == "http1")


def test_limits_of_connections_do_not_bind_http2() -> None:
    thresholds = [{"max_connections": 1}]
    plan = plan_of({"http2_protocol_options": {}, "circuit_breakers": {"thresholds": thresholds}})
    pools = _pools()
    pool = pools.pool(plan, _host(), "DEFAULT", "h2", "", None)

    assert [pool.count_in(), pool.count_in(), pool.has_room] == [True, True, True]
