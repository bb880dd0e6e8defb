"""From pushes to snapshots, with the real resource types."""

from collections.abc import Iterator, Mapping
from itertools import permutations

import pytest

from meshsdk.resources.cluster import Cluster
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.resources.http_filters import NoFilterConfig
from meshsdk.resources.listener import Listener
from meshsdk.resources.load_assignment import LoadAssignment
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.snapshot import Bad, Missing, Snapshot
from meshsdk.xds.messages import DiscoveryRequest
from tests.xds.pushes import (
    CDS,
    EDS,
    LDS,
    NDS,
    RDS,
    Data,
    Feed,
    eds_cluster,
    endpoints,
    hcm,
    listener,
    rds,
    routes,
)

ECDS = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
SDS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
RBAC_URL = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
EMPTY: dict[str, object] = {}
STATIC: dict[str, object] = {"name": "static", "type": "STATIC"}


def whole(mode: str = "sidecar") -> Feed:
    """A feed with one listener, route configuration, cluster and load assignment in force."""
    feed = Feed(mode=mode)
    feed.push(CDS, {"c": eds_cluster("c")})
    feed.push(LDS, {"l": listener("l", hcm(**rds("r")))})
    feed.push(NDS, {"": {}})
    feed.push(EDS, {"c": endpoints("c", "10.0.0.1")})
    feed.push(RDS, {"r": routes("r", "c")})
    assert len(feed.snapshots) == 1
    return feed


def last(feed: Feed) -> Snapshot:
    return feed.snapshots[-1]


def asked(requests: tuple[DiscoveryRequest, ...], type_url: str) -> tuple[str, ...]:
    return tuple(n for r in requests if r.type_url == type_url for n in r.subscribe)


def dropped(requests: tuple[DiscoveryRequest, ...], type_url: str) -> tuple[str, ...]:
    return tuple(n for r in requests if r.type_url == type_url for n in r.unsubscribe)


def clusters_of(snapshot: Snapshot, name: str) -> frozenset[str]:
    found = snapshot.routes[name]
    assert isinstance(found, RouteConfiguration)
    return found.cluster_names


def hosts(snapshot: Snapshot, name: str) -> list[str]:
    found = snapshot.load_assignments[name]
    assert isinstance(found, LoadAssignment)
    return [e.address.host for e in found.endpoints]


def test_a_sidecar_asks_for_everything_and_then_by_the_names_it_finds() -> None:
    feed = Feed()

    clusters = feed.push(CDS, {"c": eds_cluster("c"), "d": STATIC | {"name": "d"}})
    listeners = feed.push(LDS, {"l": listener("l", hcm(**rds("r")))})

    assert [(r.type_url, r.subscribe) for r in feed.first.requests] == [
        (CDS, ("*",)),
        (LDS, ("*",)),
        (NDS, ("*",)),
    ]
    assert asked(clusters.requests, EDS) == ("c",)
    assert asked(listeners.requests, RDS) == ("r",)


def test_the_first_snapshot_is_complete() -> None:
    feed = whole()

    snapshot = last(feed)

    assert isinstance(snapshot.listeners["l"], Listener)
    assert clusters_of(snapshot, "r") == {"c"}
    assert isinstance(snapshot.clusters["c"], Cluster)
    assert hosts(snapshot, "c") == ["10.0.0.1"]
    assert snapshot.name_table is not None


def test_a_first_snapshot_waits_fifteen_seconds_at_most() -> None:
    feed = Feed()
    feed.push(CDS, {"never": eds_cluster("never"), "s": STATIC})
    update = feed.push(LDS, {"l": listener("l", hcm(route_config=routes("r", "s")))})

    early = feed.wait(14.9).snapshot
    late = feed.wait(0.2).snapshot

    assert update.deadline == feed.clock.monotonic() - 15.1 + 15.0
    assert early is None
    assert late is not None
    assert list(late.listeners) == ["l"]
    assert "never" not in late.clusters


def test_a_new_version_of_a_listener_waits_for_its_routes_and_the_old_one_stays() -> None:
    feed = whole()
    before = last(feed).listeners["l"]

    update = feed.push(LDS, {"l": listener("l", hcm(**rds("r2")))})
    feed.wait(3600.0)
    assert last(feed).listeners["l"] is before
    done = feed.push(RDS, {"r2": routes("r2", "c")})

    assert asked(update.requests, RDS) == ("r2",)
    assert dropped(done.requests, RDS) == ("r",)
    assert last(feed).listeners["l"] is not before
    assert set(last(feed).routes) == {"r2"}


