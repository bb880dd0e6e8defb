"""Maglev: the very hosts that Envoy 1.40 chose for the same keys."""

import pytest

from meshsdk.lb_policies.maglev import is_prime
from meshsdk.matching.xxh64 import xxh64
from tests.lb_policies.clusters import Balanced, group, lb_endpoint

FIVE = group(*(lb_endpoint(port) for port in range(21001, 21006)))
ZONES = (
    group(lb_endpoint(21001), lb_endpoint(21002), zone="a", load_balancing_weight=1),
    group(lb_endpoint(21003), lb_endpoint(21004), zone="b", load_balancing_weight=3),
)
WEIGHTED: dict[str, object] = {"common_lb_config": {"locality_weighted_lb_config": {}}}
MAGLEV: dict[str, object] = {"lb_policy": "MAGLEV"}
MAGLEV_251: dict[str, object] = {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}}
# The last digit of the port for the keys key-0, key-1 ... as a running Envoy answered.
RECORDED: list[tuple[tuple[dict[str, object], ...], dict[str, object], str]] = [
    ((FIVE,), MAGLEV, "514342325151213312412442"),
    ((FIVE,), MAGLEV_251, "212115425221412513223332"),
    (ZONES, MAGLEV | WEIGHTED, "414342324131343314412442"),
]


@pytest.mark.parametrize(("groups", "policy", "expected"), RECORDED)
def test_keys_find_the_hosts_that_envoy_finds(
    groups: tuple[dict[str, object], ...], policy: dict[str, object], expected: str
) -> None:
    balanced = Balanced(*groups, config=policy)

    found = [balanced.pick(hash=xxh64(f"key-{i}".encode())) for i in range(len(expected))]

    assert "".join(str(port - 21000) for port in found) == expected


def test_the_order_of_endpoints_does_not_change_maglev() -> None:
    one = Balanced(group(lb_endpoint(1), lb_endpoint(2), lb_endpoint(3)), config=MAGLEV_251)
    other = Balanced(group(lb_endpoint(3), lb_endpoint(1), lb_endpoint(2)), config=MAGLEV_251)

    keys = [xxh64(bytes([i])) for i in range(100)]

    assert [one.pick(hash=k) for k in keys] == [other.pick(hash=k) for k in keys]


def test_table_sizes_are_prime() -> None:
    assert [n for n in range(20) if is_prime(n)] == [2, 3, 5, 7, 11, 13, 17, 19]
