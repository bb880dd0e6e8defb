"""Priorities, degraded hosts and panic, in the numbers of Envoy's documentation."""

import pytest

from meshsdk.call.address import Address
from meshsdk.call.endpoint import Endpoint, HealthStatus, Host, HostState
from meshsdk.lb_policies.priority import by_priority, choose, spread
from tests.lb_policies.clusters import Balanced, group, is_near, lb_endpoint


def hosts(priority: int, *, healthy: int, degraded: int = 0, down: int = 0) -> list[Host]:
    status = (
        [HealthStatus.HEALTHY] * healthy
        + [HealthStatus.DEGRADED] * degraded
        + [HealthStatus.UNHEALTHY] * down
    )
    return [
        Host(
            Endpoint(Address("10.0.0.1", 1000 * priority + i), priority=priority, health=health),
            HostState(),
        )
        for i, health in enumerate(status)
    ]


# (hosts of P0 as healthy/degraded/down, of P1) -> healthy loads, degraded loads.
# Source: Envoy, architecture overview, priority levels and degraded endpoints.
SPREADS = [
    ((4, 0, 0), (4, 0, 0), (100, 0), (0, 0)),
    ((72, 0, 28), (100, 0, 0), (100, 0), (0, 0)),
    ((71, 0, 29), (100, 0, 0), (99, 1), (0, 0)),
    ((50, 0, 50), (100, 0, 0), (70, 30), (0, 0)),
    ((25, 0, 75), (25, 0, 75), (50, 50), (0, 0)),
    ((0, 0, 100), (100, 0, 0), (0, 100), (0, 0)),
    ((0, 100, 0), (100, 0, 0), (0, 100), (0, 0)),
    ((0, 100, 0), (0, 0, 100), (0, 0), (100, 0)),
    ((71, 29, 0), (100, 0, 0), (99, 1), (0, 0)),
    ((50, 50, 0), (0, 100, 0), (70, 0), (30, 0)),
]


@pytest.mark.parametrize(("first", "second", "healthy", "degraded"), SPREADS)
def test_priorities_share_the_load_by_their_health(
    first: tuple[int, int, int],
    second: tuple[int, int, int],
    healthy: tuple[int, int],
    degraded: tuple[int, int],
) -> None:
    sets = by_priority(
        [
            *hosts(0, healthy=first[0], degraded=first[1], down=first[2]),
            *hosts(1, healthy=second[0], degraded=second[1], down=second[2]),
        ]
    )

    state = spread(sets, overprovisioning=140, weighted=False, panic_threshold=0)

    assert state.loads == (healthy, degraded)


def test_in_total_panic_load_follows_the_number_of_hosts() -> None:
    sets = by_priority([*hosts(0, healthy=0, down=1), *hosts(1, healthy=0, down=3)])

    state = spread(sets, overprovisioning=140, weighted=False, panic_threshold=50)

    assert state.panic == (True, True)
    assert state.loads == ((25, 75), (0, 0))


def test_no_priority_panics_while_others_make_up_for_it() -> None:
    sets = by_priority([*hosts(0, healthy=1, down=9), *hosts(1, healthy=10)])

    state = spread(sets, overprovisioning=140, weighted=False, panic_threshold=50)

    assert state.panic == (False, False)
    assert state.loads == ((14, 86), (0, 0))


def test_a_priority_without_hosts_gets_nothing() -> None:
    sets = by_priority(hosts(1, healthy=2))

    state = spread(sets, overprovisioning=140, weighted=False, panic_threshold=50)

    assert state.loads == ((0, 100), (0, 0))


def test_weighted_priority_health_counts_weights() -> None:
    heavy, light = hosts(0, healthy=1, down=1)
    heavy = Host(Endpoint(Address("10.0.0.1", 1), weight=9), heavy.state)
    sets = by_priority([heavy, light, *hosts(1, healthy=1)])

    state = spread(sets, overprovisioning=100, weighted=True, panic_threshold=0)

    assert state.loads == ((90, 10), (0, 0))


def test_degraded_shares_come_after_all_healthy_ones() -> None:
    loads = ((40, 20), (30, 10))

    found = [choose(loads, percent) for percent in (1, 40, 41, 60, 61, 90, 91, 100)]

    assert found == [
        (0, False),
        (0, False),
        (1, False),
        (1, False),
        (0, True),
        (0, True),
        (1, True),
        (1, True),
    ]


def test_panic_sends_calls_to_unhealthy_hosts_too() -> None:
    balanced = Balanced(
        group(lb_endpoint(1), *(lb_endpoint(p, health_status="UNHEALTHY") for p in (2, 3, 4)))
    )

    assert is_near(balanced.shares(), {1: 0.25, 2: 0.25, 3: 0.25, 4: 0.25})


def test_without_panic_only_healthy_hosts_get_calls() -> None:
    balanced = Balanced(
        group(lb_endpoint(1), *(lb_endpoint(p, health_status="UNHEALTHY") for p in (2, 3, 4))),
        common_lb_config={"healthy_panic_threshold": {}},
    )

    assert set(balanced.picks(50)) == {1}


def test_traffic_fails_in_panic_where_that_is_asked_for() -> None:
    balanced = Balanced(
        group(
            lb_endpoint(1),
            lb_endpoint(2, health_status="TIMEOUT"),
            lb_endpoint(3, health_status="DRAINING"),
        ),
        common_lb_config={"zone_aware_lb_config": {"fail_traffic_on_panic": True}},
    )

    assert balanced.pick() == 0


def test_degraded_hosts_serve_where_no_other_is_left() -> None:
    balanced = Balanced(
        group(lb_endpoint(1, health_status="DEGRADED"), lb_endpoint(2, health_status="UNHEALTHY"))
    )

    assert set(balanced.picks(50)) == {1}
