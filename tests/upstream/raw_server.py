"""A server of scripted octets: each connection is one call of a plain function on a thread."""

import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

from meshsdk.call.address import Address

_LIMIT = 10.0


class Served:
    """One accepted connection, for its script."""

    def __init__(self, sock: socket.socket, number: int, server: "RawServer") -> None:
        sock.settimeout(_LIMIT)
        self.socket = sock
        self.number = number
        """0 for the first connection of the server."""
        self.server = server
        self._buffer = b""

    def head(self) -> bytes:
        """The next request head with its empty line; empty when the client has gone."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.recv()
            if not data:
                return b""
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        self.server.heads.append(head)
        return head + b"\r\n\r\n"

    def recv(self) -> bytes:
        """What came; empty at the end, also when the client reset the connection."""
        try:
            return self.socket.recv(65536)
        except (ConnectionError, TimeoutError, ssl.SSLError, OSError):
            return b""

    def body(self, length: int) -> bytes:
        """That many octets of a request body."""
        while len(self._buffer) < length:
            data = self.recv()
            if not data:
                break
            self._buffer += data
        found, self._buffer = self._buffer[:length], self._buffer[length:]
        return found

    def chunked_body(self) -> bytes:
        """A chunked request body."""
        found: list[bytes] = []
        while True:
            size = int(self._line(), 16)
            data = self.body(size + 2)[:size]
            if not size:
                return b"".join(found)
            found.append(data)

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            data = self.recv()
            if not data:
                raise ConnectionError("the client went")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def send(self, data: bytes) -> None:
        """Send octets."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close with RST."""
        linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()

    def wait_until_gone(self) -> bool:
        """Whether the client closed within the limit."""
        while True:
            try:
                if not self.socket.recv(65536):
                    return True
            except TimeoutError:
                return False
            except OSError:
                return True


Script = Callable[[Served], None]


class RawServer:
    """Listens on 127.0.0.1:0 until closed."""

    def __init__(self, script: Script, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self.connections = 0
        self.heads: list[bytes] = []
        self.errors: list[BaseException] = []
        self.gone = threading.Event()
        """Set by a script that saw its client go."""
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number, self.connections = self.connections, self.connections + 1
            thread = threading.Thread(target=self._serve, args=(sock, number), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, sock: socket.socket, number: int) -> None:
        self._sockets.append(sock)
        try:
            if self._context is not None:
                sock.settimeout(_LIMIT)
                sock = self._context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            self._script(Served(sock, number, self))
        except OSError as error:
            self.errors.append(error)
        finally:
            with suppress(OSError):
                sock.close()

    def close(self) -> None:
        """Stop listening, cut what is open, wait for the scripts."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_LIMIT)


@contextmanager
def serving(script: Script, context: ssl.SSLContext | None = None) -> Generator[RawServer]:
    """A server for the time of a block."""
    server = RawServer(script, context)
    try:
        yield server
    finally:
        server.close()


def answering(*answers: bytes, close: bool = False) -> Script:
    """Each request on a connection gets the next answer; then, or with `close`, it ends."""

    def script(served: Served) -> None:
        for answer in answers:
            if not served.head():
                return
            served.send(answer)
        if not close:
            served.head()

    return script


def forever(answer: bytes) -> Script:
    """Every request gets this answer, on every connection."""

    def script(served: Served) -> None:
        while served.head():
            served.send(answer)

    return script


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
