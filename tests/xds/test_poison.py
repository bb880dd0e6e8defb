"""The updates that a real Envoy refused (its last version served on), rebuilt from their names."""

from collections.abc import Mapping
from typing import Final

import pytest

from meshsdk.resources.listener import Listener
from meshsdk.xds.messages import DiscoveryResponse, Received
from tests.xds.pushes import CDS, LDS, NDS, Data, Feed, finish, hcm, listener, received, routes

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
ANY: Final = [{"any": True}]
DENY_ADMIN: Mapping[str, object] = {
    "permissions": [{"url_path": {"path": {"prefix": "/admin"}}}],
    "principals": ANY,
}
MANAGER = r"listener.filter_chains[0].filters[0].typed_config"
RULES = f"{MANAGER}.http_filters[0].typed_config.rules"


def rbac(policy: Data, action: str = "DENY") -> Data:
    rules = {"action": action, "policies": {"p": policy}}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {"@type": RBAC, "rules": rules},
    }


def unknown(*, optional: bool = False) -> Data:
    return {
        "name": "x.unknown",
        "is_optional": optional,
        "typed_config": {"@type": "type.googleapis.com/acme.Unknown"},
    }


def l1(*filters: Data, table: Data | None = None) -> Data:
    return listener("l1", hcm(*filters, route_config=table or routes("r", "c")))


def without_router(*filters: Data) -> Data:
    manager = {**hcm(), "http_filters": list(filters), "route_config": routes("r", "c")}
    return listener("l1", manager)


def weights(*numbers: int) -> Data:
    clusters = [{"name": f"c{i}", "weight": n} for i, n in enumerate(numbers)]
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}}}
    return {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [route]}]}


def two_hosts(domain: str) -> Data:
    return {
        "name": "r",
        "virtual_hosts": [{"name": f"v{i}", "domains": [domain]} for i in range(2)],
    }


LOOKAHEAD = {
    "permissions": [{"url_path": {"path": {"safe_regex": {"regex": "/(?=a)"}}}}],
    "principals": ANY,
}
POISON: Mapping[str, tuple[Mapping[str, Data], str]] = {
    # name in vectors/xds_poison.json: resources, how the error begins
    "unknown http filter type": (
        {"l1": l1(unknown())},
        f"LDS l1: {MANAGER}.http_filters[0].typed_config: no HTTP filter takes",
    ),
    "rbac with lookahead regex": (
        {"l1": l1(rbac(LOOKAHEAD))},
        f"LDS l1: {RULES}.policies[p].permissions[0].url_path.path.safe_regex.regex: ",
    ),
    "permission with no rule set": (
        {"l1": l1(rbac({"permissions": [dict[str, object]()], "principals": ANY}))},
        f"LDS l1: {RULES}.policies[p].permissions[0]: ",
    ),
    "policy with empty permissions": (
        {"l1": l1(rbac({"permissions": [], "principals": ANY}))},
        f"LDS l1: {RULES}.policies[p].permissions: ",
    ),
    "bad enum action 99": (
        {"l1": l1({**rbac({}), "typed_config": {"@type": RBAC, "rules": {"action": 99}}})},
        f"LDS l1: {RULES}.action: ",
    ),
    "one good changed + one bad": (
        {"l1": l1(), "l2": listener("l2", hcm(unknown(), route_config=routes("r", "c")))},
        f"LDS l2: {MANAGER}.http_filters[0].typed_config: no HTTP filter takes",
    ),
    "router filter missing": (
        {"l1": without_router(rbac(DENY_ADMIN))},
        f"LDS l1: {MANAGER}.http_filters[0]: expected a router as the last HTTP filter",
    ),
    "router not last": (
        {"l1": without_router(*hcm()["http_filters"], rbac(DENY_ADMIN))},  # type: ignore[misc]  # a list
        f"LDS l1: {MANAGER}.http_filters[0]: terminal filter",
    ),
    "duplicate vhost domains": (
        {"l1": l1(table=two_hosts("*"))},
        f"LDS l1: {MANAGER}.route_config.virtual_hosts[1].domains[0]: ",
    ),
    "weights sum 0": (
        {"l1": l1(table=weights(0, 0))},
        f"LDS l1: {MANAGER}.route_config.virtual_hosts[0].routes[0].route.weighted_clusters",
    ),
}


