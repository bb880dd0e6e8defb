"""One host's TLS relay: a private unix socket in front of connections that the mesh secures."""

import math
import os
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass

from meshsdk.call.address import Address
from meshsdk.call.address_map import AddressMap
from meshsdk.call.message import Reset, ResetReason
from meshsdk.clock import Clock
from meshsdk.errors import MeshError
from meshsdk.identity.tls_objects import Connected
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.tls import UpstreamTls
from meshsdk.runtime.background import Background
from meshsdk.runtime.splice import Link, Splicer
from meshsdk.upstream.obtain import reason_of
from meshsdk.upstream.pool import EXPIRY_MARGIN
from meshsdk.upstream.sync_connection import open_socket
from meshsdk.upstream.tls import ClientContexts

_BACKLOG = 128
_RENEW_BEFORE = 30.0
"""Seconds before a certificate's end, or a tenth of what is left of it: calls that run have them."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a relay needs to know of its host."""

    address: Address
    """As the feed says it."""
    socket: UpstreamTls
    protocol: str
    sni: str
    cluster: Cluster


class Relay:
    """Listens until it is closed. Each connection to its path becomes one to the host."""

    def __init__(
        self,
        route: Route,
        path: str,
        tls: ClientContexts,
        addresses: AddressMap,
        clock: Clock,
        splicer: Splicer,
        dialers: Background,
    ) -> None:
        self.path = path
        """Of the unix socket, in a directory that only we may enter."""
        self.failure: Reset | None = None
        """Why the last connection was not made; None after one that was."""
        self.renew_at = math.inf
        """Monotonic seconds from which no new call should come here."""
        self._route = route
        self._tls = tls
        self._addresses = addresses
        self._clock = clock
        self._splicer = splicer
        self._dialers = dialers
        self._links: set[Link] = set()
        self._is_closed = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(_BACKLOG)
        splicer.listen(self._listener, self._accepted)

    def close(self) -> None:
        """End the listener and its connections."""
        self._is_closed = True
        self._splicer.unlisten(self._listener)
        with suppress(OSError):
            os.unlink(self.path)
        for link in list(self._links):
            self._splicer.cut(link)

    def _accepted(self, near: socket.socket) -> None:
        """On the splicer's thread, which dialling must not hold up."""
        if self._is_closed or not self._dialers.run(lambda: self._connect(near)):
            self.failure = Reset(ResetReason.OVERFLOW, "too many connections at once")
            near.close()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = self._dial()
        except (OSError, MeshError) as error:
            self.failure = reason_of(error)
            near.close()
            return
        except BaseException:
            near.close()
            raise
        self.failure = None
        ends: list[Link] = []

        def ended() -> None:
            self._links.difference_update(ends)

        link = self._splicer.join(near, far, until=self._ends_at(far), on_end=ended)
        ends.append(link)
        self._links.add(link)
        if link.ends is None and link.on_end is None:
            self._links.discard(link)  # over already
        if self._is_closed:
            self._splicer.cut(link)

    def _dial(self) -> ssl.SSLSocket:
        route = self._route
        timeout = route.cluster.connect_timeout
        deadline = self._clock.monotonic() + timeout
        found = self._tls.context(route.socket, route.protocol, route.sni)
        address = self._addresses.dial(route.address)
        plain = open_socket(address, timeout, route.cluster.tcp_keepalive)
        try:
            tls = found.ssl_context.wrap_socket(
                plain, server_hostname=found.server_hostname, do_handshake_on_connect=False
            )
        except BaseException:
            plain.close()
            raise
        try:
            tls.settimeout(max(deadline - self._clock.monotonic(), 0.001))
            tls.do_handshake()
        except BaseException:
            tls.close()
            raise
        return tls

    def _ends_at(self, tls: ssl.SSLSocket) -> float:
        """Monotonic seconds at which the first certificate of the connection ends (THREATS T9)."""
        if not isinstance(tls, Connected) or tls.expires == math.inf:
            return math.inf
        now = self._clock.monotonic()
        left = tls.expires - self._clock.time() - EXPIRY_MARGIN
        self.renew_at = min(self.renew_at, now + left - min(_RENEW_BEFORE, left / 10))
        return now + left
