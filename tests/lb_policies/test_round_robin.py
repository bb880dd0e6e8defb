"""Round robin, weighted and not, over localities, through pushes and slow start."""

from collections import Counter

from meshsdk.lb_policies import build
from tests.lb_policies.clusters import Balanced, FakeClock, group, is_near, lb_endpoint


def test_equal_hosts_take_turns() -> None:
    balanced = Balanced(group(lb_endpoint(1), lb_endpoint(2), lb_endpoint(3)))

    picks = balanced.picks(6)

    assert picks[:3] == picks[3:]
    assert sorted(picks[:3]) == [1, 2, 3]


def test_weighted_hosts_take_turns_as_often_as_they_weigh() -> None:
    balanced = Balanced(
        group(
            lb_endpoint(1, load_balancing_weight=1),
            lb_endpoint(2, load_balancing_weight=2),
            lb_endpoint(3, load_balancing_weight=3),
        )
    )

    assert Counter(balanced.picks(600)) == {1: 100, 2: 200, 3: 300}


def test_weights_are_spread_out_not_bunched() -> None:
    balanced = Balanced(
        group(lb_endpoint(1, load_balancing_weight=1), lb_endpoint(2, load_balancing_weight=3))
    )

    picks = balanced.picks(40)

    assert all(Counter(picks[i : i + 4])[1] == 1 for i in range(36))


def test_a_push_does_not_reset_the_rotation() -> None:
    endpoints = group(lb_endpoint(1), lb_endpoint(2), lb_endpoint(3))
    before = Balanced(endpoints)
    last = before.pick()

    after = Balanced(endpoints, previous=before.balancer)

    assert after.pick() == last % 3 + 1


def test_locality_weights_decide_where_they_are_configured() -> None:
    balanced = Balanced(
        group(lb_endpoint(1), zone="a", load_balancing_weight=1),
        group(lb_endpoint(2), lb_endpoint(3), zone="b", load_balancing_weight=3),
        common_lb_config={"locality_weighted_lb_config": {}},
    )

    assert is_near(balanced.shares(), {1: 0.25, 2: 0.375, 3: 0.375})


def test_locality_weights_mean_nothing_where_they_are_not_configured() -> None:
    balanced = Balanced(
        group(lb_endpoint(1), zone="a", load_balancing_weight=1),
        group(lb_endpoint(2), zone="b", load_balancing_weight=9),
    )

    assert is_near(balanced.shares(), {1: 0.5, 2: 0.5})


def test_a_locality_that_lost_hosts_loses_weight_beyond_its_reserve() -> None:
    down = {"health_status": "UNHEALTHY"}
    balanced = Balanced(
        group(lb_endpoint(1), lb_endpoint(2, **down), zone="a", load_balancing_weight=1),
        group(lb_endpoint(3), lb_endpoint(4), zone="b", load_balancing_weight=1),
        common_lb_config={"locality_weighted_lb_config": {}},
    )

    # Locality a is 50 % healthy: 0.5 * 1.4 = 0.7 of its weight.
    assert is_near(balanced.shares(2000), {1: 0.7 / 1.7, 3: 0.5 / 1.7, 4: 0.5 / 1.7})


def test_a_new_host_warms_up_during_slow_start() -> None:
    clock = FakeClock()
    balanced = Balanced(
        group(lb_endpoint(1), lb_endpoint(2)),
        clock=clock,
        round_robin_lb_config={"slow_start_config": {"slow_start_window": "10s"}},
    )
    old, new = balanced.hosts
    settled = build(balanced.cluster, (old,), None, clock, balanced.random)
    clock.advance(100)

    balanced.balancer = build(balanced.cluster, (old, new), settled, clock, balanced.random)

    clock.advance(2)
    assert is_near(balanced.shares(), {1: 1 / 1.2, 2: 0.2 / 1.2})
    clock.advance(20)
    assert is_near(balanced.shares(), {1: 0.5, 2: 0.5})
