"""How long each wait of an attempt may take, and whose limit it was that ran out."""

from dataclasses import dataclass
from typing import Literal

Operation = Literal["connect", "read", "write", "pool"]


@dataclass(frozen=True, slots=True)
class CallerTimeouts:
    """The application's own limits, per operation, in seconds; None: unbounded. As in httpx."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None


UNBOUNDED = CallerTimeouts()
MIRROR_TIMEOUT = 60.0
"""Seconds after which a shadow request without a limit of its own is given up."""


class CallerTimedOut(TimeoutError):
    """A limit of the application ran out: its adapter raises the library's own exception."""

    def __init__(self, operation: Operation) -> None:
        super().__init__(f"{operation} timeout")
        self.operation: Operation = operation


def shortest(first: float | None, second: float | None) -> float | None:
    """The smaller of two limits; None is unbounded."""
    if first is None:
        return second
    if second is None or first <= second:
        return first
    return second
