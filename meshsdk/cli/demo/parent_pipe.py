"""A child's link to the demo: one JSON object a line, in on stdin, out on stdout.

The end of stdin is the end of the parent, however it died: then the child ends at once.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TypeAlias

Message: TypeAlias = Mapping[str, object]
_parent: list[int] = []
"""The file that is the pipe, once it has been taken from standard output."""


def receive_first() -> Message:
    """The parent's first message, which says what to be; blocks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends us
    _parent.append(os.dup(sys.stdout.fileno()))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # the access log's, as mesh-config.yaml says
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    message: Message = json.loads(line)
    return message


def receive_rest(take: Callable[[Message], None]) -> None:
    """Hand each later message to a function, on a thread of its own."""

    def read() -> None:
        for line in sys.stdin:
            take(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, name="parent-pipe", daemon=True).start()


def send(message: Message) -> None:
    """Tell the parent."""
    os.write(_parent[0], json.dumps(message).encode() + b"\n")
