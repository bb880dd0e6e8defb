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


def receive_first() -> Message:
    """The parent's first message, which says what to be; blocks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent has it too, and ends us
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
    print(json.dumps(message), flush=True)
