"""`Mesh`: the composition root. Everything else is given what it needs."""

import atexit
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock, RLock
from types import TracebackType
from typing import Literal

from anyio import to_thread

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow
from meshsdk.call.message import Request
from meshsdk.config.bootstrap import (
    NOBODY,
    Bootstrap,
    Credentials,
    Mode,
    Node,
    Server,
)
from meshsdk.config.yaml import load
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.plan_decider import PlanDecider
from meshsdk.errors import UsageError
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.flow.inbound import inbound
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.plan import Plan
from meshsdk.flow.select import Target
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.resources.secret import Secret
from meshsdk.resources.snapshot import Absent
from meshsdk.runtime import fork
from meshsdk.runtime.ads_feed import AdsFeed
from meshsdk.runtime.collector import freeze_once
from meshsdk.runtime.explain import Explanation, HttpRequest, explain, explain_inbound
from meshsdk.runtime.extensions import extensions_of
from meshsdk.runtime.feed import Feed
from meshsdk.runtime.identity import IdentityKeeper
from meshsdk.runtime.observing import Observing
from meshsdk.runtime.options import Options
from meshsdk.runtime.origin import (
    Identity,
    bootstrap_of,
    identity_of,
    identity_source,
    text_of,
)
from meshsdk.runtime.publisher import Publisher
from meshsdk.runtime.static_feed import StaticFeed
from meshsdk.runtime.tls import FeedTls
from meshsdk.telemetry.log import guarded, to_all
from meshsdk.telemetry.status import MeshStatus, StatusKeeper
from meshsdk.telemetry.why import RecordBudget
from meshsdk.upstream.aio import AsyncUpstream
from meshsdk.upstream.endpoint_transports import EndpointTransports
from meshsdk.upstream.feed_contexts import FeedContexts
from meshsdk.upstream.fetcher import MeshFetcher
from meshsdk.upstream.sync import SyncUpstream

_FORK_TIMEOUT = 15.0
"""Seconds that a fork waits for a thread of ours to end."""
_IDENTITY_PATIENCE = 0.5
"""Seconds that the first plan waits for the first certificate."""
_POLL = 1.0
"""Seconds after which a wait looks at both of its conditions again."""


