"""Blocking waits, for callers that block: the one place of them."""

import threading

_NEVER = threading.Event()
_GIVE_WAY = 0.0002
"""Seconds: long enough for a thread that waits for the interpreter to get it."""


def sleep(seconds: float) -> None:
    """Block this thread."""
    if seconds > 0:
        _NEVER.wait(seconds)


def give_way() -> None:
    """Let other threads run."""
    _NEVER.wait(_GIVE_WAY)
