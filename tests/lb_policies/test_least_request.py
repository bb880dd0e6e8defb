"""Least request."""

from collections import Counter

from tests.lb_policies.clusters import Balanced, group, is_near, lb_endpoint


def test_the_less_busy_of_the_choices_is_picked() -> None:
    balanced = Balanced(
        group(lb_endpoint(1), lb_endpoint(2)),
        lb_policy="LEAST_REQUEST",
        least_request_lb_config={"choice_count": 10},
    )
    balanced.hosts[0].state.active_requests = 1

    assert Counter(balanced.picks(200))[2] >= 195


def test_two_choices_leave_the_busiest_host_only_its_own_doubles() -> None:
    balanced = Balanced(
        group(lb_endpoint(1), lb_endpoint(2), lb_endpoint(3)), lb_policy="LEAST_REQUEST"
    )
    balanced.hosts[0].state.active_requests = 5

    assert is_near(balanced.shares(3000), {1: 1 / 9, 2: 4 / 9, 3: 4 / 9})


def test_weights_are_divided_by_the_calls_in_flight() -> None:
    balanced = Balanced(
        group(lb_endpoint(1, load_balancing_weight=1), lb_endpoint(2, load_balancing_weight=2)),
        lb_policy="LEAST_REQUEST",
    )
    balanced.hosts[1].state.active_requests = 3

    # 1/1 against 2/4.
    assert is_near(balanced.shares(), {1: 2 / 3, 2: 1 / 3})


def test_a_bias_of_zero_leaves_plain_weights() -> None:
    balanced = Balanced(
        group(lb_endpoint(1, load_balancing_weight=1), lb_endpoint(2, load_balancing_weight=3)),
        lb_policy="LEAST_REQUEST",
        least_request_lb_config={"active_request_bias": {"default_value": 0.0, "runtime_key": "x"}},
    )
    balanced.hosts[1].state.active_requests = 9

    assert is_near(balanced.shares(), {1: 0.25, 2: 0.75})


def test_a_full_scan_finds_the_only_idle_host() -> None:
    policy = {
        "@type": "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3"
        ".LeastRequest",
        "selection_method": "FULL_SCAN",
    }
    balanced = Balanced(
        group(*(lb_endpoint(port) for port in range(1, 11))),
        load_balancing_policy={"policies": [{"typed_extension_config": {"typed_config": policy}}]},
    )
    for host in balanced.hosts[1:]:
        host.state.active_requests = 1

    assert set(balanced.picks(20)) == {1}
