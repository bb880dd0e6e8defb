"""Ejection and return of hosts."""

import random

import pytest

from meshsdk.call.endpoint import HostState
from meshsdk.call.headers import Headers
from meshsdk.call.message import Reset, ResetReason, Response
from meshsdk.config.reader import Reader
from meshsdk.resilience.outlier import OutlierDetector
from meshsdk.resources.outlier_detection import parse_outlier_detection
from tests.lb_policies.clusters import Balanced, FakeClock, group, lb_endpoint

BAD = Response(503)
GOOD = Response(200)
DIED = Reset(ResetReason.CONNECTION_TERMINATION)
REFUSED = Reset(ResetReason.CONNECT_FAILURE, request_sent=False)


class Watched:
    """A detector over some hosts, with a clock."""

    def __init__(self, count: int, **config: object) -> None:
        parsed = parse_outlier_detection(Reader(config, "outlier_detection"))
        assert parsed is not None
        self.clock = FakeClock(0.0)
        self.detector = OutlierDetector(parsed, random.Random(7), 0.0)
        self.hosts = [HostState() for _ in range(count)]
        self.detector.set_hosts(self.hosts)

    def record(self, index: int, *outcomes: Response | Reset) -> None:
        for outcome in outcomes:
            self.detector.record(self.hosts[index], outcome, self.clock.now)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.detector.sweep(self.clock.now)

    @property
    def ejected(self) -> list[int]:
        return [i for i, host in enumerate(self.hosts) if self.detector.is_ejected(host)]


def test_five_failures_in_a_row_eject() -> None:
    watched = Watched(10)

    watched.record(0, BAD, BAD, BAD, BAD, GOOD, BAD, BAD, BAD, BAD)
    assert watched.ejected == []
    watched.record(0, BAD)
    assert watched.ejected == [0]


@pytest.mark.parametrize(
    ("count", "config", "expected"),
    [
        # vectors of a running Envoy: 10 % of four hosts is less than one host.
        (4, {}, 0),
        (4, {"max_ejection_percent": 24}, 0),
        (4, {"max_ejection_percent": 25}, 1),
        (4, {"max_ejection_percent": 50}, 2),
        (4, {"max_ejection_percent": 100}, 4),
        (4, {"max_ejection_percent": 0}, 0),
        (4, {"max_ejection_percent": 0, "always_eject_one_host": True}, 1),
        (10, {}, 1),
    ],
)
def test_max_ejection_percent_bounds_the_ejections(
    count: int, config: dict[str, object], expected: int
) -> None:
    watched = Watched(count, **config)

    for index in range(count):
        watched.record(index, *[BAD] * 20)

    assert len(watched.ejected) == expected
    assert (watched.detector.overflows > 0) is (expected < count)


def test_detectors_know_when_they_can_never_eject() -> None:
    assert not Watched(4).detector.can_eject
    assert Watched(10).detector.can_eject


def test_a_host_returns_at_the_interval_after_its_ejection_time() -> None:
    watched = Watched(2, max_ejection_percent=50, interval="10s", base_ejection_time="25s")
    watched.advance(3)
    watched.record(0, *[BAD] * 5)

    watched.advance(26)
    assert watched.ejected == [0]
    watched.advance(1)  # the third interval ends at 30 s, 27 s after the ejection at 3 s
    assert watched.ejected == []


def test_a_second_ejection_lasts_twice_as_long() -> None:
    watched = Watched(2, max_ejection_percent=50, interval="1s", base_ejection_time="10s")
    watched.record(0, *[BAD] * 5)
    watched.advance(10)
    watched.record(0, *[BAD] * 5)

    watched.advance(19)
    assert watched.ejected == [0]
    watched.advance(1)
    assert watched.ejected == []


def test_healthy_intervals_make_ejections_short_again() -> None:
    watched = Watched(2, max_ejection_percent=50, interval="1s", base_ejection_time="10s")
    watched.record(0, *[BAD] * 5)
    watched.advance(10)

    watched.advance(5)
    watched.record(0, *[BAD] * 5)

    assert watched.hosts[0].ejected_until == pytest.approx(25.0)


def test_no_ejection_lasts_longer_than_the_maximum() -> None:
    watched = Watched(
        2,
        max_ejection_percent=50,
        interval="1s",
        base_ejection_time="10s",
        max_ejection_time="15s",
    )
    watched.record(0, *[BAD] * 5)
    watched.advance(10)

    watched.record(0, *[BAD] * 5)

    assert watched.hosts[0].ejected_until == pytest.approx(25.0)


def test_jitter_lengthens_an_ejection() -> None:
    watched = Watched(2, max_ejection_percent=50, max_ejection_time_jitter="10s")
    watched.record(0, *[BAD] * 5)

    until = watched.hosts[0].ejected_until

    assert until is not None and 30.0 < until < 40.0


def test_detection_that_is_not_enforced_ejects_nobody() -> None:
    watched = Watched(2, max_ejection_percent=100, enforcing_consecutive_5xx=0)
    watched.record(0, *[BAD] * 20)

    assert watched.ejected == []


