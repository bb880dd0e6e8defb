"""How slowly a fault lets a body through."""

import pytest

from meshsdk.testing import FakeClock
from meshsdk.upstream.pace import Pace


def through(pace: Pace, clock: FakeClock, data: bytes) -> list[tuple[float, int]]:
    """When each part passed, and its size; time passes as asked."""
    found: list[tuple[float, int]] = []
    start = clock.monotonic()
    for wait, part in pace.slices(data):
        clock.advance(wait)
        if part:
            found.append((round(clock.monotonic() - start, 3), len(part)))
    return found


def test_the_first_slice_passes_at_once_and_each_further_one_a_tick_later() -> None:
    clock = FakeClock()

    found = through(Pace(20, clock), clock, b"x" * 3000)

    assert [when for when, _ in found] == [0.0, 0.05, 0.1]
    assert [size for _, size in found] == pytest.approx([1024, 1024, 952], abs=2)


def test_what_was_not_used_is_saved_up_for_a_second() -> None:
    clock = FakeClock()
    pace = Pace(20, clock)
    through(pace, clock, b"x" * 1024)
    clock.advance(60.0)

    found = through(pace, clock, b"x" * (22 * 1024 - 9))

    assert [when for when, _ in found] == [0.0, 0.05, 0.1]
    assert [size for _, size in found] == pytest.approx([20 * 1024, 1024, 1015], abs=2)


# Recorded of a running Envoy at 64 KiB a second: octets, ticks of 50 ms.
TICKS = [(100, 0), (3276, 0), (3300, 1), (6500, 1), (7000, 2), (17000, 5), (22000, 6), (65000, 19)]


@pytest.mark.parametrize(("size", "ticks"), TICKS)
def test_a_body_takes_as_long_as_envoys(size: int, ticks: int) -> None:
    clock = FakeClock()

    found = through(Pace(64, clock), clock, b"x" * size)

    assert found[-1][0] == pytest.approx(ticks * 0.05, abs=0.001)


@pytest.mark.parametrize("kib", [1, 7, 1000])
def test_every_octet_passes(kib: int) -> None:
    clock = FakeClock()
    data = bytes(i % 251 for i in range(kib * 1024 * 2))
    pace, parts = Pace(kib, clock), list[bytes]()
    for wait, part in pace.slices(data):
        clock.advance(wait)
        parts.append(part)
    assert b"".join(parts) == data