def test_routes_that_never_come_are_given_up_after_their_fetch_timeout() -> None:
    feed = whole()

    feed.push(LDS, {"m": listener("m", hcm(**rds("late", "2s")))})
    early = feed.wait(1.9).snapshot
    late = feed.wait(0.2).snapshot

    assert early is None
    assert late is not None
    assert isinstance(late.listeners["m"], Listener)
    assert isinstance(late.routes["late"], Missing)


def test_routes_wait_for_the_clusters_that_are_new_to_them() -> None:
    feed = whole()

    feed.push(CDS, {"d": eds_cluster("d")})
    feed.push(RDS, {"r": routes("r", "c", "d")})
    assert clusters_of(last(feed), "r") == {"c"}
    feed.push(EDS, {"d": endpoints("d", "10.0.0.2")})

    assert clusters_of(last(feed), "r") == {"c", "d"}
    assert "d" in last(feed).clusters


def test_routes_wait_fifteen_seconds_for_a_cluster_without_endpoints() -> None:
    feed = whole()
    feed.push(CDS, {"d": eds_cluster("d")})
    update = feed.push(RDS, {"r": routes("r", "c", "d")})

    feed.wait(14.9)
    assert clusters_of(last(feed), "r") == {"c"}
    feed.wait(0.2)

    assert update.deadline is not None
    assert clusters_of(last(feed), "r") == {"c", "d"}
    assert "d" not in last(feed).clusters


def test_a_cluster_that_a_wildcard_feed_never_sent_holds_nothing_up() -> None:
    feed = whole()

    feed.push(RDS, {"r": routes("r", "c", "nowhere")})

    assert clusters_of(last(feed), "r") == {"c", "nowhere"}


def test_a_pending_cluster_delays_no_endpoint_removal_and_no_other_listener() -> None:
    feed = whole()
    feed.push(CDS, {"d": eds_cluster("d")})
    feed.push(RDS, {"r": routes("r", "c", "d")})

    feed.push(EDS, {"c": endpoints("c", "10.0.0.9")})
    feed.push(LDS, {"m": listener("m", hcm(route_config=routes("inline", "c")))})

    assert hosts(last(feed), "c") == ["10.0.0.9"]
    assert isinstance(last(feed).listeners["m"], Listener)
    assert clusters_of(last(feed), "r") == {"c"}


def test_a_removed_cluster_stays_a_second_while_a_live_route_names_it() -> None:
    feed = whole()

    update = feed.push(CDS, removed=("c",))
    assert "c" in last(feed).clusters
    feed.wait(1.0)

    assert update.deadline == feed.clock.monotonic()
    assert "c" not in last(feed).clusters
    assert "c" not in last(feed).load_assignments


def test_a_removed_cluster_goes_with_the_routes_that_named_it() -> None:
    feed = whole()
    feed.push(CDS, {"d": STATIC | {"name": "d"}})
    feed.push(CDS, removed=("c",))

    update = feed.push(RDS, {"r": routes("r", "d")})

    assert set(last(feed).clusters) == {"d"}
    assert dropped(update.requests, EDS) == ("c",)
    assert last(feed).load_assignments == {}


def test_a_cluster_that_nobody_names_goes_at_once() -> None:
    feed = whole()
    feed.push(CDS, {"x": STATIC | {"name": "x"}})

    feed.push(CDS, removed=("x",))

    assert "x" not in last(feed).clusters


def test_routes_go_with_their_last_referrer() -> None:
    feed = whole()
    feed.push(LDS, {"m": listener("m", hcm(**rds("r")))})

    first = feed.push(LDS, removed=("l",))
    second = feed.push(LDS, removed=("m",))

    assert dropped(first.requests, RDS) == ()
    assert dropped(second.requests, RDS) == ("r",)
    assert last(feed).routes == {}
    assert last(feed).listeners == {}


def test_a_refused_listener_without_a_good_version_is_bad_and_others_go_on() -> None:
    feed = Feed()
    feed.push(CDS, {"s": STATIC})
    feed.push(NDS, {"": {}})

    feed.push(
        LDS,
        {
            "bad": listener("bad", {"@type": "type.googleapis.com/x.Y"}),
            "good": listener("good", hcm(route_config=routes("r", "s"))),
        },
    )

    bad = last(feed).listeners["bad"]
    assert isinstance(bad, Bad)
    assert bad.reason.startswith(
        "LDS bad: listener.filter_chains[0].filters[0].typed_config: no network filter takes"
    )
    assert isinstance(last(feed).listeners["good"], Listener)


def test_a_refused_version_keeps_the_one_in_force() -> None:
    feed = whole()
    before = last(feed).listeners["l"]

    update = feed.push(LDS, {"l": listener("l", {"@type": "type.googleapis.com/x.Y"})})

    assert update.requests[0].error is not None
    assert update.snapshot is None
    assert last(feed).listeners["l"] is before


