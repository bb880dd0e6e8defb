"""An xDS client without its I/O: the ADS machine and the assembler behind one door."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.clock import Random
from meshsdk.config.bootstrap import Mode
from meshsdk.config.extension import Extensions
from meshsdk.resources import (
    CLUSTER,
    EXTENSION_CONFIG,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
    SECRET,
)
from meshsdk.resources.snapshot import Snapshot
from meshsdk.telemetry import Event
from meshsdk.xds.ads import AdsMachine
from meshsdk.xds.assemble import Assembler, Assembly
from meshsdk.xds.backoff import Backoff
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, Variant
from meshsdk.xds.store import TypeStore

ORDER: Final = (
    CLUSTER,
    LISTENER,
    NAME_TABLE,
    LOAD_ASSIGNMENT,
    ROUTE_CONFIGURATION,
    SECRET,
    EXTENSION_CONFIG,
)
"""Types as a new stream asks for them: what others depend on first."""


@dataclass(frozen=True, slots=True)
class Update:
    """What to do now."""

    requests: tuple[DiscoveryRequest, ...] = ()
    """To be sent in this order; none while there is no stream."""
    snapshot: Snapshot | None = None
    """To be compiled and published; None: the last one stays."""
    deadline: float | None = None
    """Monotonic seconds at which to call `tick`, unless something happens before; None: never."""
    events: tuple[Event, ...] = ()


Receiving: TypeAlias = Generator[None, None, Update]


class XdsClient:
    """One control plane's configuration. For one thread; nothing here waits or speaks.

    The driver opens a stream, sends what `connected` gives, passes each response to `receive` and
    sends and publishes what comes of it; after a stream's end it waits `disconnected()` seconds.
    """

    def __init__(
        self, extensions: Extensions, mode: Mode, random: Random, variant: Variant = "delta"
    ) -> None:
        self._machine = AdsMachine(ORDER, extensions, variant)
        self._assembler = Assembler(self._machine.stores, mode)
        self._backoff = Backoff(random)

    @property
    def variant(self) -> Variant:
        """What to open the next stream with; changes when a server has no delta."""
        return self._machine.variant

    @property
    def stores(self) -> Mapping[str, TypeStore]:
        """What was accepted and refused, by type URL: to look at (CSDS, dumps), not to change."""
        return self._machine.stores

    def connected(self, now: float) -> Update:
        """A new stream is open. Nothing is lost by it: equal bytes are no change."""
        update = self._assemble(now)
        return Update(
            (*self._machine.connect(), *update.requests), update.snapshot, update.deadline
        )

    def disconnected(self, code: str) -> float:
        """The stream ended with this gRPC status; seconds to wait before the next one."""
        self._machine.disconnect(code)
        return self._backoff.next_delay()

    def receive(self, response: DiscoveryResponse, now: float) -> Receiving:
        """Take a response. Yields between pieces; its value says what to do."""
        answer = yield from self._machine.receive(response)
        self._backoff.reset()
        update = self._assemble(now)
        first = () if answer.request is None else (answer.request,)
        return Update((*first, *update.requests), update.snapshot, update.deadline, answer.events)

    def tick(self, now: float) -> Update:
        """A deadline passed."""
        return self._assemble(now)

    def want(self, listeners: Iterable[str], now: float) -> Update:
        """Proxyless: calls need these listeners."""
        for name in listeners:
            self._assembler.want_listener(name, now)
        return self._assemble(now)

    def drop(self, listeners: Iterable[str], now: float) -> Update:
        """Proxyless: no call needs these listeners any more."""
        for name in listeners:
            self._assembler.drop_listener(name)
        return self._assemble(now)

    def _assemble(self, now: float) -> Update:
        requests: list[DiscoveryRequest] = []
        snapshot: Snapshot | None = None
        while True:
            assembly: Assembly = self._assembler.assemble(self._machine.take_changes(), now)
            snapshot = assembly.snapshot or snapshot
            requests.extend(self._machine.subscribe(assembly.subscriptions))
            if not self._machine.has_changes:
                return Update(tuple(requests), snapshot, assembly.deadline)
