"""Accepting for servers that give each connection a thread: MSG_PEEK, then TLS or the plain socket.

TLS needs the bytes again, so they are looked at in the kernel's buffer and not taken.
"""

import errno
import socket
import ssl

from meshsdk.call.connection import Connection
from meshsdk.downstream.acceptor import Acceptor, Judged, established
from meshsdk.downstream.address import address_of
from meshsdk.downstream.decision import Close, Tls


def is_listening(sock: socket.socket) -> bool:
    """Whether this is no connection but what accepts them."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


class PlainSocket(socket.socket):
    """A plaintext connection, with the methods that servers call on an `ssl.SSLSocket`."""

    mesh_connection: Connection

    def do_handshake(self, block: bool = False) -> None:
        """Nothing to do."""

    def unwrap(self) -> socket.socket:
        """Nothing to take off."""
        return self

    def getpeercert(self, binary_form: bool = False) -> None:
        """None."""

    def cipher(self) -> None:
        """None."""

    def version(self) -> None:
        """None."""

    def selected_alpn_protocol(self) -> None:
        """None."""

    def pending(self) -> int:
        """No byte is held back here."""
        return 0


class MeshListener(socket.socket):
    """A listening socket; what it accepts has been judged, and its handshake has ended."""

    acceptor: Acceptor

    def accept(self) -> tuple[socket.socket, object]:
        """As `socket.accept`. ConnectionAbortedError, which accept loops survive, for a connection
        that was refused. A slow peer holds up the others: for development servers only."""
        sock, name = super().accept()
        try:
            return accept(sock, self.acceptor), name
        except OSError as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, str(error)) from error


def listening(sock: socket.socket, acceptor: Acceptor) -> MeshListener:
    """Takes the listening socket over."""
    timeout = sock.gettimeout()
    listener = MeshListener(sock.family, sock.type, sock.proto, fileno=sock.detach())
    listener.settimeout(timeout)
    listener.acceptor = acceptor
    return listener


def accept(sock: socket.socket, acceptor: Acceptor) -> PlainSocket | ssl.SSLSocket:
    """Takes an accepted connection over; `.mesh_connection` of what it gives holds the facts.

    Blocks for `acceptor.timeout` at most. Raises ConnectionResetError where no chain takes it,
    TimeoutError, or `ssl.SSLError`; the socket is closed then.
    """
    timeout = sock.gettimeout()
    try:
        deadline = acceptor.clock.monotonic() + acceptor.timeout
        judged = _peek(sock, acceptor, deadline)
        accepted = _take(sock, judged, acceptor, deadline)
    except BaseException:
        sock.close()
        raise
    accepted.settimeout(timeout)
    return accepted


def _peek(sock: socket.socket, acceptor: Acceptor, deadline: float) -> Judged:
    local, peer = address_of(sock.getsockname()), address_of(sock.getpeername())
    seen = 0
    try:
        while True:
            sock.settimeout(_left(acceptor, deadline))
            # Wakes up for a byte more than was seen, not for the same ones again.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, seen + 1)
            data = sock.recv(acceptor.limit, socket.MSG_PEEK)
            if len(data) <= seen:
                raise ConnectionResetError(errno.ECONNRESET, "closed before it said anything")
            judged = acceptor.judge(data, local, peer)
            if judged is not None:
                return judged
            seen = len(data)
    finally:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


def _take(
    sock: socket.socket, judged: Judged, acceptor: Acceptor, deadline: float
) -> PlainSocket | ssl.SSLSocket:
    match judged.decision:
        case Close(reason=reason):
            acceptor.closed(reason, address_of(sock.getsockname()))
            raise ConnectionResetError(errno.ECONNRESET, reason)
        case Tls(ssl_context=context):
            sock.settimeout(_left(acceptor, deadline))
            tls = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            try:
                tls.do_handshake()
            except BaseException:
                tls.close()
                raise
            # An attribute that ssl does not know; the class is made by the context.
            setattr(tls, "mesh_connection", established(judged.connection, tls))  # noqa: B010
            return tls
        case _:
            plain = PlainSocket(sock.family, sock.type, sock.proto, fileno=sock.detach())
            plain.mesh_connection = judged.connection
            return plain


def _left(acceptor: Acceptor, deadline: float) -> float:
    left = deadline - acceptor.clock.monotonic()
    if left <= 0:
        raise TimeoutError(errno.ETIMEDOUT, "the first bytes did not come in time")
    return left
