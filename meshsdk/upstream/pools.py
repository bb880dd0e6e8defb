"""The pools of one driver: found in one lookup, forgotten when nothing is in them."""

import math
import weakref
from typing import Generic, Literal, TypeVar, cast

from meshsdk.call.address_map import AddressMap
from meshsdk.call.effects import Dial, Dialed, Send
from meshsdk.call.endpoint import Host
from meshsdk.call.message import Outcome, Request, ResetReason, Response
from meshsdk.clock import Clock
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.resources.tls import UpstreamTls
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.connection import Connection, Http, Lease
from meshsdk.upstream.exchange import Exchange
from meshsdk.upstream.head import Head, request_fields, request_head
from meshsdk.upstream.http1 import Http1
from meshsdk.upstream.http2 import Http2
from meshsdk.upstream.obtain import Lent
from meshsdk.upstream.pool import EXPIRY_MARGIN, HostPool, Origin, PoolKey
from meshsdk.upstream.steps import Ask
from meshsdk.upstream.timeouts import CallerTimeouts
from meshsdk.upstream.tls import ClientContext, ClientContexts, Layer, Tls, TlsOverTls, server_name

C = TypeVar("C", bound=Connection)
Priority = Literal["DEFAULT", "HIGH"]
_CACHED = 4096
_NO_HEAD = Head(b"")
_NO_BODY = RequestBody()


