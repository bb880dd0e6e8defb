"""Keeping the identity fresh: polls its source, publishes what changed, tells who waits."""

import logging
import threading
from typing import Protocol

from meshsdk.clock import Clock
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.x509_context import IdentityStatus, SourceState
from meshsdk.telemetry import Emit, IdentityChanged

_LOG = logging.getLogger("meshsdk.identity")
_CLOSE_TIMEOUT = 1.0
_AFTER_DEFECT = 0.2
"""Seconds at least until the source is asked again."""


class IdentitySource(Protocol):
    """Where SVIDs and bundles come from. `poll` may read files; it runs on the keeper's thread."""

    @property
    def blocks(self) -> bool:
        """Whether `poll` waits for a network: then the first one, too, runs on the thread."""
        ...

    @property
    def interval(self) -> float:
        """Seconds between polls."""
        ...

    def poll(self) -> IdentityStatus:
        """What is known now; never raises."""
        ...


class IdentityKeeper:
    """Owns the thread `meshsdk-identity` between `start` and `close`."""

    def __init__(
        self, source: IdentitySource | None, contexts: TlsContexts, clock: Clock, emit: Emit
    ) -> None:
        self._source = source
        self._contexts = contexts
        self._clock = clock
        self._emit = emit
        self._state: SourceState | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.arrived = threading.Event()
        """Set once there is an identity, or none is needed."""
        if source is None:
            self.arrived.set()

    def start(self) -> None:
        """Poll once at once, then on a daemon thread; only there where a poll waits."""
        if self._source is None or self._thread is not None:
            return
        if not self._source.blocks:
            self.refresh()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stop,), name="meshsdk-identity", daemon=True
        )
        self._thread.start()

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
        """Stop the thread, waiting `timeout` seconds for it; `start` begins again."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def refresh(self) -> None:
        """Ask the source now and publish what changed."""
        assert self._source is not None
        status = self._source.poll().at(self._clock.time())
        adoption = self._contexts.adopt(status)
        if status.context is not None:
            self.arrived.set()
        if adoption.changed or status.state is not self._state:
            self._state = status.state
            self._emit(_event(status))

    def _run(self, stop: threading.Event) -> None:
        assert self._source is not None
        pause = 0.0 if self._source.blocks else self._source.interval
        while not stop.wait(pause):
            try:
                self.refresh()
                pause = self._source.interval
            except Exception:
                # Whoever asks no more lets the certificate end.
                _LOG.exception("keeping the identity met a defect; its source is asked again")
                pause = max(self._source.interval, _AFTER_DEFECT)


def _event(status: IdentityStatus) -> IdentityChanged:
    svids = () if status.context is None else status.context.svids
    names = ", ".join(str(svid.spiffe_id) for svid in svids)
    return IdentityChanged(names, status.state.value, status.expires or 0.0, status.detail)
