"""Random."""

from tests.lb_policies.clusters import Balanced, group, is_near, lb_endpoint


def test_every_host_is_equally_likely_whatever_its_weight() -> None:
    balanced = Balanced(
        group(lb_endpoint(1, load_balancing_weight=9), lb_endpoint(2, load_balancing_weight=1)),
        lb_policy="RANDOM",
    )

    assert is_near(balanced.shares(2000), {1: 0.5, 2: 0.5})


def test_a_cluster_without_endpoints_picks_nobody() -> None:
    assert Balanced(lb_policy="RANDOM").pick() == 0
