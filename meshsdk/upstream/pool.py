"""Idle connections and counts of one endpoint, as one cluster's settings want them.

Nothing here scans or waits: each request costs the same, however many connections there are.
"""

import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from meshsdk.call.address import Address
from meshsdk.call.endpoint import HostState
from meshsdk.resilience.breakers import Breakers, PriorityBreakers
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.tls import UpstreamTls
from meshsdk.upstream.connection import Connection, Lease

C = TypeVar("C", bound=Connection)
EXPIRY_MARGIN = 1.0
"""Seconds before a certificate's end at which its connection takes no further request."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the application's own client would keep connections apart by (tcp_proxy chains)."""

    host: str
    port: int
    context: ssl.SSLContext | None = None
    """The application's TLS; None: `http://`."""
    server_hostname: str = ""


@dataclass(frozen=True, slots=True)
class PoolKey:
    """Connections under one key are interchangeable."""

    cluster: str
    address: Address
    socket: bytes
    """Digest of the transport socket; empty: plaintext."""
    sni: str
    priority: str
    protocol: str
    origin: Origin | None = None
    """Set for raw connections (tcp_proxy), on which the application's own protocol runs."""


class HostPool(Generic[C]):
    """Connections to one endpoint. LIFO, so that what is not needed ages out."""

    __slots__ = (
        "address",
        "address_text",
        "breakers",
        "cluster",
        "connections",
        "idle",
        "is_retired",
        "key",
        "limits",
        "on_idle",
        "sni",
        "socket",
        "state",
        "sweeping",
        "waiters",
    )

    def __init__(
        self,
        key: PoolKey,
        cluster: Cluster,
        socket: UpstreamTls | None,
        breakers: Breakers,
        limits: PriorityBreakers,
        state: HostState,
    ) -> None:
        self.key = key
        self.address = key.address
        self.address_text = str(key.address)
        self.sni = key.sni
        self.cluster = cluster
        """The newest version that a call came with."""
        self.socket = socket
        self.breakers = breakers
        self.limits = limits
        self.state = state
        self.idle: deque[C] = deque()
        self.connections = 0
        """Open or being opened."""
        self.waiters: deque[Callable[[], None]] = deque()
        """Calls that wait for a connection, oldest first; calling one wakes it."""
        self.is_retired = False
        """No new call finds this pool: whatever comes back is closed."""
        self.on_idle: Callable[[HostPool[C]], None] | None = None
        """Told when a connection becomes idle and no timer is running."""
        self.sweeping = False
        """A timer that closes what was idle too long is running."""

    # -- taking and giving ------------------------------------------------------------------

    def take(self, now: float, generation: int) -> C | None:
        """The connection that was used last and still serves, or None. Closes what does not."""
        idle = self.idle
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            lease = connection.lease
            if (
                lease.idle_until > now
                and lease.retire_at > now
                and lease.generation == generation
                and connection.is_alive()
            ):
                return connection
            self.discard(connection)

    def give_back(self, connection: C, now: float) -> bool:
        """Keep a connection for the next call, or close it where policy says so; True: kept."""
        lease, http = connection.lease, self.cluster.http
        most = http.max_requests_per_connection
        if (
            self.is_retired
            or (most is not None and lease.requests >= most)
            or lease.retire_at <= now
        ):
            self.discard(connection)
            return False
        idle_timeout = http.idle_timeout
        if idle_timeout is not None:
            lease.idle_until = now + idle_timeout
        self.idle.append(connection)
        self.close_oldest(now)
        if self.on_idle is not None and not self.sweeping:
            self.on_idle(self)
        if self.waiters:
            self.wake_one()
        return True

    def close_oldest(self, now: float) -> None:
        """Close the one that has been idle longest, when that was too long."""
        try:
            oldest = self.idle.popleft()
        except IndexError:
            return
        if oldest.lease.idle_until > now:
            self.idle.appendleft(oldest)
        else:
            self.discard(oldest)

    def discard(self, connection: C) -> None:
        """Close a connection and count it out."""
        connection.close()
        self.closed(connection.lease)

    def closed(self, lease: Lease) -> None:
        """A connection is gone. Again is harmless."""
        if lease.is_open:
            lease.is_open = False
            self.count_out()

    def close_idle(self) -> None:
        """Close everything that no call uses."""
        while True:
            try:
                connection = self.idle.popleft()
            except IndexError:
                return
            self.discard(connection)

    # -- limits -----------------------------------------------------------------------------

    @property
    def has_room(self) -> bool:
        """Whether `count_in` would say yes."""
        limits, most = self.limits, self.breakers.max_connections_per_host
        return (
            not self.connections
            or self.key.protocol == "h2"
            or (self.connections < most and limits.connections < limits.limits.max_connections)
        )

    def count_in(self) -> bool:
        """Count a connection that is being opened; False: a limit says to wait for another."""
        # Envoy puts all requests of an HTTP/2 host on one connection: its limits of connections
        # do not bind them there, so they must not bind ours, which carry one request at a time.
        is_free = self.connections == 0 or self.key.protocol == "h2"
        if not is_free and self.connections >= self.breakers.max_connections_per_host:
            return False
        if not self.limits.try_connection(first_to_host=is_free):
            return False
        self.connections += 1
        self.state.active_connections += 1
        return True

    def count_out(self) -> None:
        """Undo `count_in`, and let the next call try."""
        self.connections -= 1
        self.state.active_connections -= 1
        self.limits.end_connection()
        if self.waiters:
            self.wake_one()

    def wake_one(self) -> None:
        """Let the call that has waited longest look again."""
        try:
            wake = self.waiters.popleft()
        except IndexError:
            return
        wake()
