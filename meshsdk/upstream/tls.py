"""TLS for connections: where contexts come from, and the record layer without a socket."""

import math
import ssl
from dataclasses import dataclass
from typing import Protocol

from meshsdk.call.address import host_of
from meshsdk.call.endpoint import Host
from meshsdk.identity.session import TlsSession
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.tls import UpstreamTls


@dataclass(frozen=True, slots=True)
class ClientContext:
    """What one new connection does its handshake with."""

    ssl_context: ssl.SSLContext
    server_hostname: str | None = None
    not_after: float = math.inf
    """When the certificate that we present ends; epoch seconds."""


class ClientContexts(Protocol):
    """Gives contexts for transport sockets. Any thread may ask."""

    @property
    def generation(self) -> int:
        """Rises when connections that were made before must carry no further request: a trust
        bundle went. A new certificate of ours alone does not raise it (DESIGN.md 9.5)."""
        ...

    def context(self, socket: UpstreamTls, protocol: str, sni: str) -> ClientContext:
        """For one new connection. `protocol` is http1, h2 or tcp; `sni` is decided already.

        IdentityError or ConfigError when there is none.
        """
        ...


def server_name(socket: UpstreamTls, cluster: Cluster, host: Host, authority: str) -> str:
    """The SNI of a connection, by the rules of UpstreamTlsContext and of the cluster (auto_sni)."""
    if cluster.http.auto_sni and authority:
        return host_of(authority)
    if socket.auto_host_sni and host.endpoint.hostname:
        return host.endpoint.hostname
    return socket.sni


class Layer(Protocol):
    """A record layer between a socket and what speaks over it."""

    @property
    def is_open(self) -> bool:
        """The handshake is over and the peer is verified."""
        ...

    @property
    def peer_closed(self) -> bool:
        """The peer ended the TLS session (close_notify)."""
        ...

    @property
    def expires(self) -> float:
        """When the first certificate of this connection ends; epoch seconds."""
        ...

    @property
    def objects(self) -> tuple[ssl.SSLObject, ...]:
        """The TLS objects, innermost last."""
        ...

    def start(self) -> None:
        """Begin the handshake."""
        ...

    def receive(self, data: bytes) -> bytes:
        """What the socket gave; the plain octets in it. ssl.SSLError: the connection is over."""
        ...

    def send(self, data: bytes) -> bytes:
        """Octets for the socket that carry `data`."""
        ...

    def outgoing(self) -> bytes:
        """Octets that the handshake or the protocol itself has for the socket."""
        ...


class Tls(TlsSession):
    """One TLS session to an upstream."""

    __slots__ = ("_not_after",)

    def __init__(self, context: ClientContext) -> None:
        self._not_after = context.not_after
        try:
            super().__init__(context.ssl_context, server_hostname=context.server_hostname)
        except UnicodeError:
            # A label over 63 octets cannot be SNI in Python; the peer is verified all the same.
            super().__init__(context.ssl_context)

    @property
    def expires(self) -> float:
        """As `Layer.expires`."""
        found: object = getattr(self.object, "expires", None)
        return min(self._not_after, found) if isinstance(found, float) else self._not_after

    @property
    def objects(self) -> tuple[ssl.SSLObject, ...]:
        """As `Layer.objects`."""
        return (self.object,)


class TlsOverTls:
    """The application's own TLS inside the mesh's (tcp_proxy to a cluster with mTLS)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Layer, inner: Layer) -> None:
        self._outer, self._inner = outer, inner

    @property
    def is_open(self) -> bool:
        """As `Layer.is_open`."""
        return self._inner.is_open

    @property
    def peer_closed(self) -> bool:
        """As `Layer.peer_closed`."""
        return self._inner.peer_closed or self._outer.peer_closed

    @property
    def expires(self) -> float:
        """As `Layer.expires`: the application's own session has no bound of ours."""
        return self._outer.expires

    @property
    def objects(self) -> tuple[ssl.SSLObject, ...]:
        """As `Layer.objects`."""
        return (*self._outer.objects, *self._inner.objects)

    def start(self) -> None:
        """As `Layer.start`."""
        self._outer.start()

    def receive(self, data: bytes) -> bytes:
        """As `Layer.receive`."""
        was_open = self._outer.is_open
        plain = self._outer.receive(data)
        if self._outer.is_open and not was_open:
            self._inner.start()
        return self._inner.receive(plain) if plain else b""

    def send(self, data: bytes) -> bytes:
        """As `Layer.send`."""
        return self._outer.send(self._inner.send(data))

    def outgoing(self) -> bytes:
        """As `Layer.outgoing`."""
        own = self._outer.outgoing()
        inner = self._inner.outgoing()
        return own + self._outer.send(inner) if inner else own