def serving() -> Feed:
    """A feed whose listener l1 denies /admin."""
    feed = Feed()
    feed.push(CDS, {"c": {"name": "c", "type": "STATIC"}})
    feed.push(NDS, {"": {}})
    feed.push(LDS, {"l1": l1(rbac(DENY_ADMIN))})
    assert isinstance(feed.snapshots[-1].listeners["l1"], Listener)
    return feed


def answer(feed: Feed) -> str:
    request = feed.update.requests[0]
    assert request.error is not None
    return request.error


@pytest.mark.parametrize("name", POISON)
def test_what_envoy_refuses_is_nacked_with_its_path_and_the_last_version_serves_on(
    name: str,
) -> None:
    resources, expected = POISON[name]
    feed = serving()
    before = feed.snapshots[-1].listeners["l1"]

    feed.push(LDS, resources)

    assert answer(feed).startswith(expected)
    kept = feed.snapshots[-1].listeners["l1"]
    assert kept is before or name == "one good changed + one bad"


def test_a_good_listener_beside_a_bad_one_is_put_in_force() -> None:
    feed = serving()
    before = feed.snapshots[-1].listeners["l1"]

    feed.push(LDS, POISON["one good changed + one bad"][0])

    after = feed.snapshots[-1].listeners["l1"]
    assert isinstance(after, Listener)
    assert after is not before


def test_duplicate_listener_names_are_nacked() -> None:
    feed = serving()
    before = feed.snapshots[-1].listeners["l1"]
    twice = tuple(received(LDS, "l1", l1(rbac(DENY_ADMIN, action))) for action in ("ALLOW", "LOG"))

    response = DiscoveryResponse(LDS, "2", "n9", twice)
    feed.take(finish(feed.client.receive(response, feed.clock.monotonic())))

    assert answer(feed).startswith("LDS l1: listener.name: expected each name once")
    assert feed.snapshots[-1].listeners["l1"] is before


def test_a_resource_of_another_type_inside_is_nacked() -> None:
    feed = serving()
    other = Received("l1", b"x", "type.googleapis.com/acme.X", lambda: pytest.fail("decoded"))

    response = DiscoveryResponse(LDS, "2", "n9", (other,))
    feed.take(finish(feed.client.receive(response, feed.clock.monotonic())))

    assert answer(feed) == f"LDS resources[0]: expected {LDS}, found type.googleapis.com/acme.X"
    assert isinstance(feed.snapshots[-1].listeners["l1"], Listener)


def test_an_inline_route_to_an_unknown_cluster_is_taken_and_answers_nc() -> None:
    feed = serving()

    feed.push(LDS, {"l1": l1(rbac(DENY_ADMIN), table=routes("r", "nope"))})

    assert feed.update.requests[0].error is None
    assert "nope" not in feed.snapshots[-1].clusters


@pytest.mark.parametrize("filters", ["before", "instead"])
def test_an_optional_unknown_filter_never_takes_the_place_of_a_policy(filters: str) -> None:
    feed = serving()
    before = feed.snapshots[-1].listeners["l1"]
    optional = unknown(optional=True)
    new = l1(optional, rbac(DENY_ADMIN)) if filters == "before" else l1(optional)

    feed.push(LDS, {"l1": new})

    assert "x.unknown" in answer(feed)
    assert "http_filters[0]" in answer(feed)
    assert feed.snapshots[-1].listeners["l1"] is before


def test_an_optional_unknown_filter_behind_the_policies_is_skipped_with_a_report() -> None:
    feed = serving()

    feed.push(LDS, {"l1": l1(rbac(DENY_ADMIN), unknown(optional=True))})

    assert feed.update.requests[0].error is None
    assert len(feed.update.events) == 1
    assert feed.update.snapshot is not None