def test_equal_bytes_give_no_snapshot_and_what_did_not_change_is_shared() -> None:
    feed = whole()
    before = last(feed)

    same = feed.push(CDS, {"c": eds_cluster("c")})
    feed.push(EDS, {"c": endpoints("c", "10.0.0.7")})

    assert same.snapshot is None
    assert last(feed).clusters is before.clusters
    assert last(feed).listeners is before.listeners
    assert last(feed).version == before.version + 1


def test_a_lost_stream_changes_nothing_and_a_new_one_asks_for_all_of_it() -> None:
    feed = whole()
    before = last(feed)

    delay = feed.client.disconnected("UNAVAILABLE")
    update = feed.client.connected(feed.clock.monotonic())

    assert 0 <= delay <= 1
    assert update.snapshot is None
    assert [(r.type_url, r.subscribe) for r in update.requests] == [
        (CDS, ("*",)),
        (LDS, ("*",)),
        (NDS, ("*",)),
        (EDS, ("c",)),
        (RDS, ("r",)),
    ]
    assert last(feed) is before


def test_a_proxyless_client_asks_by_name_down_to_the_endpoints() -> None:
    feed = Feed(mode="proxyless")

    steps = [
        feed.take(feed.client.want(["l"], feed.clock.monotonic())),
        feed.push(LDS, {"l": {"name": "l", "api_listener": {"api_listener": hcm(**rds("r"))}}}),
        feed.push(RDS, {"r": routes("r", "c")}),
        feed.push(CDS, {"c": eds_cluster("c")}),
        feed.push(EDS, {"c": endpoints("c", "10.0.0.1")}),
    ]

    assert feed.first.requests == ()
    assert [
        asked(s.requests, url) for s, url in zip(steps, (LDS, RDS, CDS, EDS), strict=False)
    ] == [
        ("l",),
        ("r",),
        ("c",),
        ("c",),
    ]
    assert [s.snapshot is not None for s in steps] == [False] * 4 + [True]
    found = last(feed).listeners["l"]
    assert isinstance(found, Listener)
    assert found.api_listener is not None


def test_a_proxyless_listener_that_never_comes_does_not_exist_after_fifteen_seconds() -> None:
    feed = Feed(mode="proxyless")
    wanted = feed.client.want(["l"], feed.clock.monotonic())

    feed.wait(15.0)

    assert wanted.deadline == feed.clock.monotonic()
    assert last(feed).listeners["l"] == Missing("did not come in 15 s")


def test_a_proxyless_listener_that_is_let_go_takes_everything_with_it() -> None:
    feed = Feed(mode="proxyless")
    feed.client.want(["l"], feed.clock.monotonic())
    feed.push(LDS, {"l": listener("l", hcm(**rds("r")))})
    feed.push(RDS, {"r": routes("r", "c")})
    feed.push(CDS, {"c": eds_cluster("c")})
    feed.push(EDS, {"c": endpoints("c", "10.0.0.1")})

    update = feed.take(feed.client.drop(["l"], feed.clock.monotonic()))

    assert {r.type_url for r in update.requests if r.unsubscribe} == {LDS, RDS, CDS, EDS}
    snapshot = last(feed)
    assert (snapshot.listeners, snapshot.routes, snapshot.clusters) == ({}, {}, {})
    assert snapshot.load_assignments == {}


# -- secrets and discovered filters ----------------------------------------------------------


def tls_cluster(secret: str) -> Data:
    context: dict[str, object] = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "validation_context_sds_secret_config": {
                "name": secret,
                "sds_config": {"ads": EMPTY, "initial_fetch_timeout": "0s"},
            }
        },
    }
    socket = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    return {**STATIC, "name": "t", "transport_socket": socket}


def test_a_secret_by_the_stream_is_waited_for_and_a_well_known_one_is_not_asked_for() -> None:
    feed = whole()

    update = feed.push(CDS, {"t": tls_cluster("kubernetes://ca")})
    assert "t" not in last(feed).clusters
    secret = {"name": "kubernetes://ca", "validation_context": {"system_root_certs": EMPTY}}
    feed.push(SDS, {"kubernetes://ca": secret})
    own = feed.push(CDS, {"u": {**tls_cluster("ROOTCA"), "name": "u"}})

    assert asked(update.requests, SDS) == ("kubernetes://ca",)
    assert set(last(feed).secrets) == {"kubernetes://ca"}
    assert {"t", "u"} <= set(last(feed).clusters)
    assert asked(own.requests, SDS) == ()


def discovered(timeout: str, *type_urls: str) -> Data:
    return {
        "name": "ext",
        "config_discovery": {
            "config_source": {"ads": {}, "initial_fetch_timeout": timeout},
            "type_urls": list(type_urls),
        },
    }


