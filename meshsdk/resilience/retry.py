"""Whether, when and where a failed attempt is repeated.

Source: Envoy, RetryStateImpl and the router filter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.call.endpoint import Host
from meshsdk.call.message import Outcome, Request, Reset, ResetReason, Response
from meshsdk.clock import Clock, Random
from meshsdk.matching.headers import HeaderMatcher
from meshsdk.resilience.backoff import interval, jittered_above, reset_interval
from meshsdk.resilience.breakers import PriorityBreakers
from meshsdk.resilience.caller_retries import Judged, RetryStrategy, Tried
from meshsdk.resilience.priorities import PreviousPriorities
from meshsdk.resources.error_matcher import as_request
from meshsdk.resources.retry_policy import (
    GRPC_CONDITIONS,
    HTTP_CONDITIONS,
    RetryPolicy,
    parse_retry_on,
)

CONSUMED_HEADERS: Final = (
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-upstream-rq-per-try-timeout-ms",
)
"""Request fields that end here: they are not sent on."""

_GATEWAY_ERRORS: Final = frozenset({502, 503, 504})
_CONNECT_FAILURES: Final = frozenset(
    {ResetReason.CONNECT_FAILURE, ResetReason.CONNECT_TIMEOUT, ResetReason.TLS_FAILURE}
)
# Never repeated: the breaker said no, or nobody waits any more.
_FINAL: Final = frozenset({ResetReason.OVERFLOW, ResetReason.TIMEOUT})
_GRPC_STATUS: Final[Mapping[str, str]] = {
    "1": "cancelled",
    "4": "deadline-exceeded",
    "8": "resource-exhausted",
    "13": "internal",
    "14": "unavailable",
}
_RESET_CONDITIONS: Final = frozenset({"reset", "5xx", "gateway-error"})
_MAX_HEADER_RETRIES: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after `backoff` seconds."""

    backoff: float


@dataclass(frozen=True, slots=True)
class NoRetry:
    """The outcome stands; `flag` is the response flag that says why, if any."""

    flag: str = ""


NO: Final = NoRetry()
LIMIT_EXCEEDED: Final = NoRetry("URX")
OVERFLOW: Final = NoRetry("UO")
Decision: TypeAlias = Retry | NoRetry


def retry_state(
    policy: RetryPolicy | None,
    request: Request,
    breakers: PriorityBreakers,
    clock: Clock,
    random: Random,
    strategy: RetryStrategy | None = None,
    started: float = 0.0,
) -> "RetryState | None":
    """The retry state of one call; None: nothing asks for retries.

    The request's `x-envoy-*` fields count: whoever must not be heard has lost them before
    (routing/canonical.py). `started`: when the call began, which only a strategy wants to know.
    """
    headers = request.headers
    by_header = "x-envoy-retry-on" in headers or "x-envoy-retry-grpc-on" in headers
    if policy is None:
        if not by_header and strategy is None:
            return None
        policy = RetryPolicy()
    elif not policy.retry_on and not by_header and strategy is None:
        return None
    return RetryState(policy, request, breakers, clock, random, strategy, started)


