"""What must be made anew in a forked child: threads, streams, pools. Nothing is inherited."""

import os
import weakref
from collections.abc import Callable
from typing import Protocol


class Forkable(Protocol):
    """Something that holds threads or connections."""

    def after_fork_in_child(self) -> None:
        """Forget everything of the parent without touching its sockets."""
        ...


_forkables: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_installed = False


def register(thing: Forkable) -> None:
    """Call `thing.after_fork_in_child()` in every child forked from now on, while it lives."""
    global _installed
    _forkables.add(thing)
    if not _installed:
        _installed = True
        hook: Callable[[], None] = _in_child
        os.register_at_fork(after_in_child=hook)


def _in_child() -> None:
    for thing in list(_forkables):
        thing.after_fork_in_child()
