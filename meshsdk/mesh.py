"""`Mesh`: the composition root. Everything else is given what it needs."""

import atexit
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Literal, Protocol
from urllib.parse import urlsplit

from anyio import to_thread

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Deliver, Dial, Effect, Flow, Mirror, Send, Sleep
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, Response
from meshsdk.clock import Clock, Random, SystemClock, SystemRandom
from meshsdk.config.bootstrap import (
    NOBODY,
    Bootstrap,
    CertificateFiles,
    Credentials,
    Mode,
    Node,
    Server,
    from_istio_environment,
    parse_grpc_bootstrap,
)
from meshsdk.config.extension import Extensions, HttpFilterExtension, Registry
from meshsdk.config.yaml import load
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.plan_decider import PlanDecider
from meshsdk.errors import UsageError
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS
from meshsdk.flow.inbound import inbound
from meshsdk.flow.outbound import Source, outbound
from meshsdk.flow.plan import LiveState, Plan
from meshsdk.flow.select import Target
from meshsdk.identity.sources.files import CredentialFiles, FilesSource
from meshsdk.identity.sources.static import StaticSource
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.x509_context import X509Context
from meshsdk.lb_policies import LB_POLICIES
from meshsdk.resources.secret import Secret
from meshsdk.resources.snapshot import Absent
from meshsdk.runtime import fork
from meshsdk.runtime.ads_feed import AdsFeed
from meshsdk.runtime.feed import Feed
from meshsdk.runtime.identity import IdentityKeeper, IdentitySource
from meshsdk.runtime.publisher import Publisher
from meshsdk.runtime.static_feed import StaticFeed
from meshsdk.runtime.tls import FeedTls
from meshsdk.telemetry import Emit
from meshsdk.telemetry.log import log
from meshsdk.upstream.aio import AsyncUpstream
from meshsdk.upstream.dialing import AddressMap
from meshsdk.upstream.feed_contexts import FeedContexts
from meshsdk.upstream.sync import SyncUpstream

_PORTS = {"http": 80, "https": 443}
_POLL = 1.0
"""Seconds after which a wait looks at both of its conditions again."""
_GRPC_FILE = "GRPC_XDS_BOOTSTRAP"
_GRPC_INLINE = "GRPC_XDS_BOOTSTRAP_CONFIG"

Identity = IdentitySource | X509Context | CredentialFiles
Compat = Literal["strict", "envoy"]


@dataclass(frozen=True, slots=True)
class Options:
    """What can be set whichever way a mesh gets its configuration."""

    compat: Compat = "strict"
    """`envoy` switches off what meshsdk refuses although Envoy would take it."""
    unknown_fields: Literal["refuse", "warn"] = "refuse"
    """`warn`: for a control plane that is newer than this release."""
    http_filters: tuple[HttpFilterExtension, ...] = ()
    """Your own filters, found by the type URLs that they name."""
    emit: Emit = log
    clock: Clock = SystemClock()
    random: Random = SystemRandom()
    addresses: AddressMap = AddressMap()
    """Where addresses of the feed really are: for tests, and for meshes behind port forwards."""


class HttpRequest(Protocol):
    """A request of an HTTP client library."""

    @property
    def method(self) -> str: ...
    @property
    def url(self) -> object: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the mesh would do with a request, and why; nothing was sent."""

    listener: str
    filter_chain: str
    route: str
    cluster: str
    endpoint: str
    status: int | None
    """Of the mesh's own answer; None when the request would go to `endpoint`."""
    details: str
    flags: tuple[str, ...]
    steps: tuple[tuple[str, str], ...]
    """(filter, what it decided), in order."""


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
        self.extensions = Extensions(
            http_filters=Registry("HTTP filter", (*HTTP_FILTERS, *options.http_filters)),
            network_filters=Registry("network filter", NETWORK_FILTERS),
            lb_policies=Registry("load balancing policy", LB_POLICIES),
            unknown_fields=options.unknown_fields,
            compat=options.compat,
            namespace=node.namespace,
            dns_domain=node.dns_domain,
            local_address=node.address or "127.0.0.1",
        )
        self._make_feed = feed
        self._identity = identity
        self._build()
        fork.register(self)

    def _build(self) -> None:
        options = self.options
        self._started = False
        self._starting = Lock()
        self._closed = False
        self.publisher = Publisher()
        self.live = LiveState(options.clock, options.random, options.emit)
        self.contexts = TlsContexts(options.clock)
        self.tls = FeedTls(self.contexts, self._secrets)
        self.identity = IdentityKeeper(
            _source(self._identity, options.clock), self.contexts, options.clock, options.emit
        )
        client_contexts = FeedContexts(self.tls)
        self.sync_upstream = SyncUpstream(client_contexts, options.addresses, options.clock)
        self.async_upstream = AsyncUpstream(client_contexts, options.addresses, options.clock)
        self.server_connections = Acceptor(
            PlanDecider(self._plan, self.tls), local=self._as_fed, clock=options.clock
        )
        """Decides about connections that servers of this process accept."""
        self.feed = self._make_feed(self)
        self.source = Source(self._plan, self.live, self.feed.on_demand)

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
        elif isinstance(bootstrap, Bootstrap):
            found = bootstrap
        elif bootstrap is not None:
            found = parse_grpc_bootstrap(Path(bootstrap).read_text(), str(bootstrap))
        else:
            found = _from_environment()
        if identity is None:
            identity = _identity_of(found)

        def feed(mesh: Mesh) -> Feed:
            return AdsFeed(
                found,
                variant,
                mesh.extensions,
                mesh.publisher,
                mesh.live,
                on_snapshot=mesh.tls.forget,
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
            config = load(Path(config).read_text(), origin)
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
        if self._closed:
            raise UsageError("this Mesh is closed")
        with self._starting:
            if not self._started:
                self.identity.start()
                self.feed.start()
                self._started = True

    def close(self) -> None:
        """End streams, threads and idle connections. Calls in flight keep what they have."""
        self._closed = True
        self.feed.close()
        self.identity.close()
        self.sync_upstream.close()
        self.async_upstream.close()

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
        self, request: "Request | HttpRequest", target: Target | None = None
    ) -> Explanation:
        """What the mesh would do with a request now, by the very flow of a call; sends nothing.

        `request`: ours, or what has `method`, `url` and `headers` as httpx's has. `target`: where
        the application would connect; by default where the URL or the authority says.
        """
        if not isinstance(request, Request):
            request, target = _asked(request, target)
        if target is None:
            host, _, port = request.authority.partition(":")
            target = Target(host, int(port or 80))
        self.start()
        seen: list[CallContext] = []
        steps: list[tuple[str, str]] = []

        def observe(context: CallContext) -> None:
            context.tracing = lambda step, decided: steps.append((step, decided))
            seen.append(context)

        flow = outbound(self.source, request, target, wait=0.0, observe=observe)
        try:
            effect = next(flow)
            while isinstance(effect, Mirror | Sleep):
                effect = flow.send(None)
        finally:
            flow.close()
        return _explanation(effect, seen[0] if seen else None, tuple(steps))

    def _as_fed(self, address: Address) -> Address:
        return self.options.addresses.local.get(address.port, address)

    def _plan(self) -> Plan | None:
        return self.publisher.plan

    def _secrets(self) -> Mapping[str, Secret | Absent]:
        plan = self.publisher.plan
        return {} if plan is None else plan.snapshot.secrets


