"""Ring hash and maglev: the very hosts that Envoy 1.40 chose for the same keys."""

import pytest

from meshsdk.call.endpoint import Host
from meshsdk.lb_policies.maglev import is_prime
from meshsdk.lb_policies.murmur import murmur2
from meshsdk.lb_policies.xxhash import xx64, xx64_python
from tests.lb_policies.clusters import Balanced, FakeClock, group, labelled, lb_endpoint

FIVE = group(*(lb_endpoint(port) for port in range(21001, 21006)))
ZONES = (
    group(lb_endpoint(21001), lb_endpoint(21002), zone="a", load_balancing_weight=1),
    group(lb_endpoint(21003), lb_endpoint(21004), zone="b", load_balancing_weight=3),
)
WEIGHTED: dict[str, object] = {"common_lb_config": {"locality_weighted_lb_config": {}}}
RING_64: dict[str, object] = {
    "lb_policy": "RING_HASH",
    "ring_hash_lb_config": {"minimum_ring_size": 64},
}
MAGLEV_251: dict[str, object] = {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}}
# The last digit of the port for the keys key-0, key-1 ... as a running Envoy answered.
RECORDED: list[tuple[str, tuple[dict[str, object], ...], dict[str, object], str]] = [
    ("ring of 64", (FIVE,), RING_64, "254444214323135323414442"),
    ("maglev", (FIVE,), {"lb_policy": "MAGLEV"}, "514342325151213312412442"),
    ("maglev of 251", (FIVE,), MAGLEV_251, "212115425221412513223332"),
    ("ring by locality", ZONES, {"lb_policy": "RING_HASH", **WEIGHTED}, "424334423344344334443323"),
    ("maglev by locality", ZONES, {"lb_policy": "MAGLEV", **WEIGHTED}, "414342324131343314412442"),
]


@pytest.mark.parametrize(("name", "groups", "policy", "expected"), RECORDED)
def test_keys_find_the_hosts_that_envoy_finds(
    name: str, groups: tuple[dict[str, object], ...], policy: dict[str, object], expected: str
) -> None:
    balanced = Balanced(*groups, config=policy)

    found = [balanced.pick(hash=xx64(f"key-{i}".encode())) for i in range(len(expected))]

    assert "".join(str(port - 21000) for port in found) == expected


def test_the_order_of_endpoints_does_not_change_maglev() -> None:
    one = Balanced(group(lb_endpoint(1), lb_endpoint(2), lb_endpoint(3)), config=MAGLEV_251)
    other = Balanced(group(lb_endpoint(3), lb_endpoint(1), lb_endpoint(2)), config=MAGLEV_251)

    keys = [xx64(bytes([i])) for i in range(100)]

    assert [one.pick(hash=k) for k in keys] == [other.pick(hash=k) for k in keys]


def test_hash_key_metadata_stands_for_the_host() -> None:
    plain = Balanced(group(labelled(1, hash_key="a"), labelled(2, hash_key="b")), config=RING_64)
    moved = Balanced(group(labelled(11, hash_key="a"), labelled(12, hash_key="b")), config=RING_64)

    keys = [xx64(bytes([i])) for i in range(50)]

    assert [plain.pick(hash=k) + 10 for k in keys] == [moved.pick(hash=k) for k in keys]


def test_an_ejected_hosts_keys_move_and_come_back() -> None:
    clock = FakeClock()
    health = Ejections()
    balanced = Balanced(FIVE, clock=clock, health=health, config=MAGLEV_251)
    keys = [xx64(bytes([i])) for i in range(100)]
    before = [balanced.pick(hash=k) for k in keys]

    balanced.hosts[0].state.ejected_until = 9e9
    health.version += 1
    during = [balanced.pick(hash=k) for k in keys]
    balanced.hosts[0].state.ejected_until = None
    health.version += 1

    assert 21001 in before
    assert 21001 not in during
    assert [balanced.pick(hash=k) for k in keys] == before


def test_a_retry_that_avoids_a_host_gets_another() -> None:
    balanced = Balanced(FIVE, config=RING_64)
    key = xx64(b"key-0")
    first = balanced.balancer.pick(balanced.context(hash=key))

    def avoid(host: Host) -> bool:
        return host is first

    second = balanced.balancer.pick(balanced.context(hash=key, avoid=avoid, reselections=5))

    assert first is not None
    assert second is not None
    assert second is not first


def test_without_a_hash_a_host_is_drawn() -> None:
    assert set(Balanced(FIVE, config=RING_64).picks(200)) == {21001, 21002, 21003, 21004, 21005}


class Ejections:
    def __init__(self) -> None:
        self.version = 0

    def sweep(self, now: float) -> None:
        del now


# XXH64 test vectors.
@pytest.mark.parametrize(
    ("data", "seed", "expected"),
    [
        (b"", 0, 0xEF46DB3751D8E999),
        (b"a", 0, 0xD24EC4F1A98C6E5B),
        (b"abc", 0, 0x44BC2CF5AD770999),
        (b"Nobody inspects the spammish repetition", 0, 0xFBCEA83C8A378BF1),
    ],
)
def test_xxhash_in_python_gives_the_published_values(data: bytes, seed: int, expected: int) -> None:
    assert xx64_python(data, seed) == expected
    assert xx64(data, seed) == expected


def test_xxhash_in_python_equals_the_native_one_for_every_length() -> None:
    data = bytes(range(256))

    assert all(xx64_python(data[:n], n) == xx64(data[:n], n) for n in range(130))


# As std::hash<std::string> of GCC prints them.
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0x553E93901E462A6E),
        (b"hello", 0x26553298FDBE39C8),
        (b"0123456789abcdef", 0x934B0D760642ED86),
        (b"127.0.0.1:21001_0", 0x20A3D833D746CA0F),
    ],
)
def test_murmur_is_the_hash_of_the_standard_library(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected


def test_table_sizes_are_prime() -> None:
    assert [n for n in range(20) if is_prime(n)] == [2, 3, 5, 7, 11, 13, 17, 19]