def filter_of(snapshot: Snapshot, name: str) -> object:
    found = snapshot.listeners[name]
    assert isinstance(found, Listener)
    terminal = found.filter_chains[0].terminal
    assert isinstance(terminal, HttpConnectionManager)
    return terminal.http_filters[0].filter


def ecds_listener(timeout: str) -> Data:
    manager = hcm(discovered(timeout, RBAC_URL), route_config=routes("inline", "c"))
    return listener("e", manager)


def test_a_discovered_policy_is_waited_for_and_put_in_its_place() -> None:
    feed = whole()

    update = feed.push(LDS, {"e": ecds_listener("0s")})
    assert "e" not in last(feed).listeners
    config = {"@type": RBAC_URL, "rules": {"action": "ALLOW"}}
    feed.push(ECDS, {"ext": {"name": "ext", "typed_config": config}})

    assert asked(update.requests, ECDS) == ("ext",)
    assert type(filter_of(last(feed), "e")).__module__ == "meshsdk.filters.rbac"


def test_a_discovered_filter_that_never_comes_answers_500() -> None:
    feed = whole()
    feed.push(LDS, {"e": ecds_listener("1s")})

    feed.wait(1.0)

    assert filter_of(last(feed), "e") == NoFilterConfig("ext")


def test_a_discovered_filter_that_cannot_run_here_is_skipped_with_a_report() -> None:
    wasm = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
    feed = whole()
    manager = hcm(discovered("0s", wasm, RBAC_URL), route_config=routes("inline", "c"))
    feed.push(LDS, {"e": listener("e", manager)})

    update = feed.push(ECDS, {"ext": {"name": "ext", "typed_config": {"@type": wasm}}})

    assert filter_of(last(feed), "e") is None
    assert [getattr(event, "why", "") for event in update.events] == [
        f"skipped: no filter takes {wasm}"
    ]


# -- every order of arrival ------------------------------------------------------------------

VERSIONS: Mapping[str, tuple[str, Mapping[str, Data]]] = {
    "LDS": (LDS, {"l": listener("l", hcm(**rds("new")))}),
    "RDS": (RDS, {"new": routes("new", "d")}),
    "CDS": (CDS, {"d": eds_cluster("d")}),
    "EDS": (EDS, {"d": endpoints("d", "10.0.0.2")}),
}


ORDERS = list(permutations(VERSIONS))


def torn(snapshot: Snapshot) -> Iterator[str]:
    """What a call could fall through in a snapshot."""
    for name, found in snapshot.listeners.items():
        assert isinstance(found, Listener)
        for manager in found.connection_managers():
            table = snapshot.routes.get(manager.rds_name)
            if not isinstance(table, RouteConfiguration):
                yield f"listener {name}: no routes {manager.rds_name}"
                continue
            for cluster in table.cluster_names:
                value = snapshot.clusters.get(cluster)
                if not isinstance(value, Cluster):
                    yield f"routes {manager.rds_name}: no cluster {cluster}"
                elif not isinstance(snapshot.load_assignments.get(value.eds_name), LoadAssignment):
                    yield f"cluster {cluster}: no endpoints"


def deliver(feed: Feed, order: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Push each step, in this order as far as it is asked for; gives it and the snapshots so far."""
    pending = list(order)
    wanted = {LDS: {"l"}, CDS: {"d"}, RDS: set[str](), EDS: set[str]()}
    while pending:
        step = next(s for s in pending if set(VERSIONS[s][1]) <= wanted[VERSIONS[s][0]])
        pending.remove(step)
        update = feed.push(*VERSIONS[step])
        for request in update.requests:
            if request.type_url in wanted:
                wanted[request.type_url].update(request.subscribe)
        yield step, len(feed.snapshots)


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_no_order_of_arrival_gives_a_torn_first_snapshot(order: tuple[str, ...]) -> None:
    feed = Feed()
    feed.push(NDS, {"": {}})

    counts = [count for _, count in deliver(feed, order)]

    assert counts == [0, 0, 0, 1]
    assert list(torn(last(feed))) == []


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_no_order_of_arrival_gives_a_torn_update(order: tuple[str, ...]) -> None:
    feed = whole()
    has_cluster, seen = False, 1

    for step, count in deliver(feed, order):
        has_cluster = has_cluster or step == "CDS"
        # A cluster that a wildcard feed has not sent does not exist: that is no tear.
        allowed = [] if has_cluster else ["routes new: no cluster d"]
        for snapshot in feed.snapshots[seen:count]:
            assert list(torn(snapshot)) in ([], allowed)
        seen = count

    assert list(torn(last(feed))) == []
    assert clusters_of(last(feed), "new") == {"d"}
    assert set(last(feed).routes) == {"new"}