class RetryState:
    """Decides on the attempts of one call, one after the other. `close` it when the call ends."""

    __slots__ = (
        "_attempted",
        "_breakers",
        "_clock",
        "_codes",
        "_conditions",
        "_headers",
        "_holds_retry",
        "_policy",
        "_priorities",
        "_random",
        "_remaining",
        "_request",
        "_request_started",
        "_retries",
        "_started",
        "_strategy",
        "_waited",
    )

    def __init__(
        self,
        policy: RetryPolicy,
        request: Request,
        breakers: PriorityBreakers,
        clock: Clock,
        random: Random,
        strategy: RetryStrategy | None = None,
        started: float = 0.0,
    ) -> None:
        self._policy = policy
        self._request = request
        self._strategy = strategy
        self._started = started
        self._waited = 0.0
        self._breakers = breakers
        self._clock = clock
        self._random = random
        self._conditions = _conditions(policy, request)
        self._codes = policy.retriable_status_codes + _codes_in(request)
        self._headers = _names_in(request)
        is_open = bool(self._conditions) or strategy is not None
        self._remaining = _retries_in(request, policy.num_retries) if is_open else 0
        self._retries = 0
        self._holds_retry = False
        self._request_started = False
        self._attempted: list[Host] = []
        self._priorities = (
            PreviousPriorities(policy.previous_priorities) if policy.previous_priorities else None
        )

    @property
    def retries(self) -> int:
        """Retries that were granted."""
        return self._retries

    def wants(self, outcome: Outcome) -> Decision:
        """Whether an attempt's outcome is worth another one, and whether there may be one."""
        self._release()
        backoff: float | None = None
        if isinstance(outcome, Response):
            is_wanted = self._wants_response(outcome)
            if is_wanted:
                backoff = reset_interval(self._policy, outcome.headers, self._clock.time())
        elif outcome.body_started or outcome.reason in _FINAL:
            return NO
        else:
            is_wanted = self._wants_reset(outcome)
        if self._strategy is not None:
            return self._asked(self._strategy, outcome, is_wanted, backoff)
        return self._grant(backoff) if is_wanted else NO

    def _asked(
        self, strategy: RetryStrategy, outcome: Outcome, is_wanted: bool, backoff: float | None
    ) -> Decision:
        """What the application's own strategy makes of it."""
        pause = self._pause(backoff, self._retries + 1)
        route = Judged(is_wanted, not self._remaining, pause)
        now = self._clock.monotonic()
        number = len(self._attempted) or 1
        tried = Tried(self._request, number, outcome, self._started, now, self._waited)
        judged = strategy.judge(tried, route)
        if not judged.is_wanted:
            return NO
        if judged.is_enough:
            return LIMIT_EXCEEDED
        self._remaining = max(self._remaining, 1)
        granted = self._grant(backoff)
        if not isinstance(granted, Retry):
            return granted
        self._waited += judged.pause
        return Retry(judged.pause)

    def hedge(self) -> Decision:
        """Whether an attempt that takes long gets company: always, while there are retries left.

        Source: Envoy, shouldHedgeRetryPerTryTimeout.
        """
        self._release()
        return self._grant(None)

    def would(self, response: Response) -> bool:
        """Whether a response is one of those that are retried."""
        return self._wants_response(response)

    def close(self) -> None:
        """Give back what the call holds of the retry budget; again does nothing."""
        self._release()

    def _release(self) -> None:
        if self._holds_retry:
            self._holds_retry = False
            self._breakers.end_retry()

    def _grant(self, backoff: float | None) -> Decision:
        if not self._remaining:
            return LIMIT_EXCEEDED
        self._remaining -= 1
        if not self._breakers.try_retry():
            return OVERFLOW
        self._holds_retry = True
        self._retries += 1
        return Retry(self._pause(backoff, self._retries))

    def _pause(self, backoff: float | None, retry: int) -> float:
        """Seconds before a retry; `backoff` is what the response asks for."""
        if backoff is not None:
            return jittered_above(backoff, self._random)
        return interval(self._policy, retry, self._random)

    # -- what is retriable --------------------------------------------------------------------

    def _wants_response(self, response: Response) -> bool:
        wanted = self._conditions
        if not wanted:
            return False
        if "x-envoy-ratelimited" in response.headers:
            return "envoy-ratelimited" in wanted
        status = response.status
        if "5xx" in wanted and 500 <= status < 600:
            return True
        if "gateway-error" in wanted and status in _GATEWAY_ERRORS:
            return True
        if "retriable-4xx" in wanted and status == 409:
            return True
        if "retriable-status-codes" in wanted and status in self._codes:
            return True
        if "retriable-headers" in wanted and self._has_retriable_header(response):
            return True
        grpc_status = response.headers.get("grpc-status")
        return grpc_status is not None and _GRPC_STATUS.get(grpc_status) in wanted

    def _has_retriable_header(self, response: Response) -> bool:
        if any(name in response.headers for name in self._headers):
            return True
        matchers = self._policy.retriable_headers
        return bool(matchers) and _any_matches(matchers, as_request(response))

    def _wants_reset(self, reset: Reset) -> bool:
        wanted = self._conditions
        self._request_started = self._request_started or reset.request_sent
        if reset.reason in _CONNECT_FAILURES and "connect-failure" in wanted:
            return True
        if "reset-before-request" in wanted and not self._request_started:
            return True
        if not _RESET_CONDITIONS.isdisjoint(wanted):
            return True
        return "refused-stream" in wanted and reset.reason is ResetReason.REFUSED_STREAM

    # -- where to ----------------------------------------------------------------------------

    def attempted(self, host: Host) -> None:
        """Remember a host that was tried."""
        self._attempted.append(host)
        if self._priorities is not None:
            self._priorities.attempted(host)

    @property
    def reselections(self) -> int:
        """How often a retry throws back a host that it should avoid (PickContext.reselections)."""
        return self._policy.host_selection_retry_max_attempts

    def avoid(self, host: Host) -> bool:
        """Whether the host predicates want another host than this (PickContext.avoid)."""
        policy = self._policy
        endpoint = host.endpoint
        if policy.omit_previous_hosts and any(
            h.endpoint.address == endpoint.address for h in self._attempted
        ):
            return True
        labels = endpoint.metadata.get("envoy.lb", {})
        if policy.omit_canary_hosts and labels.get("canary") is True:
            return True
        omitted = policy.omit_host_metadata
        return bool(omitted) and _has_all(labels, omitted)

    @property
    def reload(self) -> "PreviousPriorities | None":
        """The retry priority plugin (PickContext.reload), None when there is none."""
        return self._priorities


