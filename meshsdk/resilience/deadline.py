"""How long a call may take: the route's, the request's and gRPC's words in one place.

Seconds; None: unbounded. Source: Envoy, FilterUtility::finalTimeout and the connection manager's
refreshDurationTimeout.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.resources.retry_policy import HedgePolicy, RetryPolicy

EXPECTED_TIMEOUT: Final = "x-envoy-expected-rq-timeout-ms"
_HEDGE: Final = "x-envoy-hedge-on-per-try-timeout"
CONSUMED_HEADERS: Final = (
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
)
"""Request fields that end here: they are not sent on."""
_GRPC_TIMEOUT: Final = re.compile(r"[ \t]*([0-9]{1,19})([HMSmun])")
_GRPC_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3}
_GRPC_MAX: Final = 99_999_999
_CONTENT_TYPE: Final = "application/grpc"


class StreamDuration(Protocol):
    """RouteAction.MaxStreamDuration."""

    @property
    def max_stream_duration(self) -> float | None: ...
    @property
    def grpc_timeout_header_max(self) -> float | None: ...
    @property
    def grpc_timeout_header_offset(self) -> float: ...


class RouteTimeouts(Protocol):
    """What a route action says about time; zeros mean unbounded."""

    @property
    def timeout(self) -> float: ...
    @property
    def max_grpc_timeout(self) -> float | None: ...
    @property
    def grpc_timeout_offset(self) -> float: ...
    @property
    def max_stream_duration(self) -> StreamDuration | None: ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The times of one call."""

    total: float | None
    """For all tries together, from the end of the request."""
    per_try: float | None
    per_try_idle: float | None
    rewrites_grpc_timeout: bool = False
    hedges: bool = False
    """A try that ran out of its time goes on, so it may use what is left of `total`."""
    patience: float | None = None
    """Hedging: seconds after which a try that has not answered gets company; None: never."""

    def expected(self, elapsed: float) -> int | None:
        """Milliseconds that the next try may take; None: unbounded, nothing is said."""
        total = None if self.total is None else _ms(self.total)
        expected = None if self.per_try is None else _ms(self.per_try)
        if expected is None or self.hedges:
            expected = total
        if expected is None or total is None:
            return expected
        # Out of time: 0 would mean for ever.
        return max(1, min(expected, total - _ms(elapsed)))

    def tell(self, headers: Headers, elapsed: float) -> Headers:
        """The fields of the next try, which tell the other side how long it has."""
        expected = self.expected(elapsed)
        if expected is None:
            return headers
        headers = headers.set(EXPECTED_TIMEOUT, str(expected))
        if self.rewrites_grpc_timeout:
            headers = headers.set("grpc-timeout", format_grpc_timeout(expected / 1000))
        return headers


def resolve(
    route: RouteTimeouts,
    policy: RetryPolicy | None,
    request: Request,
    *,
    hedging: bool = False,
    respect_expected: bool = False,
) -> Timeouts:
    """The times of a call on a route.

    The request's `x-envoy-*` fields count: whoever must not be heard has lost them before.
    `respect_expected`: the router filter's `respect_expected_rq_timeout`.
    """
    is_grpc = is_grpc_request(request)
    legacy_grpc = (
        is_grpc and route.max_stream_duration is None and route.max_grpc_timeout is not None
    )
    total = _total(route, request, legacy_grpc=legacy_grpc)
    header = "x-envoy-upstream-rq-timeout-ms"
    if respect_expected and EXPECTED_TIMEOUT in request.headers:
        header = EXPECTED_TIMEOUT
    asked = _milliseconds(request, header)
    if asked is not None:
        total = asked
    per_try = 0.0 if policy is None else policy.per_try_timeout
    asked = _milliseconds(request, "x-envoy-upstream-rq-per-try-timeout-ms")
    if asked is not None:
        per_try = asked
    if total and per_try >= total:
        per_try = 0.0
    idle = 0.0 if policy is None else policy.per_try_idle_timeout
    # Before a response there is nothing but silence: both limits of a try mean the same then.
    patience = (min(per_try, idle) if per_try and idle else per_try or idle) if hedging else 0.0
    return Timeouts(
        total or None, per_try or None, idle or None, legacy_grpc, hedging, patience or None
    )