def _asked(asked: HttpRequest, target: Target | None) -> tuple[Request, Target]:
    url = urlsplit(str(asked.url))
    if url.scheme not in _PORTS or url.hostname is None:
        raise UsageError(f"expected a URL with http:// or https://, found {str(asked.url)!r}")
    headers = Headers.of((name, value) for name, value in asked.headers.items())
    path = url.path or "/"
    request = Request(
        asked.method,
        headers.get("host") or url.netloc,
        f"{path}?{url.query}" if url.query else path,
        headers.without("host"),
        url.scheme,
    )
    port = url.port or _PORTS[url.scheme]
    return request, target or Target(url.hostname, port, url.scheme == "https", url.hostname)


def _explanation(
    effect: Effect, context: CallContext | None, steps: tuple[tuple[str, str], ...]
) -> Explanation:
    outcome = effect.outcome if isinstance(effect, Deliver) else None
    status = outcome.status if isinstance(outcome, Response) else None
    if context is None:
        detail = outcome.detail if isinstance(outcome, Reset) else "no configuration yet"
        return Explanation("", "", "", "", "", status, detail, (), steps)
    host = context.host if isinstance(effect, Send | Dial) else None
    details = outcome.detail if isinstance(outcome, Reset) else context.details
    return Explanation(
        context.listener,
        context.filter_chain,
        context.route_name,
        context.cluster,
        "" if host is None else str(host.endpoint.address),
        status,
        details,
        tuple(context.flags),
        steps,
    )


def _source(identity: Identity | None, clock: Clock) -> IdentitySource | None:
    match identity:
        case X509Context():
            return StaticSource(identity, clock)
        case CredentialFiles():
            return FilesSource(identity, clock)
        case _:
            return identity


def _from_environment() -> Bootstrap:
    path = os.environ.get(_GRPC_FILE)
    if path:
        return parse_grpc_bootstrap(Path(path).read_text(), path)
    inline = os.environ.get(_GRPC_INLINE)
    if inline:
        return parse_grpc_bootstrap(inline, _GRPC_INLINE)
    found = from_istio_environment(os.environ)
    if found is None:
        raise UsageError(
            "nothing says where the control plane is: give Mesh.connect a bootstrap file or a"
            f" server, or set {_GRPC_FILE}, or Istio's POD_NAME, POD_NAMESPACE and INSTANCE_IP"
        )
    return found


def _identity_of(bootstrap: Bootstrap) -> CredentialFiles | None:
    files = bootstrap.files
    if files is not None:
        return _credential_files(files)
    return CredentialFiles.near_workload()


def _credential_files(files: CertificateFiles) -> CredentialFiles:
    return CredentialFiles(
        Path(files.certificate_file), Path(files.key_file), Path(files.root_file)
    )


_process: list[Mesh] = []
_process_lock = Lock()


def process_mesh() -> Mesh:
    """The process-wide `Mesh.connect()`, made at its first use and closed when the process ends."""
    with _process_lock:
        if not _process:
            mesh = Mesh.connect()
            atexit.register(mesh.close)
            _process.append(mesh)
        return _process[0]
