"""Zero configuration for asyncio servers: their own `create_server` call is served by the mesh.

uvicorn, hypercorn and gunicorn's ASGI workers run the ASGI lifespan before they create their
servers. From then on each connection is looked at, decided, and, where it may speak, handed to the
server's own protocol, whose callbacks run in a `contextvars.Context` of that connection.
"""

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeAlias, cast

from meshsdk.call.address import UNKNOWN
from meshsdk.call.connection import Connection
from meshsdk.clock import Clock
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.address import address_of
from meshsdk.downstream.server_context import MeshServerContext, SniffingObject
from meshsdk.downstream.sniffing import Handover, Sniffing, SniffingServer
from meshsdk.downstream.tls_transport import TlsTransport
from meshsdk.downstream.uvicorn_protocol import keep_trailers_out, root_path
from meshsdk.identity.tls_objects import Connected

_LOG = logging.getLogger("meshsdk.downstream")
_ATTRIBUTE: Final = "mesh_captured"
# Where servers start the tasks that run the application. Not the write-side callbacks: those can
# come while one of these runs, and a Context cannot be entered twice.
_CALLBACKS: Final = ("connection_made", "data_received", "buffer_updated", "eof_received")

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]


@dataclass(slots=True, eq=False)
class Captured:
    """A connection that the mesh accepted, and what adapters keep with it."""

    connection: Connection
    client: tuple[str, int] | None = None
    """The socket's own names, as the application may see them."""
    server: tuple[str, int] | None = None
    root_path: str = ""
    """What the server puts in front of each path: no part of what came on the wire."""
    tls: ssl.SSLObject | None = None
    transport: TlsTransport | None = None
    """Where what is written for one request can be sent in one go."""
    retires: float = math.inf
    """Monotonic time from which no further request is invited."""
    expires: float = math.inf
    """Monotonic time at which a certificate of this connection ends, and its identity with it."""
    notes: dict[str, object] = field(default_factory=dict[str, object])
    """Of adapters, for as long as the connection lives."""

    def is_of(self, transport: asyncio.BaseTransport) -> bool:
        """Whether it is this transport's connection, whose protocol may be another by now."""
        return (
            address_of(transport.get_extra_info("peername")),
            address_of(transport.get_extra_info("sockname")),
        ) == (address_of(self.client), address_of(self.server))


_MAX_AGE: Final = 3600.0  # THREATS T9: no identity outlives this by an old connection

_CAPTURED: ContextVar[Captured | None] = ContextVar("meshsdk_captured", default=None)


def captured(receive: object = None) -> Captured | None:
    """The connection on which the running task's request came; None: it was not captured.

    `receive`: of the ASGI call; where it belongs to a server's own object that object's transport
    is asked first, since contexts are inherited further than connections.
    """
    transport = _transport_of(receive)
    if transport is not None:
        found = getattr(transport.get_protocol(), _ATTRIBUTE, None)
        if isinstance(found, Captured):
            return found
    known = _CAPTURED.get()
    if known is None or transport is None or known.is_of(transport):
        return known
    return None  # a server that a request's task began: its connections are others


def _transport_of(receive: object) -> asyncio.Transport | None:
    """The transport of uvicorn's objects; uvloop's transports are no subclass of asyncio's."""
    found = getattr(getattr(receive, "__self__", None), "transport", None)
    return cast("asyncio.Transport", found) if hasattr(found, "get_protocol") else None


def uncaptured(receive: object, acceptor: Acceptor, scope: Mapping[str, object]) -> Captured:
    """What can be known of a connection that was not captured: never who the peer is, except where
    the server uses a `MeshServerContext`.

    The server's own socket is asked first: what a scope calls client may come from a header.
    """
    transport = _transport_of(receive)
    if transport is not None:
        local = address_of(transport.get_extra_info("sockname"))
        peer = address_of(transport.get_extra_info("peername"))
        tls = transport.get_extra_info("ssl_object")
        found = Captured(acceptor.facts(local, peer))
        known = getattr(tls, "mesh_connection", None)
        if isinstance(tls, SniffingObject) and isinstance(known, Connection):
            found.connection = replace(
                known, peer=replace(known.peer, physical=peer, connection=peer)
            )
            found.tls = tls.established
            _set_ends(found, acceptor.clock)
        found.root_path = root_path(transport.get_protocol())
        return found
    local, peer = address_of(scope.get("server")), address_of(scope.get("client"))
    # Port 0 is how proxy middlewares say that the address came from a header.
    return Captured(acceptor.facts(local, peer if peer.port else UNKNOWN))