class Pools(Generic[C]):
    """Finds the pool for an attempt. One for all threads, or one per event loop."""

    def __init__(self, tls: ClientContexts, addresses: AddressMap, clock: Clock) -> None:
        self.tls = tls
        self.clock = clock
        self.addresses = addresses
        self.reset()

    def reset(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        self.users: weakref.WeakSet[object] = weakref.WeakSet()
        """Transports that are open; the last to close takes the idle connections with it."""
        self._by_host: dict[Host, HostPool[C]] = {}
        self._pools: dict[PoolKey, HostPool[C]] = {}
        self._purge_at = _CACHED

    # -- what an attempt asks for -----------------------------------------------------------

    def ask(self, send: Send, body: RequestBody, timeouts: CallerTimeouts) -> Ask[C]:
        """The question that `exchange.attempt` answers.

        HeadError for a request that cannot be sent.
        """
        attempt = send.attempt
        plan = attempt.cluster
        assert isinstance(plan, ClusterPlan)
        request = attempt.request
        protocol = _protocol(request, plan)
        pool = self.pool(plan, attempt.host, attempt.priority, protocol, request.authority, None)
        make_head = request_fields if protocol == "h2" else request_head
        reason = ResetReason.PER_TRY_TIMEOUT if send.reset_reason_timeout else ResetReason.TIMEOUT
        return Ask(
            pool,
            request.method,
            make_head(request, body_length=body.length),
            body,
            timeouts,
            self.clock,
            self.generation(pool),
            send.timeout,
            send.idle_timeout,
            reason,
            attempt=attempt,
        )

    def ask_to_dial(self, dial: Dial, origin: Origin, timeouts: CallerTimeouts) -> Ask[C]:
        """The question that `obtain.raw_connection` answers."""
        plan = dial.cluster
        assert isinstance(plan, ClusterPlan)
        pool = self.pool(plan, dial.host, "DEFAULT", "tcp", "", origin)
        return Ask(
            pool,
            "",
            _NO_HEAD,
            _NO_BODY,
            timeouts,
            self.clock,
            self.generation(pool),
            dial.timeout,
            timeout_reason=ResetReason.CONNECT_TIMEOUT,
            is_verbatim=True,
        )

    def generation(self, pool: HostPool[C]) -> int:
        """Of connections that may carry a request now."""
        return 0 if pool.socket is None else self.tls.generation

    def exchange(self, outcome: Outcome) -> Exchange[C] | None:
        """The body of a response that these pools gave; None for all else."""
        body = outcome.body if isinstance(outcome, Response) else None
        return cast("Exchange[C]", body) if isinstance(body, Exchange) else None

    def lent(self, dialed: Dialed) -> Lent[C]:
        """The raw connection that these pools gave."""
        stream = dialed.stream
        assert isinstance(stream, Lent)
        return cast("Lent[C]", stream)

    # -- pools ------------------------------------------------------------------------------

    def pool(
        self,
        plan: ClusterPlan,
        host: Host,
        priority: Priority,
        protocol: str,
        authority: str,
        origin: Origin | None,
    ) -> HostPool[C]:
        """The pool of a host, as the newest version of its cluster wants it."""
        cluster = plan.cluster
        found = self._by_host.get(host)
        if (
            found is not None
            and found.cluster is cluster
            and found.key.priority == priority
            and found.key.protocol == protocol
            and origin is None
            and found.key.origin is None
            and not cluster.http.auto_sni
            and not found.is_retired
        ):
            return found
        socket = host.socket
        assert socket is None or isinstance(socket, UpstreamTls)
        key = PoolKey(
            plan.name,
            host.endpoint.address,
            b"" if socket is None else socket.digest,
            "" if socket is None else server_name(socket, cluster, host, authority),
            priority,
            protocol,
            origin,
        )
        pool = self._pools.get(key)
        limits = plan.breakers.of(priority)
        if pool is None or pool.limits is not limits:
            if pool is not None:
                self._retire(pool)
            pool = HostPool[C](key, cluster, socket, plan.breakers, limits, host.state)
            self.made(pool)
            self._pools[key] = pool
            if len(self._pools) > self._purge_at:
                self._purge()
        elif pool.cluster is not cluster:
            pool.cluster, pool.socket = cluster, socket
        if len(self._by_host) >= _CACHED:
            self._by_host.clear()
        self._by_host[host] = pool
        return pool

    def made(self, pool: HostPool[C]) -> None:
        """A pool is new: where a driver attaches its timer."""

    def _purge(self) -> None:
        """Forget pools without connections. Rare: each time their number has doubled."""
        for pool in list(self._pools.values()):
            if not pool.connections and not pool.waiters:
                self._retire(pool)
        self._purge_at = max(_CACHED, 2 * len(self._pools))

    def _retire(self, pool: HostPool[C]) -> None:
        pool.is_retired = True
        pool.close_idle()
        if self._pools.get(pool.key) is pool:
            del self._pools[pool.key]

    def close_idle(self) -> None:
        """Close all connections that no call uses; the pools stay usable."""
        for pool in list(self._pools.values()):
            pool.close_idle()

    def release(self, user: object) -> None:
        """A transport closed."""
        self.users.discard(user)
        if not self.users:
            self.close_idle()

    @property
    def connections(self) -> int:
        """Open connections, idle or not."""
        return sum(pool.connections for pool in list(self._pools.values()))

    @property
    def idle(self) -> int:
        """Open connections that no call uses."""
        return sum(len(pool.idle) for pool in list(self._pools.values()))

    # -- new connections --------------------------------------------------------------------

    def layer(self, pool: HostPool[C]) -> Layer | None:
        """The TLS of a new connection, before its handshake. IdentityError, ConfigError."""
        origin = pool.key.origin
        own: Layer | None = None
        if origin is not None and origin.context is not None:
            own = Tls(ClientContext(origin.context, origin.server_hostname))
        if pool.socket is None:
            return own
        mesh = Tls(self.tls.context(pool.socket, pool.key.protocol, pool.key.sni))
        return mesh if own is None else TlsOverTls(mesh, own)

    def http(self, pool: HostPool[C]) -> Http:
        """The protocol of a connection that is about to be opened."""
        return Http2() if pool.key.protocol == "h2" else Http1()

    def lease(self, pool: HostPool[C]) -> Lease:
        """Notes for a connection that is about to be opened."""
        return Lease(self.generation(pool))

    def opened(self, pool: HostPool[C], connection: C) -> None:
        """Work out when a connection that has just been opened retires."""
        now = self.clock.monotonic()
        lease, layer = connection.lease, connection.layer
        duration = pool.cluster.http.max_connection_duration
        if duration is not None:
            lease.retire_at = now + duration
        if layer is not None and layer.expires != math.inf:
            left = layer.expires - self.clock.time() - EXPIRY_MARGIN
            lease.retire_at = min(lease.retire_at, now + left)


def _protocol(request: Request, plan: ClusterPlan) -> str:
    """What an attempt speaks. `auto` is HTTP/1.1 here, which every such upstream takes."""
    match plan.cluster.http.protocol:
        case "h2":
            return "h2"
        case "downstream" if request.protocol == "h2":
            return "h2"
        case _:
            return "http1"
