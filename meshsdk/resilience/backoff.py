"""How long to wait before a retry."""

from collections.abc import Sequence

from meshsdk.call.headers import Headers
from meshsdk.clock import Random
from meshsdk.resources.retry_policy import ResetHeader, RetryPolicy


def interval(policy: RetryPolicy, retry: int, random: Random) -> float:
    """Seconds to wait before the given retry; 1 is the first.

    Uniform in [0, base_interval * 2**(retry - 1)), that bound at most max_interval.
    Source: Envoy, JitteredExponentialBackOffStrategy (its documentation says 2**retry - 1).
    """
    bound = policy.base_interval
    # A loop, since 2.0 ** retry overflows for retry counts that a header may name.
    for _ in range(retry - 1):
        if bound >= policy.max_interval:
            break
        bound *= 2
    return random.random() * min(bound, policy.max_interval)


def reset_interval(policy: RetryPolicy, headers: Headers, wall_time: float) -> float | None:
    """Seconds that the response itself asks for; None: it does not say, or asks for too much.

    The first field that says something within `reset_max_interval` counts.
    """
    for reset in policy.reset_headers:
        seconds = _seconds(reset, headers.values(reset.name), wall_time)
        if seconds is not None and seconds <= policy.reset_max_interval:
            return seconds if seconds > 0.001 else None
    return None


def jittered_above(seconds: float, random: Random) -> float:
    """Uniform in [seconds, 1.5 * seconds). Source: Envoy, JitteredLowerBoundBackOffStrategy."""
    return seconds + random.random() * seconds / 2


def _seconds(reset: ResetHeader, values: Sequence[str], wall_time: float) -> float | None:
    if len(values) != 1 or not (values[0].isascii() and values[0].isdecimal()):
        return None
    number = float(values[0])
    if reset.format == "SECONDS":
        return number
    return number - wall_time if number >= wall_time else None
