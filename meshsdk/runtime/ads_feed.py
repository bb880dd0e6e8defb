"""Configuration from a control plane: one thread that decides, one that reads the stream."""

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from meshsdk import __version__
from meshsdk.clock import Clock
from meshsdk.config.bootstrap import Bootstrap, Server
from meshsdk.config.extension import Extensions
from meshsdk.errors import MeshError
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.flow.plan import compile_plan
from meshsdk.runtime.credentials import call_metadata, channel_tls
from meshsdk.runtime.publisher import Publisher
from meshsdk.runtime.sleeping import give_way
from meshsdk.telemetry import ConfigAcknowledged, PlanPublished, StreamChanged
from meshsdk.wire.ads_stream import AdsStream, AdsTransport
from meshsdk.wire.channel import open_channel
from meshsdk.xds.client import Receiving, Update, XdsClient
from meshsdk.xds.messages import DiscoveryResponse, StreamEnded, StreamEvent, Variant

_LOG = logging.getLogger("meshsdk.xds")
_CLOSE_TIMEOUT = 1.0
_PAUSE_TIMEOUT = 15.0
"""Seconds: a fork with a thread inside gRPC costs more than a late one."""
_SHUTDOWN = 0.1
"""Seconds."""
_GRPC_THREADS = ("(channel_spin)", "(consume_request_iterator)")


@dataclass(frozen=True, slots=True)
class _Want:
    listener: str


@dataclass(frozen=True, slots=True)
class _Stop:
    settles: bool


@dataclass(frozen=True, slots=True)
class _FromStream:
    number: int
    event: StreamEvent


_Item: TypeAlias = _Want | _Stop | _FromStream


