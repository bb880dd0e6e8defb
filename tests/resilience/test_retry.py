"""Which outcomes are retried, how often and where."""

import random
from collections.abc import Mapping, Sequence

import pytest

from meshsdk.call.address import Address
from meshsdk.call.endpoint import Endpoint, Host, HostState
from meshsdk.call.headers import Headers
from meshsdk.call.message import Outcome, Request, Reset, ResetReason, Response
from meshsdk.config.reader import Reader
from meshsdk.resilience.backoff import interval
from meshsdk.resilience.breakers import PriorityBreakers
from meshsdk.resilience.retry import (
    LIMIT_EXCEEDED,
    NO,
    OVERFLOW,
    NoRetry,
    Retry,
    RetryState,
    retry_state,
)
from meshsdk.resources.circuit_breakers import RetryBudget, Thresholds
from meshsdk.resources.retry_policy import parse_retry_policy
from tests.lb_policies.clusters import FakeClock


def state(
    headers: Sequence[tuple[str, str]] = (),
    breakers: PriorityBreakers | None = None,
    config: Mapping[str, object] | None = None,
    **fields: object,
) -> RetryState:
    policy = {**fields, **(config or {})}
    found = retry_state(
        parse_retry_policy(Reader(policy, "retry_policy")) if policy else None,
        Request("GET", "a.example", "/", Headers(headers)),
        breakers or PriorityBreakers(Thresholds()),
        FakeClock(),
        random.Random(7),
    )
    assert found is not None
    return found


def response(status: int, *headers: tuple[str, str]) -> Response:
    return Response(status, Headers(headers))


def reset(reason: ResetReason, *, sent: bool = True) -> Reset:
    return Reset(reason, request_sent=sent)


GRPC_14 = response(200, ("grpc-status", "14"))
REFUSED = reset(ResetReason.CONNECT_FAILURE, sent=False)
TERMINATED = reset(ResetReason.CONNECTION_TERMINATION)
PER_TRY = reset(ResetReason.PER_TRY_TIMEOUT)
RATE_LIMITED = response(503, ("x-envoy-ratelimited", "true"))

# Source: Envoy, router filter, x-envoy-retry-on and x-envoy-retry-grpc-on.
VERDICTS: list[tuple[str, Outcome, bool]] = [
    ("5xx", response(500), True),
    ("5xx", response(599), True),
    ("5xx", response(600), False),
    ("5xx", response(429), False),
    ("5xx", TERMINATED, True),
    ("5xx", REFUSED, True),
    ("5xx", PER_TRY, True),
    ("5xx", RATE_LIMITED, False),
    ("5xx", reset(ResetReason.OVERFLOW, sent=False), False),
    ("5xx", reset(ResetReason.TIMEOUT), False),
    ("5xx", Reset(ResetReason.REMOTE_RESET, body_started=True), False),
    ("envoy-ratelimited", RATE_LIMITED, True),
    ("envoy-ratelimited", response(503), False),
    ("gateway-error", response(502), True),
    ("gateway-error", response(500), False),
    ("gateway-error", TERMINATED, True),
    ("reset", TERMINATED, True),
    ("reset", PER_TRY, True),
    ("reset", REFUSED, True),
    ("reset", response(503), False),
    ("reset-before-request", reset(ResetReason.REMOTE_RESET, sent=False), True),
    ("reset-before-request", REFUSED, True),
    ("reset-before-request", TERMINATED, False),
    ("reset-before-request", PER_TRY, False),
    ("connect-failure", REFUSED, True),
    ("connect-failure", reset(ResetReason.CONNECT_TIMEOUT, sent=False), True),
    ("connect-failure", reset(ResetReason.TLS_FAILURE, sent=False), True),
    ("connect-failure", TERMINATED, False),
    ("refused-stream", reset(ResetReason.REFUSED_STREAM), True),
    ("refused-stream", TERMINATED, False),
    ("retriable-4xx", response(409), True),
    ("retriable-4xx", response(404), False),
    ("retriable-status-codes", response(418), False),
    ("unavailable", GRPC_14, True),
    ("unavailable", response(503), False),
    ("unavailable", PER_TRY, False),
    ("cancelled", response(200, ("grpc-status", "1")), True),
    ("deadline-exceeded", response(200, ("grpc-status", "4")), True),
    ("resource-exhausted", response(200, ("grpc-status", "8")), True),
    ("internal", response(200, ("grpc-status", "13")), True),
    ("internal", GRPC_14, False),
    (" reset , unavailable", GRPC_14, True),
    ("nonsense", response(503), False),
]


