"""The index of load balancing policies."""

from meshsdk.lb_policies import LB_POLICIES


def test_every_policy_is_known_by_envoys_name() -> None:
    assert [extension.name for extension in LB_POLICIES] == [
        "envoy.load_balancing_policies.least_request",
        "envoy.load_balancing_policies.maglev",
        "envoy.load_balancing_policies.random",
        "envoy.load_balancing_policies.ring_hash",
        "envoy.load_balancing_policies.round_robin",
        "envoy.load_balancing_policies.subset",
    ]
