"""One connection that waits through anyio: plainer than asyncio's own, and all that trio needs."""

import select
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream, UNIXSocketStream

from meshsdk.upstream.connection import Http, Lease
from meshsdk.upstream.steps import NotSentError
from meshsdk.upstream.tls import Layer

_READ = 65536


class AnyioConnection:
    """Implements `Connection`. Used by one task at a time."""

    __slots__ = ("_is_cut", "_poll", "_socket", "_stream", "http", "layer", "lease")

    def __init__(self, stream: SocketStream | UNIXSocketStream, lease: Lease, http: Http) -> None:
        self._stream = stream  # it owns the socket
        self._socket: socket.socket = stream.extra(  # noqa: S610 - not Django's
            SocketAttribute.raw_socket
        )
        self._is_cut = False
        """As of `SyncConnection`."""
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.lease = lease
        self.http = http
        self.layer: Layer | None = None

    @property
    def socket(self) -> socket.socket:
        """The socket under the stream; it never blocks."""
        return self._socket

    def is_alive(self) -> bool:
        """An idle connection that is readable was closed, or got octets that nobody asked for."""
        return not self._poll.poll(0) or (self.http.keeps_talking and self._listen())

    def _listen(self) -> bool:
        """Take what came while the connection was idle; whether it still serves."""
        try:
            while self._poll.poll(0) and self.http.can_reuse:
                self._feed(self._socket.recv(_READ))
                answer = self._answer()
                if answer and self._socket.send(answer) < len(answer):
                    return False
        except OSError:
            return False
        return self.http.can_reuse

    def close(self) -> None:
        """Close at once; no task waits on the socket when this is called."""
        self.http.close()
        with suppress(OSError):
            self._socket.close()

    async def handshake(self, layer: Layer) -> None:
        """Open TLS. ssl.SSLError where TLS is the reason."""
        self.layer = layer
        try:
            layer.start()
            while not layer.is_open:
                await self._send(layer.outgoing())
                data = await self._recv()
                if not data:
                    raise ConnectionResetError("the peer closed the connection in the handshake")
                layer.receive(data)
            await self._send(layer.outgoing())
        except OSError:
            with suppress(OSError):
                self._socket.send(layer.outgoing())  # what explains a refusal to the peer
            raise

    async def write(self, data: bytes, within: float | None, *, watch: bool = False) -> None:
        """Send it all, but stop where the answer is complete before."""
        layer = self.layer
        with anyio.fail_after(within):
            await self._send(data if layer is None else layer.send(data))
        if watch and self._poll.poll(0):
            await self.receive(within)

    async def receive(self, within: float | None) -> None:
        """Wait for octets and feed them."""
        with anyio.fail_after(within):
            await self._send(self._answer())
            data = await self._recv()
        self._feed(data)
        layer = self.layer
        if data and (layer is None or not layer.peer_closed):
            await self._send(self._answer())

    def _feed(self, data: bytes) -> None:
        layer = self.layer
        if not data:
            self.http.receive_eof()
            return
        if layer is None:
            self.http.receive(data)
            return
        plain = layer.receive(data)
        if plain:
            self.http.receive(plain)
        if layer.peer_closed:
            self.http.receive_eof()

    def _answer(self) -> bytes:
        """What TLS and the protocol themselves have to say."""
        if self._is_cut:
            return b""
        layer, own = self.layer, self.http.outgoing()
        if layer is None:
            return own
        return layer.outgoing() + (layer.send(own) if own else b"")

    async def _recv(self) -> bytes:
        while True:
            try:
                return self._socket.recv(_READ)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise NotSentError(*error.args) from error
        if sent < len(data):
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, data: memoryview) -> None:
        """The socket is full: let the answer in meanwhile, which may say that it is enough."""
        self._is_cut = True
        while data:
            await self._until_ready()
            if not self.http.is_idle and self._poll.poll(0):
                await self.receive(None)
                if self.http.is_complete or self.http.failure is not None:
                    self.http.can_reuse = False
                    return
            with suppress(BlockingIOError):
                data = data[self._socket.send(data) :]
        self._is_cut = False

    async def _until_ready(self) -> None:
        """Until the socket takes octets, or has some of an answer."""
        async with anyio.create_task_group() as group:

            async def until(ready: Callable[[socket.socket], Awaitable[None]]) -> None:
                await ready(self._socket)
                group.cancel_scope.cancel()

            if not self.http.is_idle:
                group.start_soon(until, anyio.wait_readable)
            await until(anyio.wait_writable)


async def open_stream(host: str, port: int) -> SocketStream | UNIXSocketStream:
    """A connected stream; `port` 0 is the path of a unix socket. OSError."""
    if port == 0:
        return await anyio.connect_unix(host)
    return await anyio.connect_tcp(host, port)