def _conditions(policy: RetryPolicy, request: Request) -> frozenset[str]:
    found = policy.retry_on
    headers = request.headers
    http = headers.get("x-envoy-retry-on")
    if http is not None:
        found |= parse_retry_on(http, HTTP_CONDITIONS)
    grpc = headers.get("x-envoy-retry-grpc-on")
    if grpc is not None:
        found |= parse_retry_on(grpc, GRPC_CONDITIONS)
    limits = policy.retriable_request_headers
    if limits and not _any_matches(limits, request):
        return frozenset()
    return found


def _any_matches(matchers: Sequence[HeaderMatcher], request: Request) -> bool:
    return any(matcher.matches(request) for matcher in matchers)


def _retries_in(request: Request, default: int) -> int:
    text = request.headers.get("x-envoy-max-retries")
    number = None if text is None else _number(text)
    return default if number is None else min(number, _MAX_HEADER_RETRIES)


def _codes_in(request: Request) -> tuple[int, ...]:
    text = request.headers.get("x-envoy-retriable-status-codes")
    if text is None:
        return ()
    numbers = (_number(part) for part in text.split(","))
    return tuple(number for number in numbers if number is not None)


def _names_in(request: Request) -> tuple[str, ...]:
    text = request.headers.get("x-envoy-retriable-header-names")
    if text is None:
        return ()
    return tuple(name for part in text.split(",") if (name := part.strip(" \t").lower()))


def _number(text: str) -> int | None:
    """A number as absl::SimpleAtoi reads it: outer spaces and a plus sign are fine."""
    text = text.strip(" \t").removeprefix("+")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 20 else None


def _has_all(labels: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    """Envoy, metadataLabelMatch with lists as alternatives."""
    for name, value in wanted.items():
        found = labels.get(name)
        if found != value and not (isinstance(found, list | tuple) and value in found):
            return False
    return True