class _Connection:
    """One stream on a channel of its own, so that credentials are read anew for each."""

    def __init__(
        self,
        number: int,
        server: Server,
        variant: Variant,
        node: dict[str, object],
        inbox: "queue.SimpleQueue[_Item]",
    ) -> None:
        """MeshError or OSError when credentials cannot be read."""
        self.number = number
        self._others = weakref.WeakSet(threading.enumerate())
        credentials = server.credentials
        self._channel: grpc.Channel = open_channel(server.target, channel_tls(credentials))
        transport = AdsTransport(self._channel, variant, node, lambda: call_metadata(credentials))
        try:
            self.stream: AdsStream = transport.open()
        except BaseException:
            self._channel.close()
            raise
        self._inbox = inbox
        self._reader = threading.Thread(target=self._read, name="meshsdk-stream", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for event in self.stream:
            self._inbox.put(_FromStream(self.number, event))

    def close(self) -> None:
        """End the stream, its channel and the reader thread."""
        self.stream.close()
        self._channel.close()
        self._reader.join(_CLOSE_TIMEOUT)

    def settle(self, clock: Clock) -> None:
        """After `close`: wait for the threads that gRPC itself began for it, which may be inside it
        still. One of them at a fork leaves the child a lock that nobody opens."""
        ends = clock.monotonic() + _CLOSE_TIMEOUT  # some may be the application's, and stay
        for thread in threading.enumerate():
            if thread not in self._others and thread.name.endswith(_GRPC_THREADS):
                thread.join(max(0.0, ends - clock.monotonic()))
        # Its core shuts down on a thread that nobody can join, holding the lock of its beginning.
        threading.Event().wait(_SHUTDOWN)


class AdsFeed:
    """Follows a control plane. Its threads begin with `start` and end with `close` or `pause`."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        variant: Variant,
        extensions: Extensions,
        publisher: Publisher,
        live: LiveState,
        on_snapshot: Callable[[], None],
    ) -> None:
        """`on_snapshot` is called before each plan is published, on the control thread."""
        self.on_demand = bootstrap.mode == "proxyless"
        self._bootstrap = bootstrap
        self._extensions = extensions
        self._publisher = publisher
        self._live = live
        self._on_snapshot = on_snapshot
        self._client = XdsClient(extensions, bootstrap.mode, live.random, variant)
        self._node = bootstrap.node.to_json(__version__)
        self._inbox: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._connection: _Connection | None = None
        self._last: _Connection | None = None
        """The one that was closed last."""
        self._streams = 0
        self._answered = False
        self._server = 0
        self._reconnect_at: float | None = None
        self._deadline: float | None = None

    def start(self) -> None:
        """Connect, on a thread of its own."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(self._ending,), name="meshsdk-control", daemon=True
            )
            self._thread.start()

    def close(self) -> None:
        """End the stream and the threads."""
        self._end(_CLOSE_TIMEOUT, settles=False)

    def _end(self, timeout: float, *, settles: bool) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ending = thread
            self._inbox.put(_Stop(settles))
            if thread is not threading.current_thread():
                thread.join(timeout)

    def pause(self) -> None:
        """As `Feed.pause`: what was accepted is kept, the stream is not."""
        self._end(_PAUSE_TIMEOUT, settles=True)

    def resume(self) -> None:
        """As `Feed.resume`, with a new stream."""
        self.start()

    def want(self, listener: str) -> None:
        """A call waits for this listener."""
        self._inbox.put(_Want(listener))

    # -- the control thread -----------------------------------------------------------------

    def _run(self, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        self._connect()
        while True:
            try:
                item = self._inbox.get(timeout=self._pause())
            except queue.Empty:
                item = None
            if isinstance(item, _Stop):
                break
            try:
                self._on(item)
            except Exception:
                # Whoever does not follow the feed any more serves old policy for ever.
                _LOG.exception("following the control plane met a defect; a new stream is opened")
                self._ended("INTERNAL", "a defect of meshsdk, see the log")
        self._disconnect()
        if item.settles and self._last is not None:
            self._last.settle(self._live.clock)
        self._client.disconnected("CANCELLED")

    def _on(self, item: "_Want | _FromStream | None") -> None:
        match item:
            case None:
                self._on_time()
            case _Want(listener):
                self._apply(self._client.want((listener,), self._now()))
            case _FromStream(number, event):
                if self._connection is not None and number == self._connection.number:
                    self._on_event(event)

    def _now(self) -> float:
        return self._live.clock.monotonic()

    def _pause(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        due = [at for at in (self._reconnect_at, self._deadline) if at is not None]
        return max(0.0, min(due) - self._now()) if due else None

    def _on_time(self) -> None:
        now = self._now()
        if self._reconnect_at is not None and now >= self._reconnect_at:
            self._connect()
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._apply(self._client.tick(now))

    def _on_event(self, event: StreamEvent) -> None:
        match event:
            case DiscoveryResponse():
                if not self._answered:
                    self._answered = True
                    self._live.emit(StreamChanged(True, self._target().target))
                update = _run_politely(self._client.receive(event, self._now()))
                self._apply(update)
                if any(r.nonce == event.nonce and r.error is None for r in update.requests):
                    names = tuple(r.name for r in event.resources if r.name is not None)
                    self._live.emit(ConfigAcknowledged(event.type_url, (*names, *event.removed)))
            case StreamEnded(code, details):
                self._ended(code, details)

    # -- the stream -------------------------------------------------------------------------

    def _target(self) -> Server:
        servers = self._bootstrap.servers
        return servers[self._server % len(servers)]

    def _connect(self) -> None:
        self._reconnect_at = None
        self._streams += 1
        self._answered = False
        try:
            self._connection = _Connection(
                self._streams, self._target(), self._client.variant, self._node, self._inbox
            )
        except (OSError, MeshError) as error:
            self._ended("UNAVAILABLE", str(error))
            return
        self._apply(self._client.connected(self._now()))

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._last = connection
            connection.close()

    def _ended(self, code: str, details: str) -> None:
        """The plan in force stays; the next server is asked where this one never answered."""
        self._disconnect()
        server = self._target().target
        if not self._answered:
            self._server += 1
        delay = self._client.disconnected(code)
        self._reconnect_at = self._now() + delay
        self._live.emit(StreamChanged(False, server, f"{code} {details}".strip(), delay))

    # -- what comes of it -------------------------------------------------------------------

    def _apply(self, update: Update) -> None:
        connection = self._connection
        if connection is not None:
            for request in update.requests:
                connection.stream.send(request)
        self._deadline = update.deadline
        if update.snapshot is not None:
            started = self._now()
            self._on_snapshot()
            snapshot = update.snapshot
            plan = compile_plan(snapshot, self._extensions, self._live, self._publisher.plan)
            self._publisher.publish(plan)
            counts = len(snapshot.listeners), len(snapshot.clusters)
            self._live.emit(PlanPublished(plan.version, *counts, self._now() - started))
        for event in update.events:
            self._live.emit(event)


def _run_politely(receiving: Receiving) -> Update:
    """Run to the end, letting other threads in between pieces."""
    while True:
        try:
            next(receiving)
        except StopIteration as done:
            update: Update = done.value
            return update
        give_way()
