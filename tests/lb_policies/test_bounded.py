"""Consistent hashing whose hosts take only so much more than their share."""

from collections import Counter
from itertools import islice

import pytest

from meshsdk.call.address import Address
from meshsdk.call.endpoint import Endpoint, Host, HostState
from meshsdk.lb_policies.bounded import bounded, mt19937
from meshsdk.lb_policies.maglev import Maglev
from meshsdk.lb_policies.ring_hash import RingHash

HASH = 0x1234_5678_9ABC_DEF0


def hosts(count: int) -> list[tuple[Host, float]]:
    made = [Host(Endpoint(Address("10.0.0.1", 9000 + i)), HostState(), None) for i in range(count)]
    return [(host, 1 / count) for host in made]


def test_the_order_of_jumps_is_the_standards_generator() -> None:
    # ISO C++, [rand.predef]: the 10000th of a default-constructed std::mt19937.
    assert next(islice(mt19937(5489), 9999, None)) == 4123659995


@pytest.mark.parametrize("policy", [Maglev(251), RingHash()])
def test_a_host_with_room_is_the_tables_own(policy: Maglev | RingHash) -> None:
    weighted = hosts(4)
    table = policy.table(weighted)

    assert bounded(table, weighted, 125).find(HASH, 0) is table.find(HASH, 0)


def test_an_overloaded_host_passes_on_to_the_same_next_one_each_time() -> None:
    weighted = hosts(5)
    plain = Maglev(251).table(weighted)
    table = bounded(plain, weighted, 100)
    own = plain.find(HASH, 0)
    assert own is not None
    own.state.active_requests = 9

    found = [table.find(HASH, 0) for _ in range(3)]

    assert own not in found
    assert len({id(host) for host in found}) == 1


def test_one_hash_spreads_no_wider_than_its_bound_asks() -> None:
    weighted = hosts(4)
    table = bounded(Maglev(251).table(weighted), weighted, 150)
    taken: Counter[int] = Counter()

    for _ in range(40):
        host = table.find(HASH, 0)
        assert host is not None
        host.state.active_requests += 1
        taken[host.endpoint.address.port] += 1

    # 150 % of a quarter of the calls under way, and the one that fills it.
    assert max(taken.values()) <= 16
    assert sum(taken.values()) == 40


def test_where_all_are_full_the_least_loaded_takes_it() -> None:
    weighted = hosts(3)
    table = bounded(Maglev(251).table(weighted), weighted, 100)
    for (host, _), active in zip(weighted, (30, 20, 31), strict=True):
        host.state.active_requests = active

    assert table.find(HASH, 0) is weighted[1][0]