@pytest.mark.parametrize(("retry_on", "outcome", "expected"), VERDICTS)
def test_a_condition_retries_what_envoy_retries(
    retry_on: str, outcome: Outcome, expected: bool
) -> None:
    found = retry_state(
        parse_retry_policy(Reader({"retry_on": retry_on})),
        Request("GET", "a.example", "/"),
        PriorityBreakers(Thresholds()),
        FakeClock(),
        random.Random(7),
    )

    assert (found is not None and isinstance(found.wants(outcome), Retry)) is expected


def test_listed_status_codes_are_retried() -> None:
    policy = {"retry_on": "retriable-status-codes", "retriable_status_codes": [418]}

    assert isinstance(state(config=policy).wants(response(418)), Retry)
    assert state(config=policy).wants(response(419)) == NO


def test_matching_response_headers_are_retried() -> None:
    matcher = {"name": "x-retry", "string_match": {"exact": "yes"}}
    policy = {"retry_on": "retriable-headers", "retriable_headers": [matcher]}

    assert isinstance(state(config=policy).wants(response(200, ("x-retry", "yes"))), Retry)
    assert state(config=policy).wants(response(200, ("x-retry", "no"))) == NO


def test_no_policy_and_no_header_means_no_state() -> None:
    args = (Request("GET", "a", "/"), PriorityBreakers(Thresholds()), FakeClock(), random.Random())

    assert retry_state(None, *args) is None
    assert retry_state(parse_retry_policy(Reader({"num_retries": 3})), *args) is None


def test_the_number_of_retries_is_one_unless_policy_says_otherwise() -> None:
    once = state(retry_on="5xx")

    assert isinstance(once.wants(response(503)), Retry)
    assert once.wants(response(503)) == LIMIT_EXCEEDED
    assert state(retry_on="5xx", num_retries=0).wants(response(503)) == NoRetry("URX")


def test_a_good_response_ends_it_without_a_flag() -> None:
    assert state(retry_on="5xx", num_retries=0).wants(response(200)) == NO


