"""How long calls may take, in Envoy's own numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.resilience.deadline import (
    Timeouts,
    format_grpc_timeout,
    grpc_timeout,
    is_grpc_request,
    resolve,
    stream_duration,
)
from meshsdk.resources.retry_policy import RetryPolicy


@dataclass(frozen=True)
class Stream:
    max_stream_duration: float | None = None
    grpc_timeout_header_max: float | None = None
    grpc_timeout_header_offset: float = 0.0


@dataclass(frozen=True)
class Route:
    timeout: float = 15.0
    max_grpc_timeout: float | None = None
    grpc_timeout_offset: float = 0.0
    max_stream_duration: Stream | None = None


def request(*headers: tuple[str, str], grpc: bool = False) -> Request:
    kind = [("content-type", "application/grpc")] if grpc else []
    return Request("POST", "a.example", "/", Headers([*kind, *headers]))


def test_a_route_without_a_word_has_fifteen_seconds() -> None:
    assert resolve(Route(), None, request()) == Timeouts(15.0, None, None)


def test_zero_is_unbounded() -> None:
    found = resolve(Route(timeout=0.0), None, request())

    assert found.total is None
    assert found.expected(5.0) is None


HEADER_CASES: list[tuple[Sequence[tuple[str, str]], float | None, float | None]] = [
    ([("x-envoy-upstream-rq-timeout-ms", "150")], 0.15, None),
    ([("x-envoy-upstream-rq-timeout-ms", "0")], None, 0.5),
    ([("x-envoy-upstream-rq-timeout-ms", "bad")], 0.6, 0.5),
    ([("x-envoy-upstream-rq-per-try-timeout-ms", "100")], 0.6, 0.1),
    ([("x-envoy-upstream-rq-per-try-timeout-ms", "600")], 0.6, None),
    ([("x-envoy-upstream-rq-timeout-ms", "100")], 0.1, None),
]


@pytest.mark.parametrize(("headers", "total", "per_try"), HEADER_CASES)
def test_the_request_may_set_its_own_times(
    headers: Sequence[tuple[str, str]], total: float | None, per_try: float | None
) -> None:
    policy = RetryPolicy(per_try_timeout=0.5)

    found = resolve(Route(timeout=0.6), policy, request(*headers))

    assert (found.total, found.per_try) == (total, per_try)


def test_the_next_try_is_told_what_is_left() -> None:
    found = resolve(Route(timeout=0.4), RetryPolicy(per_try_timeout=0.15), request())

    assert [found.expected(elapsed) for elapsed in (0.0, 0.165, 0.335, 0.4, 9.0)] == [
        150,
        150,
        65,
        1,
        1,
    ]
    told = found.tell(Headers([("x-envoy-expected-rq-timeout-ms", "9")]), 0.335)
    assert told.values("x-envoy-expected-rq-timeout-ms") == ("65",)


def test_a_hedged_try_may_use_all_that_is_left() -> None:
    policy = RetryPolicy(per_try_timeout=0.1)

    assert resolve(Route(timeout=1.0), policy, request(), hedging=True).expected(0.25) == 750


def test_an_outer_mesh_may_be_trusted_with_the_expected_time() -> None:
    headers = [
        ("x-envoy-expected-rq-timeout-ms", "70"),
        ("x-envoy-upstream-rq-timeout-ms", "90"),
    ]

    assert resolve(Route(), None, request(*headers)).total == 0.09
    assert resolve(Route(), None, request(*headers), respect_expected=True).total == 0.07


# Recorded of a running Envoy: max_grpc_timeout 2 s -> timeout, grpc-timeout sent on.
LEGACY_GRPC = [
    (None, 2.0, "2000m"),
    ("100m", 0.1, "100m"),
    ("1S", 1.0, "1000m"),
    ("100000u", 0.1, "100m"),
    ("0m", 2.0, "2000m"),
    ("bad", 2.0, "2000m"),
    ("3S", 2.0, "2000m"),
]


@pytest.mark.parametrize(("asked", "total", "sent"), LEGACY_GRPC)
def test_max_grpc_timeout_caps_what_a_grpc_request_asks_for(
    asked: str | None, total: float, sent: str
) -> None:
    headers = [] if asked is None else [("grpc-timeout", asked)]
    call = request(*headers, grpc=True)

    found = resolve(Route(timeout=0.8, max_grpc_timeout=2.0), None, call)

    assert found.total == total
    assert found.tell(call.headers, 0.0).get("grpc-timeout") == sent


def test_grpc_timeout_means_nothing_without_a_cap_or_without_grpc() -> None:
    capped = Route(timeout=0.8, max_grpc_timeout=2.0)

    assert (
        resolve(Route(timeout=0.8), None, request(("grpc-timeout", "1m"), grpc=True)).total == 0.8
    )
    assert resolve(capped, None, request(("grpc-timeout", "1m"))).total == 0.8


def test_the_grpc_offset_leaves_time_for_the_way_back() -> None:
    route = Route(max_grpc_timeout=0.0, grpc_timeout_offset=0.01)

    assert resolve(route, None, request(("grpc-timeout", "50m"), grpc=True)).total == pytest.approx(
        0.04
    )
    assert resolve(route, None, request(("grpc-timeout", "5m"), grpc=True)).total == 0.005


# Recorded of a running Envoy: grpc_timeout_header_max 0.2 s -> bound, grpc-timeout sent on.
STREAMS = [
    (None, None, None),
    ("100m", 0.1, "100m"),
    ("1S", 0.2, "200m"),
    ("100000u", 0.1, "100m"),
    ("0m", 0.0, "0m"),
    ("bad", None, None),
]


@pytest.mark.parametrize(("asked", "limit", "sent"), STREAMS)
def test_grpc_timeout_header_max_bounds_the_whole_exchange(
    asked: str | None, limit: float | None, sent: str | None
) -> None:
    headers = [] if asked is None else [("grpc-timeout", asked)]
    bound = Stream(grpc_timeout_header_max=0.2)

    found = stream_duration(bound, request(*headers, ("content-type", "application/grpc")))

    assert (found.limit, found.grpc_timeout) == (limit, sent)
    # Whoever does not speak gRPC keeps the field as it came.
    assert stream_duration(bound, request(*headers)).grpc_timeout is None


# Recorded of a running Envoy, for gRPC: seconds of the route and of the connection manager,
# grpc-timeout sent on where it came as 1S.
LIMITS = [
    (Stream(max_stream_duration=4.0), None, "4000m"),
    (Stream(max_stream_duration=0.0), None, None),
    (Stream(max_stream_duration=0.0), 4.0, ""),
    (Stream(), 4.0, "4000m"),
    (None, 4.0, None),
]


@pytest.mark.parametrize(("route", "manager", "sent"), LIMITS)
def test_the_limit_of_a_stream_is_told_by_grpc_timeout(
    route: Stream | None, manager: float | None, sent: str | None
) -> None:
    asked = request(("grpc-timeout", "1S"), ("content-type", "application/grpc"))

    assert stream_duration(route, asked, manager).grpc_timeout == sent


def test_max_stream_duration_replaces_the_routes_timeout() -> None:
    route = Route(max_stream_duration=Stream(max_stream_duration=3.0))

    assert resolve(route, None, request()).total is None
    assert stream_duration(route.max_stream_duration, request(), 9.0).limit == 3.0
    assert stream_duration(Stream(max_stream_duration=0.0), request(), 9.0).limit is None
    assert stream_duration(None, request(), 9.0).limit == 9.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2H", 7200.0),
        ("3M", 180.0),
        ("4S", 4.0),
        ("5m", 0.005),
        ("1u", 0.001),
        ("1000000n", 0.001),
        ("1000001n", 0.002),
        ("5", None),
        ("x", None),
    ],
)
def test_grpc_timeouts_are_read_in_whole_milliseconds(text: str, seconds: float | None) -> None:
    assert grpc_timeout(request(("grpc-timeout", text))) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0m"),
        (0.15, "150m"),
        (99_999.999, "99999999m"),
        (100_000.0, "100000S"),
        (1e9, "16666666M"),
    ],
)
def test_grpc_timeouts_are_written_in_eight_digits(seconds: float, text: str) -> None:
    assert format_grpc_timeout(seconds) == text


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
        ("application/json", False),
    ],
)
def test_grpc_is_told_by_its_content_type(content_type: str, expected: bool) -> None:
    assert is_grpc_request(request(("content-type", content_type))) is expected