def _set_ends(connection: Captured, clock: Clock) -> None:
    if isinstance(connection.tls, Connected):
        now, left = clock.monotonic(), connection.tls.expires - clock.time()
        connection.expires = now + left
        connection.retires = now + min(left, _MAX_AGE)


def bind(protocol: asyncio.BaseProtocol, connection: Captured) -> None:
    """Let all that a server does for a connection happen in a Context that knows it.

    AttributeError for a protocol whose attributes cannot be set.
    """
    connection.root_path = root_path(protocol)
    keep_trailers_out(protocol)
    context = copy_context()
    context.run(_CAPTURED.set, connection)
    setattr(protocol, _ATTRIBUTE, connection)
    for name in _CALLBACKS:
        callback = getattr(protocol, name, None)
        if callback is not None:
            setattr(protocol, name, partial(context.run, callback))


@dataclass(frozen=True, slots=True, eq=False)
class _Factory:
    """Makes the protocols that look at connections before the server's own may."""

    loop: asyncio.AbstractEventLoop
    acceptor: Acceptor
    factory: ProtocolFactory
    app_tls: ssl.SSLContext | None
    waiting: "set[Sniffing]"

    def __call__(self) -> "Sniffing":
        return Sniffing(self.loop, self.acceptor, self._hand_over, self.app_tls, self.waiting)

    def _hand_over(self, handover: Handover) -> None:
        protocol = self.factory()
        transport = handover.transport
        connection = Captured(
            handover.connection,
            handover.client,
            handover.server,
            tls=handover.tls,
            transport=transport if isinstance(transport, TlsTransport) else None,
        )
        _set_ends(connection, self.acceptor.clock)
        try:
            bind(protocol, connection)
        except AttributeError:
            _LOG.exception("cannot capture connections of %s", type(protocol).__qualname__)
            transport.abort()
            return
        handover.deliver(protocol)


class Capture:
    """An event loop whose servers are served by the mesh, until `uninstall`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        acceptor: Acceptor,
        ports: Collection[int] | None,
    ) -> None:
        self._loop = loop
        self._acceptor = acceptor
        self._ports = ports
        self._is_active = True
        self._original = loop.create_server
        self._create = self.create_server
        setattr(loop, "create_server", self._create)  # noqa: B010 -- one loop's own method

    def uninstall(self) -> None:
        """Servers that are created later are not the mesh's. Those that were stay so."""
        self._is_active = False
        if getattr(self._loop, "create_server", None) is self._create:
            setattr(self._loop, "create_server", self._original)  # noqa: B010

    async def create_server(
        self,
        protocol_factory: ProtocolFactory,
        host: object = None,
        port: int | None = None,
        *,
        sock: socket.socket | None = None,
        ssl: ssl.SSLContext | None = None,
        **options: object,
    ) -> asyncio.AbstractServer:
        """In the place of the loop's. TLS that the server has of its own is used where the mesh
        passes TLS through, and then only."""
        original = cast("Callable[..., asyncio.Future[asyncio.Server]]", self._original)
        if not self._is_active or not self._is_ours(protocol_factory, port, sock):
            return await original(protocol_factory, host, port, sock=sock, ssl=ssl, **options)
        options.pop("ssl_handshake_timeout", None)
        options.pop("ssl_shutdown_timeout", None)
        acceptor, own = self._acceptor, ssl
        if isinstance(own, MeshServerContext):
            acceptor, own = own.acceptor, None
        waiting: set[Sniffing] = set()
        factory = _Factory(self._loop, acceptor, protocol_factory, own, waiting)
        server = await original(factory, host, port, sock=sock, **options)
        return SniffingServer(server, waiting)

    def _is_ours(
        self, factory: ProtocolFactory, port: int | None, sock: socket.socket | None
    ) -> bool:
        if isinstance(factory, _Factory):
            return False
        if sock is not None:
            # Not by its family: uvicorn calls every inherited socket a unix one.
            address = address_of(sock.getsockname())
            if address.host.startswith("/") or not address.port:
                return False
            port = address.port
        return self._ports is None or port in self._ports


def install(
    loop: asyncio.AbstractEventLoop, acceptor: Acceptor, *, ports: Collection[int] | None = None
) -> Capture:
    """Serve what this loop's `create_server` is called for from now on; `ports` None: all of it.

    Unix sockets are not the mesh's.
    """
    return Capture(loop, acceptor, ports)
