"""The one place where a plan is published, and where calls wait for one."""

import threading
from collections.abc import Callable

from meshsdk.flow.plan import Plan


class Publisher:
    """Holds the plan in force. Readers take `plan` once per call, without a lock."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    def publish(self, plan: Plan) -> None:
        """Put a plan in force and wake everybody who waits."""
        self.plan = plan
        with self._changed:
            self._changed.notify_all()
            listeners, self._listeners = self._listeners, []
        for wake in listeners:
            wake()

    def wait(self, seen: Plan | None, timeout: float) -> bool:
        """Block until a plan other than `seen` is in force; False when `timeout` seconds passed."""
        with self._changed:
            return self._changed.wait_for(lambda: self.plan is not seen, timeout)

    def on_change(self, seen: Plan | None, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` once, from the control thread, at the next plan other than `seen` (at once
        when there is one). Gives what cancels it."""
        with self._changed:
            if self.plan is seen:
                self._listeners.append(wake)
                return lambda: self._forget(wake)
        wake()
        return lambda: None

    def _forget(self, wake: Callable[[], None]) -> None:
        with self._changed:
            if wake in self._listeners:
                self._listeners.remove(wake)
