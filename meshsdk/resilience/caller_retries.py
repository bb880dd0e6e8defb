"""What the application itself may say of retries, in place of the route's policy or on top of it."""

from dataclasses import dataclass
from typing import Final, Protocol

from meshsdk.call.message import Outcome, Request

IDEMPOTENCY_KEY: Final = "idempotency-key"
NEEDS_KEY: Final = frozenset({"POST", "PATCH"})  # RFC 9110, 9.2.2: neither idempotent nor safe


@dataclass(frozen=True, slots=True)
class Tried:
    """The attempts of one call so far."""

    request: Request
    number: int
    """Attempts, at least 1."""
    outcome: Outcome
    """Of the last one."""
    started: float
    """When the call began, and now: monotonic seconds."""
    now: float
    waited: float
    """Seconds between attempts so far."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether there is a next attempt, and after how many seconds."""

    is_wanted: bool
    is_enough: bool
    """There were as many attempts as may be."""
    pause: float


class RetryStrategy(Protocol):
    """Asked after an attempt failed; circuit breakers, retry budget and deadline have the last
    word. It keeps nothing of a call."""

    @property
    def judges_successes(self) -> bool:
        """Whether answers below 400 are shown to it too."""
        ...

    def judge(self, tried: Tried, route: Judged) -> Judged:
        """`route`: what the route's own policy says."""
        ...


def is_unrepeatable(request: Request) -> bool:
    """Whether a repetition could do a thing twice: POST or PATCH that carries no key."""
    return request.method in NEEDS_KEY and IDEMPOTENCY_KEY not in request.headers
