"""What ring hash and maglev have in common, and the hashes under them."""

import pytest

from meshsdk.call.endpoint import Host
from meshsdk.lb_policies.murmur import murmur2
from meshsdk.matching.xxh64 import xxh64
from tests.lb_policies.clusters import Balanced, FakeClock, group, lb_endpoint

FIVE = group(*(lb_endpoint(port) for port in range(21001, 21006)))
RING_64: dict[str, object] = {
    "lb_policy": "RING_HASH",
    "ring_hash_lb_config": {"minimum_ring_size": 64},
}
MAGLEV_251: dict[str, object] = {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 251}}


def test_an_ejected_hosts_keys_move_and_come_back() -> None:
    clock = FakeClock()
    health = Ejections()
    balanced = Balanced(FIVE, clock=clock, health=health, config=MAGLEV_251)
    keys = [xxh64(bytes([i])) for i in range(100)]
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
    key = xxh64(b"key-0")
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
