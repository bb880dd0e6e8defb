"""What a mesh channel says of its state: whether the mesh can take its calls."""

import threading
from collections.abc import Callable
from typing import Final

import grpc

from meshsdk.flow import select
from meshsdk.integrations.grpcio.outbound import Settings
from meshsdk.runtime.timers import Timers

_SOON: Final = 0.0
_States = grpc.ChannelConnectivity


def state_of(settings: Settings, is_started: bool) -> grpc.ChannelConnectivity:
    """IDLE before the first call; CONNECTING until configuration is here; then READY where a listener
    takes the target. Single endpoints are the load balancer's affair."""
    plan = settings.mesh.publisher.plan
    if plan is None:
        return _States.CONNECTING if is_started else _States.IDLE
    taken = select.outbound(plan, settings.target)
    return _States.TRANSIENT_FAILURE if taken is None else _States.READY


class Connectivity:
    """Tells subscribers; each change from a thread of ours, one after the other."""

    def __init__(self, settings: Settings, timers: Timers) -> None:
        self._settings = settings
        self._timers = timers
        self._lock = threading.Lock()
        self._told: dict[Callable[[grpc.ChannelConnectivity], None], object] = {}
        self._forget: Callable[[], None] | None = None
        self._is_started = False
        self._is_closed = False

    def subscribe(
        self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool | None
    ) -> None:
        """As grpc.Channel."""
        if try_to_connect:
            self._settings.mesh.start()
            self._is_started = True
        with self._lock:
            self._told[callback] = None
        self._timers.after(_SOON, self._tell)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """As grpc.Channel."""
        with self._lock:
            self._told.pop(callback, None)

    def close(self) -> None:
        """SHUTDOWN, for good."""
        self._is_closed = True
        with self._lock:
            forget, self._forget = self._forget, None
        if forget is not None:
            forget()
        if self._told:
            self._timers.after(_SOON, self._tell)

    def _tell(self) -> None:
        publisher = self._settings.mesh.publisher
        seen = publisher.plan
        state = state_of(self._settings, self._is_started)
        if self._is_closed:
            state = _States.SHUTDOWN
        with self._lock:
            due = [callback for callback, told in self._told.items() if told is not state]
            for callback in due:
                self._told[callback] = state
        for callback in due:
            callback(state)
        if not self._is_closed and self._told:
            forget = publisher.on_change(seen, lambda: self._again())
            with self._lock:
                before, self._forget = self._forget, forget
            if before is not None:
                before()

    def _again(self) -> None:
        self._timers.after(_SOON, self._tell)
