"""Ring hash: the very hosts that Envoy 1.40 chose for the same keys."""

import pytest

from meshsdk.matching.xxh64 import xxh64
from tests.lb_policies.clusters import Balanced, group, labelled, lb_endpoint

FIVE = group(*(lb_endpoint(port) for port in range(21001, 21006)))
ZONES = (
    group(lb_endpoint(21001), lb_endpoint(21002), zone="a", load_balancing_weight=1),
    group(lb_endpoint(21003), lb_endpoint(21004), zone="b", load_balancing_weight=3),
)
WEIGHTED: dict[str, object] = {"common_lb_config": {"locality_weighted_lb_config": {}}}
RING: dict[str, object] = {"lb_policy": "RING_HASH"}
RING_64 = RING | {"ring_hash_lb_config": {"minimum_ring_size": 64}}
# The last digit of the port for the keys key-0, key-1 ... as a running Envoy answered.
RECORDED: list[tuple[tuple[dict[str, object], ...], dict[str, object], str]] = [
    ((FIVE,), RING_64, "254444214323135323414442"),
    (ZONES, RING | WEIGHTED, "424334423344344334443323"),
]


@pytest.mark.parametrize(("groups", "policy", "expected"), RECORDED)
def test_keys_find_the_hosts_that_envoy_finds(
    groups: tuple[dict[str, object], ...], policy: dict[str, object], expected: str
) -> None:
    balanced = Balanced(*groups, config=policy)

    found = [balanced.pick(hash=xxh64(f"key-{i}".encode())) for i in range(len(expected))]

    assert "".join(str(port - 21000) for port in found) == expected


def test_hash_key_metadata_stands_for_the_host() -> None:
    plain = Balanced(group(labelled(1, hash_key="a"), labelled(2, hash_key="b")), config=RING_64)
    moved = Balanced(group(labelled(11, hash_key="a"), labelled(12, hash_key="b")), config=RING_64)

    keys = [xxh64(bytes([i])) for i in range(50)]

    assert [plain.pick(hash=k) + 10 for k in keys] == [moved.pick(hash=k) for k in keys]