def test_gateway_failures_are_counted_apart() -> None:
    watched = Watched(
        2,
        max_ejection_percent=100,
        consecutive_gateway_failure=2,
        enforcing_consecutive_gateway_failure=100,
    )

    watched.record(0, BAD, Response(500), BAD)
    assert watched.ejected == []
    watched.record(0, Response(502))
    assert watched.ejected == [0]


def test_resets_and_timeouts_count_as_gateway_failures() -> None:
    watched = Watched(2, max_ejection_percent=100, consecutive_5xx=3)

    watched.record(0, DIED, Reset(ResetReason.PER_TRY_TIMEOUT), REFUSED)

    assert watched.ejected == [0]


def test_an_overflow_says_nothing_about_a_host() -> None:
    watched = Watched(2, max_ejection_percent=100, consecutive_5xx=1)

    watched.record(0, Reset(ResetReason.OVERFLOW, request_sent=False))

    assert watched.ejected == []


def test_local_failures_are_split_off_where_that_is_asked_for() -> None:
    watched = Watched(
        2,
        max_ejection_percent=100,
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=3,
        consecutive_5xx=2,
    )

    watched.record(0, REFUSED, REFUSED, BAD, REFUSED, REFUSED)
    assert watched.ejected == []
    watched.record(0, REFUSED)
    assert watched.ejected == [0]


def test_a_connection_that_was_made_ends_a_row_of_local_failures() -> None:
    watched = Watched(
        2,
        max_ejection_percent=100,
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=2,
    )

    watched.record(0, DIED, DIED, DIED, DIED)

    assert watched.ejected == []


def test_the_cluster_may_define_what_a_failure_is() -> None:
    watched = Watched(2, max_ejection_percent=100, consecutive_5xx=1)

    watched.detector.record(
        watched.hosts[0], Response(429), 0.0, is_error=lambda r: r.status == 429
    )
    watched.detector.record(
        watched.hosts[1], Response(503), 0.0, is_error=lambda r: r.status == 429
    )

    assert watched.ejected == [0]


def test_a_grpc_status_counts_instead_of_200() -> None:
    watched = Watched(2, max_ejection_percent=100, consecutive_5xx=1)
    unavailable = Response(200, Headers([("grpc-status", "14")]))

    watched.detector.record(watched.hosts[0], unavailable, 0.0)
    assert watched.ejected == []
    watched.detector.record(watched.hosts[0], unavailable, 0.0, is_grpc=True)
    assert watched.ejected == [0]


def test_a_host_below_the_others_success_rate_is_ejected() -> None:
    watched = Watched(5, max_ejection_percent=100, interval="10s", consecutive_5xx=1000)
    for index in range(5):
        watched.record(index, *[GOOD] * (50 if index == 0 else 100))
    watched.record(0, *[BAD] * 50)

    watched.advance(10)

    assert watched.ejected == [0]


def test_a_host_above_the_failure_percentage_is_ejected() -> None:
    watched = Watched(
        5,
        max_ejection_percent=100,
        consecutive_5xx=1000,
        enforcing_success_rate=0,
        enforcing_failure_percentage=100,
        failure_percentage_threshold=50,
    )
    for index in range(5):
        watched.record(index, *[GOOD] * 50)
    watched.record(0, *[BAD] * 60)

    watched.advance(10)

    assert watched.ejected == [0]


def test_too_little_traffic_is_not_judged() -> None:
    watched = Watched(5, max_ejection_percent=100, consecutive_5xx=1000)
    for index in range(5):
        watched.record(index, *[GOOD] * 49)
    watched.record(0, *[BAD] * 50)

    watched.advance(10)

    assert watched.ejected == []


def test_a_removed_host_no_longer_counts_as_ejected() -> None:
    watched = Watched(4, max_ejection_percent=25)
    watched.record(0, *[BAD] * 5)

    watched.detector.set_hosts(watched.hosts[1:])
    watched.record(1, *[Response(500)] * 5)

    # One of three hosts would be 33 %.
    assert watched.detector.ejected == 0
    assert watched.detector.overflows == 1


def test_closing_lets_every_host_back() -> None:
    watched = Watched(1, max_ejection_percent=100)
    watched.record(0, *[BAD] * 5)

    watched.detector.close()

    assert watched.ejected == []


def test_a_long_silence_is_caught_up_with_at_once() -> None:
    watched = Watched(2, max_ejection_percent=50, interval="0.001s")
    watched.record(0, *[BAD] * 5)

    watched.advance(86_400)

    assert watched.ejected == []
    assert watched.hosts[0].ejections == 0


def test_balancers_follow_ejections_and_returns() -> None:
    watched = Watched(0, max_ejection_percent=50, interval="10s")
    balanced = Balanced(
        group(lb_endpoint(1), lb_endpoint(2)), clock=watched.clock, health=watched.detector
    )
    watched.detector.set_hosts(host.state for host in balanced.hosts)

    for _ in range(5):
        watched.detector.record(balanced.hosts[0].state, BAD, watched.clock.now)
    during = set(balanced.picks(10))
    watched.clock.advance(29)
    until_the_end = set(balanced.picks(10))
    watched.clock.advance(1)
    after = set(balanced.picks(10))

    assert during == {2}
    assert until_the_end == {2}
    assert after == {1, 2}
