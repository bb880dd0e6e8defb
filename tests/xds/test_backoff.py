"""The wait before the next stream."""

from meshsdk.testing.clock import SeededRandom
from meshsdk.xds.backoff import Backoff


class Highest:
    def random(self) -> float:
        return 1.0

    def randrange(self, stop: int, /) -> int:
        return stop - 1


def test_the_ceiling_doubles_from_one_second_to_thirty() -> None:
    backoff = Backoff(Highest())

    assert [backoff.next_delay() for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_response_starts_it_anew() -> None:
    backoff = Backoff(Highest())
    backoff.next_delay()
    backoff.next_delay()

    backoff.reset()

    assert backoff.next_delay() == 1


def test_the_jitter_is_full() -> None:
    backoff = Backoff(SeededRandom(1))
    for _ in range(6):
        backoff.next_delay()

    delays = [backoff.next_delay() for _ in range(200)]

    assert min(delays) < 3
    assert max(delays) > 27
