"""One connection over a blocking socket. Used by one thread at a time."""

import select
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from meshsdk.call.address import Address
from meshsdk.resources.cluster import TcpKeepalive
from meshsdk.upstream.connection import Http, Lease
from meshsdk.upstream.dialing import is_unix
from meshsdk.upstream.steps import NotSentError
from meshsdk.upstream.tls import Layer

_READ = 65536
_IN = select.POLLIN
_BOTH = select.POLLIN | select.POLLOUT


class SyncConnection:
    """Implements `Connection`."""

    __slots__ = ("_is_cut", "_poll", "_socket", "_timeout", "http", "layer", "lease")

    def __init__(self, sock: socket.socket, lease: Lease, http: Http) -> None:
        self._socket = sock
        self._is_cut = False
        """Of what was sent last the socket has only a part: nothing else may go out before the rest,
        as it would stand within a frame or a record."""
        self._poll = select.poll()
        self._poll.register(sock, _IN)
        self._timeout: float | None = None
        """What the kernel knows as SO_RCVTIMEO."""
        self.lease = lease
        self.http = http
        self.layer: Layer | None = None

    @property
    def socket(self) -> socket.socket:
        """The socket itself."""
        return self._socket

    def is_alive(self) -> bool:
        """An idle connection that is readable was closed, or got octets that nobody asked for."""
        return not self._poll.poll(0) or (self.http.keeps_talking and self._listen())

    def _listen(self) -> bool:
        """Take what came while the connection was idle; whether it still serves."""
        try:
            while self._poll.poll(0) and self.http.can_reuse:
                self.receive(0.0)
        except OSError:
            return False
        return self.http.can_reuse

    def close(self) -> None:
        """Close without a TLS goodbye: HTTP/1.1 says itself where a message ends."""
        self.http.close()
        with suppress(OSError):
            self._socket.close()

    def interrupt(self) -> None:
        """Wake the thread that waits on this connection: for it the peer is gone. Any thread."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # -- waiting ----------------------------------------------------------------------------

    def handshake(self, layer: Layer, left: Callable[[], float | None]) -> None:
        """Open TLS. `left`: seconds for all that is still to come; TimeoutError from it too.
        ssl.SSLError."""
        self.layer = layer
        timeout = left()
        try:
            layer.start()
            while not layer.is_open:
                self._send(layer.outgoing(), timeout)
                data = self._recv(timeout)
                if not data:
                    raise ConnectionResetError("the peer closed the connection in the handshake")
                layer.receive(data)
                timeout = left()
        finally:
            # Also what explains a refusal to the peer.
            with suppress(OSError):
                self._send(layer.outgoing(), timeout)

    def write(self, data: bytes, timeout: float | None, *, watch: bool) -> None:
        """Send it all, but stop where the answer is complete before."""
        layer = self.layer
        self._send(data if layer is None else layer.send(data), timeout)
        if watch and self._poll.poll(0):
            self.receive(0.0)

    def receive(self, timeout: float | None) -> None:
        """Wait for octets and feed them."""
        http = self.http
        if http.keeps_talking:
            self._speak(timeout)
        data = self._recv(timeout)
        layer = self.layer
        if layer is None:
            if data:
                http.receive(data)
            else:
                http.receive_eof()
        elif not data:
            http.receive_eof()
        else:
            plain = layer.receive(data)
            answer = b"" if self._is_cut else layer.outgoing()
            if plain:
                http.receive(plain)
            if layer.peer_closed:
                http.receive_eof()
            elif answer:
                self._send(answer, timeout)
        if http.keeps_talking:
            self._speak(timeout)

    def _speak(self, timeout: float | None) -> None:
        """Send what the protocol itself has to say."""
        if self._is_cut:
            return
        own, layer = self.http.outgoing(), self.layer
        if own:
            self._send(own if layer is None else layer.send(own), timeout)

    # -- the socket -------------------------------------------------------------------------

    def _recv(self, timeout: float | None) -> bytes:
        """One system call: the kernel waits, and the thread gives the interpreter away once."""
        if timeout != self._timeout:
            self._set_timeout(timeout)
        try:
            return self._socket.recv(_READ, socket.MSG_DONTWAIT if timeout == 0.0 else 0)
        except BlockingIOError:
            raise TimeoutError("no octet came in time") from None

    def _set_timeout(self, timeout: float | None) -> None:
        self._timeout = timeout
        # Zero is no limit to the kernel; `_recv` never waits then.
        micros = 0 if timeout is None else max(1, int(timeout * 1e6))
        value = struct.pack("ll", *divmod(micros, 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)

    def _send(self, data: bytes, timeout: float | None) -> None:
        if not data:
            return
        try:
            sent = self._socket.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise NotSentError(*error.args) from error
        if sent < len(data):
            self._send_rest(memoryview(data)[sent:], timeout)

    def _send_rest(self, data: memoryview, timeout: float | None) -> None:
        """The socket is full: let the answer in meanwhile, which may say that it is enough."""
        self._is_cut = True
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT if self.http.is_idle else _BOTH)
        while data:
            ready = poll.poll(None if timeout is None else timeout * 1e3)
            if not ready:
                raise TimeoutError("the peer takes no more octets")
            if ready[0][1] & select.POLLIN:
                self.receive(0.0)
                if self.http.is_complete or self.http.failure is not None:
                    self.http.can_reuse = False
                    return
            if ready[0][1] & ~select.POLLIN:
                with suppress(BlockingIOError):
                    data = data[self._socket.send(data, socket.MSG_DONTWAIT) :]
        self._is_cut = False


def open_socket(
    address: Address, timeout: float | None, keepalive: TcpKeepalive | None
) -> socket.socket:
    """A connected socket in blocking mode. OSError (TimeoutError too)."""
    if is_unix(address):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(address.host)
        except BaseException:
            sock.close()
            raise
    else:
        sock = socket.create_connection((address.host, address.port), timeout)
        set_options(sock, keepalive)
    sock.settimeout(None)
    return sock


def set_options(sock: socket.socket, keepalive: TcpKeepalive | None) -> None:
    """TCP options of an upstream connection."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if keepalive is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPCNT", keepalive.probes),
        ("TCP_KEEPIDLE", keepalive.time),
        ("TCP_KEEPINTVL", keepalive.interval),
    ):
        option: object = getattr(socket, name, None)
        if value is not None and isinstance(option, int):
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
