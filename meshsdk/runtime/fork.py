"""What stands still while a process forks, and is made anew in the child: nothing is inherited.

gRPC survives no fork while a thread is inside it, and a lock that a thread of ours holds at that
moment, an import's for instance, stays held in the child for ever. So there is no such thread then.
"""

import os
import threading
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Something that holds threads or connections. The hooks never raise."""

    def before_fork(self) -> None:
        """End the threads, which takes milliseconds unless the machine is busy."""
        ...

    def after_fork_in_parent(self) -> None:
        """Go on; called after each `before_fork`, on the same thread."""
        ...

    def after_fork_in_child(self) -> None:
        """Forget everything of the parent without touching its sockets."""
        ...


_forkables: "weakref.WeakSet[Forkable]" = weakref.WeakSet()
_still: list[Forkable] = []
_forking = threading.Lock()
_is_installed = False


def register(thing: Forkable) -> None:
    """Call the hooks of `thing` at every fork from now on, while it lives."""
    global _is_installed
    _forkables.add(thing)
    if not _is_installed:
        _is_installed = True
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    _forking.acquire()
    _still.extend(_forkables)
    for thing in _still:
        thing.before_fork()


def _in_parent() -> None:
    things = _still.copy()
    _still.clear()
    try:
        for thing in things:
            thing.after_fork_in_parent()
    finally:
        _forking.release()


def _in_child() -> None:
    global _forking
    _forking = threading.Lock()
    things = _still.copy()
    _still.clear()
    for thing in things:
        thing.after_fork_in_child()
