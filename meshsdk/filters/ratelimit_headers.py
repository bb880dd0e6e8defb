"""What a rate limit service says of limits, as fields of an answer.

Source: Envoy, XRateLimitHeaderUtils (draft-ietf-httpapi-ratelimit-headers-03); observed with 1.40.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from meshsdk.call.headers import Pair
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets

_WINDOWS: Final = {
    "SECOND": 1,
    "MINUTE": 60,
    "HOUR": 3600,
    "DAY": 86400,
    "WEEK": 604800,
    "MONTH": 2592000,
    "YEAR": 31536000,
}
_OVER: Final = "OVER_LIMIT"


@dataclass(frozen=True, slots=True)
class Status:
    """Of one descriptor."""

    is_over: bool
    reset: int = 0
    """Whole seconds until the limit starts anew."""
    requests: int | None = None
    """Per unit; None: there is no limit."""
    window: int = 0
    """Seconds; 0: the unit is not known."""
    remaining: int = 0
    name: str = ""


def parse_status(reader: Reader) -> Status:
    """A DescriptorStatus."""
    is_over = reader.string("code") == _OVER
    reset = int(reader.duration("duration_until_reset"))
    limit = reader.message("current_limit")
    if limit is None:
        return Status(is_over, reset)
    return Status(
        is_over,
        reset,
        limit.integer("requests_per_unit"),
        _WINDOWS.get(str(limit.value.get("unit")), 0),
        reader.integer("limit_remaining"),
        octets(limit.string("name")),
    )


def x_ratelimit(
    statuses: Sequence[Status], options: Sequence[bool | None], *, default: bool
) -> tuple[Pair, ...]:
    """The fields of the limit that is nearest, and the windows of all of them.

    `options`: whether a descriptor's limit is told; None: as the filter says (`default`).
    """
    told = [
        (status, default if i >= len(options) or options[i] is None else options[i])
        for i, status in enumerate(statuses)
        if status.requests is not None
    ]
    if not told:
        return ()
    nearest, is_told = min(told, key=lambda one: one[0].remaining)
    if not is_told:
        return ()
    windows = "".join(_window(status) for status, shown in told if shown and status.window)
    return (
        ("x-ratelimit-limit", f"{nearest.requests}{windows}"),
        ("x-ratelimit-remaining", str(nearest.remaining)),
        ("x-ratelimit-reset", str(nearest.reset)),
    )


def _window(status: Status) -> str:
    name = f';name="{status.name}"' if status.name else ""
    return f", {status.requests};w={status.window}{name}"


def retry_after(statuses: Iterable[Status]) -> Pair:
    """Seconds until every limit that is exceeded starts anew, at least one."""
    longest = max((status.reset for status in statuses if status.is_over), default=0)
    return "retry-after", str(max(1, longest))
