"""Work that nobody waits for: daemon threads, few at a time."""

import threading
from collections.abc import Callable

_AT_ONCE = 32


class Background:
    """Runs jobs on threads that never keep the process alive. Those above `at_once` are dropped."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(at_once)

    def run(self, job: Callable[[], object]) -> bool:
        """Start a job; False when it was dropped. What it raises ends with its thread."""
        if not self._free.acquire(blocking=False):
            return False

        def work() -> None:
            try:
                job()
            finally:
                self._free.release()

        threading.Thread(target=work, name="meshsdk-background", daemon=True).start()
        return True