@pytest.mark.parametrize(
    ("headers", "outcome", "expected"),
    [
        ([("x-envoy-retry-on", "5xx")], response(503), True),
        ([("x-envoy-retry-on", "unavailable")], GRPC_14, False),
        ([("x-envoy-retry-grpc-on", "unavailable")], GRPC_14, True),
        ([("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "0")], response(503), False),
        (
            [
                ("x-envoy-retry-on", "retriable-status-codes"),
                ("x-envoy-retriable-status-codes", "429, 500,x"),
            ],
            response(500),
            True,
        ),
        (
            [
                ("x-envoy-retry-on", "retriable-headers"),
                ("x-envoy-retriable-header-names", "X-Again, x-b"),
            ],
            response(200, ("x-again", "")),
            True,
        ),
    ],
)
def test_the_request_may_ask_for_retries_itself(
    headers: list[tuple[str, str]], outcome: Outcome, expected: bool
) -> None:
    assert isinstance(state(headers).wants(outcome), Retry) is expected


def test_max_retries_of_the_request_beats_the_policy() -> None:
    asked = state([("x-envoy-max-retries", "3")], retry_on="5xx", num_retries=1)

    decisions = [asked.wants(response(503)) for _ in range(4)]

    assert [isinstance(d, Retry) for d in decisions] == [True, True, True, False]


def test_requests_that_the_policy_does_not_cover_are_not_retried() -> None:
    only_get = [{"name": ":method", "string_match": {"exact": "POST"}}]

    asked = state(retry_on="5xx", retriable_request_headers=only_get)

    assert asked.wants(response(503)) == NO


def test_bytes_sent_by_an_earlier_try_rule_out_reset_before_request() -> None:
    asked = state(retry_on="reset-before-request,connect-failure", num_retries=5)
    asked.wants(TERMINATED)

    assert asked.wants(reset(ResetReason.REMOTE_RESET, sent=False)) == NO


class Always:
    """A generator that draws the same each time."""

    def __init__(self, draw: float) -> None:
        self.draw = draw

    def random(self) -> float:
        return self.draw

    def randrange(self, stop: int, /) -> int:
        return int(self.draw * stop)


def test_backoff_doubles_up_to_the_maximum() -> None:
    back_off = {"base_interval": "0.1s", "max_interval": "0.4s"}
    policy = parse_retry_policy(Reader({"retry_back_off": back_off}))

    bounds = [interval(policy, retry, Always(1.0)) for retry in (1, 2, 3, 4, 5000)]

    assert bounds == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.4])
    assert interval(policy, 3, Always(0.0)) == 0.0


def test_a_rate_limited_response_says_how_long_to_wait() -> None:
    policy = {
        "retry_on": "retriable-status-codes",
        "retriable_status_codes": [429],
        "num_retries": 4,
        "rate_limited_retry_back_off": {
            "reset_headers": [
                {"name": "Retry-After", "format": "SECONDS"},
                {"name": "x-reset", "format": "UNIX_TIMESTAMP"},
            ],
            "max_interval": "60s",
        },
    }
    asked = state(config=policy)

    seconds = asked.wants(response(429, ("retry-after", "10")))
    stamp = asked.wants(response(429, ("x-reset", "1020")))
    too_long = asked.wants(response(429, ("retry-after", "61")))
    nothing = asked.wants(response(429))

    assert isinstance(seconds, Retry) and 10 <= seconds.backoff < 15
    assert isinstance(stamp, Retry) and 20 <= stamp.backoff < 30
    assert isinstance(too_long, Retry) and too_long.backoff < 0.25
    assert isinstance(nothing, Retry) and nothing.backoff < 0.25


def test_retries_stop_at_the_breaker() -> None:
    breakers = PriorityBreakers(Thresholds(max_retries=1))
    one = state(breakers=breakers, retry_on="5xx", num_retries=3)
    other = state(breakers=breakers, retry_on="5xx", num_retries=3)

    assert isinstance(one.wants(response(503)), Retry)
    assert other.wants(response(503)) == OVERFLOW
    one.close()
    one.close()
    assert isinstance(other.wants(response(503)), Retry)
    assert breakers.retries == 1


def test_the_retry_budget_follows_what_is_active() -> None:
    breakers = PriorityBreakers(Thresholds(max_retries=0, retry_budget=RetryBudget(20.0, 1)))
    breakers.requests = 14

    granted = [state(breakers=breakers, retry_on="5xx").wants(response(503)) for _ in range(4)]

    assert [isinstance(g, Retry) for g in granted] == [True, True, False, False]


def host(port: int, priority: int = 0, **labels: object) -> Host:
    metadata = {"envoy.lb": labels}
    endpoint = Endpoint(Address("10.0.0.1", port), priority=priority, metadata=metadata)
    return Host(endpoint, HostState())


def test_previous_hosts_are_avoided() -> None:
    predicate = {
        "name": "envoy.retry_host_predicates.previous_hosts",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3"
            ".PreviousHostsPredicate"
        },
    }
    asked = state(
        retry_on="5xx", retry_host_predicate=[predicate], host_selection_retry_max_attempts=5
    )
    asked.attempted(host(1))

    assert asked.reselections == 5
    assert asked.avoid(host(1))
    assert not asked.avoid(host(2))


def test_canaries_and_labelled_hosts_are_avoided() -> None:
    url = "type.googleapis.com/envoy.extensions.retry.host"
    canary = {
        "name": "a",
        "typed_config": {"@type": f"{url}.omit_canary_hosts.v3.OmitCanaryHostsPredicate"},
    }
    labelled = {
        "name": "b",
        "typed_config": {
            "@type": f"{url}.omit_host_metadata.v3.OmitHostMetadataConfig",
            "metadata_match": {"filter_metadata": {"envoy.lb": {"tier": "slow"}}},
        },
    }
    asked = state(retry_on="5xx", retry_host_predicate=[canary, labelled])

    assert asked.avoid(host(1, canary=True))
    assert asked.avoid(host(1, tier="slow", other=1))
    assert not asked.avoid(host(1, canary=False, tier="fast"))


def test_without_predicates_no_host_is_avoided() -> None:
    asked = state(retry_on="5xx")
    asked.attempted(host(1))

    assert not asked.avoid(host(1))


def test_previous_priorities_are_left_until_all_have_failed() -> None:
    plugin = {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3"
            ".PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    }
    asked = state(retry_on="5xx", retry_priority=plugin)
    reload = asked.reload
    assert reload is not None
    availability, loads = ((100, 60, 40), (0, 0, 0)), ((100, 0, 0), (0, 0, 0))

    asked.attempted(host(1, priority=0))
    assert reload(availability, loads) == ((0, 60, 40), (0, 0, 0))
    asked.attempted(host(2, priority=1))
    assert reload(availability, loads) == ((0, 0, 100), (0, 0, 0))
    asked.attempted(host(3, priority=2))
    assert reload(availability, loads) == ((100, 0, 0), (0, 0, 0))