def hedges(policy: HedgePolicy | None, request: Request) -> bool:
    """Whether a try that ran out of its own time goes on beside the next one."""
    asked = request.headers.get(_HEDGE)
    if asked in ("true", "false"):
        return asked == "true"
    return policy is not None and policy.hedge_on_per_try_timeout


def _total(route: RouteTimeouts, request: Request, *, legacy_grpc: bool) -> float:
    if route.max_stream_duration is not None:
        return 0.0  # `stream_duration` bounds the call instead
    if not legacy_grpc:
        return route.timeout
    asked = grpc_timeout(request) or 0.0
    if route.grpc_timeout_offset and route.grpc_timeout_offset < asked:
        asked -= route.grpc_timeout_offset
    cap = route.max_grpc_timeout or 0.0
    return cap if cap and (not asked or asked > cap) else asked


@dataclass(frozen=True, slots=True)
class Duration:
    """How long a whole exchange may take, from the start of the request."""

    limit: float | None
    """0: the time is up already."""
    grpc_timeout: str | None = None
    """What the request's grpc-timeout becomes; empty: it goes; None: it stays."""


UNBOUNDED: Final = Duration(None)


def stream_duration(
    duration: StreamDuration | None, request: Request, connection_manager: float | None = None
) -> Duration:
    """The bound of a whole exchange (details `max_duration_timeout`).

    `connection_manager`: the connection manager's own max_stream_duration.
    """
    is_told = duration is not None and is_grpc_request(request)
    asked = grpc_timeout(request)
    if asked is None or duration is None or duration.grpc_timeout_header_max is None:
        limit = connection_manager
        if duration is not None and duration.max_stream_duration is not None:
            limit = duration.max_stream_duration
        if not limit:
            # Envoy has set a timer by the connection manager's limit, and takes both back.
            return Duration(None, "" if is_told and connection_manager else None)
        return Duration(limit, format_grpc_timeout(limit) if is_told else None)
    cap = duration.grpc_timeout_header_max
    limit = cap if cap and asked > cap else asked
    if limit and duration.grpc_timeout_header_offset:
        limit = max(0.0, limit - duration.grpc_timeout_header_offset)
    return Duration(limit, format_grpc_timeout(limit) if is_told else None)


# -- gRPC ----------------------------------------------------------------------------------


def is_grpc_request(request: Request) -> bool:
    """Whether the content type is application/grpc, with or without a suffix."""
    found = request.headers.get("content-type")
    if found is None or not found.startswith(_CONTENT_TYPE):
        return False
    return found[len(_CONTENT_TYPE) : len(_CONTENT_TYPE) + 1] in ("", "+")


def grpc_timeout(request: Request) -> float | None:
    """Seconds of grpc-timeout in whole milliseconds, rounded up; None: absent or no timeout."""
    text = request.headers.get("grpc-timeout")
    found = None if text is None else _GRPC_TIMEOUT.match(text)
    if found is None:
        return None
    number, unit = int(found[1]), found[2]
    if unit in _GRPC_UNITS:
        return number * _GRPC_UNITS[unit]
    per_millisecond = 1000 if unit == "u" else 1_000_000
    return -(-number // per_millisecond) / 1000


def expected_timeout(request: Request) -> float | None:
    """Seconds of x-envoy-expected-rq-timeout-ms; None: absent or no number."""
    return _milliseconds(request, EXPECTED_TIMEOUT)


def format_grpc_timeout(seconds: float) -> str:
    """A grpc-timeout of at most eight digits."""
    number, unit = _ms(seconds), "m"
    for divisor, larger in ((1000, "S"), (60, "M"), (60, "H")):
        if number <= _GRPC_MAX:
            break
        number, unit = number // divisor, larger
    return f"{min(number, _GRPC_MAX)}{unit}"


def _ms(seconds: float) -> int:
    # 0.15 s must be 150 ms, whatever binary fractions make of it.
    return int(seconds * 1000 + 1e-6)


def _milliseconds(request: Request, name: str) -> float | None:
    text = request.headers.get(name)
    if text is None:
        return None
    text = text.strip(" \t").removeprefix("+")
    return int(text) / 1000 if text.isascii() and text.isdecimal() and len(text) < 20 else None