class Mesh:
    """One membership in a mesh. Threads start at the first use, anew in each forked process.

    Make one with `Mesh.connect` or `Mesh.static`; close it, or use `with` / `async with`.
    """

    def __init__(
        self,
        feed: "Callable[[Mesh], Feed]",
        identity: Identity | None,
        options: Options,
        node: Node = NOBODY,
    ) -> None:
        """Not for users: `connect` and `static` give the feed."""
        self.options = options
        self.extensions = extensions_of(options, node)
        self._make_feed = feed
        self._identity = identity
        self._node = node
        self._build()
        fork.register(self)

    def _build(self) -> None:
        options = self.options
        self._status = StatusKeeper(options.clock)
        emit = to_all(guarded(options.emit), self._status.emit)
        self.observing = Observing(options, self._node, emit)
        self._started = False
        self._starting = RLock()
        self._closed = False
        self.publisher = Publisher()
        self.live = LiveState(
            options.clock,
            options.random,
            emit,
            retry=options.retry,
            records=RecordBudget(options.clock, options.shown),
            guards_writes=options.retry_needs_idempotency_key,
            telemetry=self.observing if self.observing.is_on else None,
            propagates_deadline=options.propagate_deadline,
            propagates_context=options.propagate_context,
        )
        self.contexts = TlsContexts(options.clock)
        self.tls = FeedTls(self.contexts, self._secrets)
        self.identity = IdentityKeeper(
            identity_source(self._identity, options.clock),
            self.contexts,
            options.clock,
            emit,
        )
        client_contexts = FeedContexts(self.tls)
        self.sync_upstream = SyncUpstream(client_contexts, options.addresses, options.clock)
        self.async_upstream = AsyncUpstream(client_contexts, options.addresses, options.clock)
        self.endpoint_transports = EndpointTransports(
            client_contexts, options.addresses, options.clock
        )
        """Where gRPC channels dial."""
        self.fetcher = MeshFetcher(self._plan, self.sync_upstream, self.async_upstream)
        """Makes the side calls of filters."""
        self.server_connections = Acceptor(
            PlanDecider(self._plan, lambda: self.tls), local=self._as_fed, clock=options.clock
        )
        """Decides about connections that servers of this process accept."""
        self.feed = self._make_feed(self)
        self.observing.principal = lambda: self._status.status().spiffe_id
        self.observing.is_own_configuration = isinstance(self.feed, StaticFeed)
        self.source = Source(self._plan, self.live, self.feed.on_demand, self._status.why_none)

    # -- making one -------------------------------------------------------------------------

    @classmethod
    def connect(
        cls,
        bootstrap: str | Path | Bootstrap | None = None,
        *,
        server: str | None = None,
        node: Node | None = None,
        credentials: Credentials | None = None,
        mode: Mode = "sidecar",
        variant: Literal["delta", "sotw"] = "delta",
        identity: Identity | None = None,
        options: Options | None = None,
    ) -> "Mesh":
        """A mesh whose configuration comes from a control plane. Nothing is dialled yet.

        Where it is, in this order: `server` and `node`; `bootstrap`, a file in gRPC's JSON form or
        a `Bootstrap`; the environment (GRPC_XDS_BOOTSTRAP, GRPC_XDS_BOOTSTRAP_CONFIG, Istio's
        injected variables). `identity` beats what those say of certificates. UsageError when
        nothing says where the control plane is, ConfigError for a bootstrap that is not one.
        """
        options = options or Options()
        if server is not None:
            found = Bootstrap(
                (Server(server, credentials or Credentials()),), node or Node(""), mode
            )
        else:
            found = bootstrap_of(bootstrap)
        if identity is None:
            identity = identity_of(found)

        def feed(mesh: Mesh) -> Feed:
            return AdsFeed(
                found,
                variant,
                mesh.extensions,
                mesh.publisher,
                mesh.live,
                on_snapshot=mesh._before_plan,
            )

        return cls(feed, identity, options, found.node)

    @classmethod
    def static(
        cls,
        config: "Mapping[str, object] | str | Path",
        *,
        identity: Identity | None = None,
        options: Options | None = None,
    ) -> "Mesh":
        """A mesh without a control plane: Envoy-style configuration as a mapping or a YAML file.

        `static_resources` as in an Envoy bootstrap; top-level `route_configurations` and
        `endpoints` beside it are lists. ConfigError at once for anything that is not understood.
        """
        if isinstance(config, str | Path):
            origin = str(config)
            config = load(text_of(config), origin)
        else:
            origin = ""
        data = config

        def feed(mesh: Mesh) -> Feed:
            return StaticFeed(data, origin, mesh.extensions, mesh.publisher, mesh.live)

        return cls(feed, identity, options or Options())

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start threads, unless they run. Calls do this; a server does it before it listens."""
        if self._started:
            return
        with self._starting:
            if self._closed:
                raise UsageError("this Mesh is closed")
            if not self._started:
                if self.options.freeze_objects:
                    freeze_once()
                self.identity.start()
                self.feed.start()
                self._started = True

    def close(self) -> None:
        """End streams, threads and idle connections. Calls in flight keep what they have."""
        with self._starting:
            self._closed, self._started = True, False
            self.feed.close()
            self.identity.close()
        self.observing.files.close()
        self.sync_upstream.close()
        self.async_upstream.close()
        self.endpoint_transports.close()

    def __enter__(self) -> "Mesh":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> "Mesh":
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def before_fork(self) -> None:
        """Called by `runtime.fork`: calls go on by the plan in force, nobody follows the feed."""
        self._starting.acquire()
        if self._started and not self._closed:
            self.feed.pause()
            self.identity.close(_FORK_TIMEOUT)
            self.observing.files.close()

    def after_fork_in_parent(self) -> None:
        """Called by `runtime.fork`, on the thread that forked."""
        try:
            if self._started and not self._closed:
                self.identity.start()
                self.observing.files.start()
                self.feed.resume()
        finally:
            self._starting.release()

    def after_fork_in_child(self) -> None:
        """Called by `runtime.fork`: nothing of the parent's is used again."""
        closed = self._closed
        self._build()
        self._closed = closed

    def ready(self, timeout: float | None = 0.0) -> bool:
        """Whether the first complete configuration and the first SVID are in force.

        Blocks for at most `timeout` seconds (None: without bound); 0 is a probe's answer.
        """
        self.start()
        clock = self.options.clock
        deadline = None if timeout is None else clock.monotonic() + timeout
        while self.publisher.plan is None or not self.identity.arrived.is_set():
            left = _POLL if deadline is None else min(_POLL, deadline - clock.monotonic())
            if left <= 0:
                return False
            if self.publisher.plan is None:
                self.publisher.wait(None, left)
            else:
                self.identity.arrived.wait(left)
        return True

    async def aready(self, timeout: float | None = 0.0) -> bool:  # noqa: ASYNC109 - as `ready`
        """`ready` for coroutines: waits on another thread, never on the event loop."""
        if self.ready(0.0):
            return True
        if timeout == 0.0:
            return False
        return await to_thread.run_sync(self.ready, timeout, abandon_on_cancel=True)

    # -- calls ------------------------------------------------------------------------------

    def outbound(
        self,
        request: Request,
        target: Target,
        *,
        wait: float | None = None,
        observe: Callable[[CallContext], None] | None = None,
    ) -> Flow[None]:
        """The flow of a call that the application makes; adapters drive it."""
        if not self._started:
            self.start()
        return outbound(self.source, request, target, wait=wait, observe=observe)

    def inbound(self, request: Request, connection: Connection) -> Flow[None]:
        """The flow of a request that the application's server accepted; adapters drive it."""
        if not self._started:
            self.start()
        return inbound(self.source, request, connection)

    def explain(
        self,
        request: "Request | HttpRequest",
        target: Target | None = None,
        *,
        connection: Connection | None = None,
    ) -> Explanation:
        """What the mesh would do with a request now, by the very flow of a call; sends nothing.

        `request`: ours, or what has `method`, `url` and `headers` as httpx's has. `target`: where
        the application would connect; by default where the URL or the authority says.
        `connection`: the request is one that comes in by it.
        """
        self.start()
        if connection is not None:
            return explain_inbound(self.source, request, connection)
        return explain(self.source, request, target)

    # -- what happens -----------------------------------------------------------------------

    def status(self) -> MeshStatus:
        """How the mesh stands with its control plane and its identity."""
        return self._status.status()

    def metrics(self) -> str:
        """All metrics of this process in Prometheus' text format."""
        lines = (*self.observing.lines(self.live), *self._status.lines())
        return "".join([f"{line}\n" for line in lines])

    def _as_fed(self, address: Address) -> Address:
        return self.options.addresses.local.get(address.port, address)

    def _before_plan(self) -> None:
        """The control plane may be faster than the CA: calls would find no certificate."""
        if self.publisher.plan is None:
            self.identity.arrived.wait(_IDENTITY_PATIENCE)
        self.tls.forget()

    def _plan(self) -> Plan | None:
        return self.publisher.plan

    def _secrets(self) -> Mapping[str, Secret | Absent]:
        plan = self.publisher.plan
        return {} if plan is None else plan.snapshot.secrets


_process: list[Mesh] = []
_process_lock = Lock()


def _renew_lock() -> None:
    """In a forked child: a thread that is not there may have held it."""
    global _process_lock
    _process_lock = Lock()


os.register_at_fork(after_in_child=_renew_lock)


def process_mesh() -> Mesh:
    """The process-wide `Mesh.connect()`, made at its first use and closed when the process ends."""
    with _process_lock:
        if not _process:
            mesh = Mesh.connect()
            atexit.register(mesh.close)
            _process.append(mesh)
        return _process[0]
