"""A port of ours in front of a server's private unix socket: for servers that do their own accepting.

Each connection is judged, and its handshake made, before an octet reaches the server; which of our
connections the server sees is told by the name of the unix socket's other end.
"""

import logging
import math
import os
import shutil
import socket
import ssl
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from meshsdk.call.connection import Connection
from meshsdk.clock import Clock
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.address import address_of
from meshsdk.downstream.sockets import PlainSocket, accept
from meshsdk.errors import MeshError
from meshsdk.identity.tls_objects import Connected
from meshsdk.runtime.background import Background
from meshsdk.runtime.splice import Splicer

_LOG = logging.getLogger("meshsdk.downstream")
_HANDSHAKES_AT_ONCE: Final = 256
_BACKLOG: Final = 128
_LONGEST: Final = 80
"""Of a directory's name, so that a socket's path in it fits (108 octets on Linux)."""


class RelayedPort:
    """Accepts until it is closed, or the server behind it is gone."""

    def __init__(self, listening: socket.socket, acceptor: Acceptor, clock: Clock) -> None:
        """Takes the listening socket over."""
        self._acceptor = acceptor
        self._clock = clock
        self._owner = os.getpid()
        directory = tempfile.mkdtemp(prefix="meshsdk-")  # 0700: nobody else can name a socket in it
        if len(directory) > _LONGEST:
            os.rmdir(directory)
            directory = tempfile.mkdtemp(prefix="meshsdk-", dir="/tmp")
        self._directory = directory
        self.inner_path = str(Path(directory, "server"))
        """Where the server listens."""
        self._listening = listening
        self._local = address_of(listening.getsockname())
        self.port: int = listening.getsockname()[1]
        self._connections: dict[str, Connection] = {}
        self._count = 0
        self._lock = threading.Lock()
        self._handshakes = Background(_HANDSHAKES_AT_ONCE)
        self._splicer = Splicer(clock, "meshsdk-port")
        self.is_closed = False
        self._had_server = False
        listening.listen(_BACKLOG)
        self._splicer.listen(listening, self._accepted)

    def connection(self, name: str) -> Connection | None:
        """The facts of one of our connections, by the name that the server sees as its peer's."""
        return self._connections.get(name)

    @property
    def connections(self) -> int:
        """Connections that the server has."""
        return len(self._connections)

    def close(self) -> None:
        """End the port and its connections."""
        if self.is_closed:
            return
        self.is_closed = True
        self._splicer.close()
        self._listening.close()
        if os.getpid() == self._owner:
            with suppress(OSError):
                shutil.rmtree(self._directory)

    def _accepted(self, sock: socket.socket) -> None:
        if not self._handshakes.run(lambda: self._judge(sock)):
            self._acceptor.closed("too many handshakes at once", self._local)
            sock.close()

    def _judge(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        try:
            taken = accept(sock, self._acceptor)
        except (OSError, MeshError) as error:
            _LOG.debug("handshake on port %d failed: %s", self.port, error)
            return
        found: object = getattr(taken, "mesh_connection", None)
        assert isinstance(found, Connection)
        try:
            self._join(taken, found)
        except OSError as error:
            taken.close()
            if self._had_server:
                _LOG.info("port %d ends: the server behind it is gone (%s)", self.port, error)
                self.close()

    def _join(self, taken: "PlainSocket | ssl.SSLSocket", connection: Connection) -> None:
        with self._lock:
            self._count += 1
            path = str(Path(self._directory, str(self._count)))
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"unix:{path}"
        try:
            inner.bind(path)
            self._connections[name] = connection
            inner.connect(self.inner_path)
        except BaseException:
            inner.close()
            self._forget(name)
            raise
        self._had_server = True
        until = math.inf
        if isinstance(taken, Connected) and taken.expires != math.inf:
            until = self._clock.monotonic() + taken.expires - self._clock.time()
        self._splicer.join(taken, inner, until=until, on_end=lambda: self._forget(name))

    def _forget(self, name: str) -> None:
        self._connections.pop(name, None)
        with suppress(OSError):
            os.unlink(name.removeprefix("unix:"))


def bound_socket(host: str, port: int) -> socket.socket:
    """A bound TCP socket, as servers make it. OSError where the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):  # gRPC's own default: several processes, one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock
