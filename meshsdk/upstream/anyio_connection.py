"""One connection over an anyio stream: plainer than asyncio's own, and all that trio needs."""

import select
import socket
from contextlib import suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream, UNIXSocketStream

from meshsdk.upstream.connection import Lease
from meshsdk.upstream.http1 import Http1
from meshsdk.upstream.tls import Layer

_READ = 65536


class AnyioConnection:
    """Implements `Connection`. Used by one task at a time."""

    __slots__ = ("_poll", "_socket", "_stream", "http", "layer", "lease")

    def __init__(self, stream: SocketStream | UNIXSocketStream, lease: Lease) -> None:
        self._stream = stream
        self._socket: socket.socket = stream.extra(  # noqa: S610 - not Django's
            SocketAttribute.raw_socket
        )
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self.lease = lease
        self.http = Http1()
        self.layer: Layer | None = None

    @property
    def socket(self) -> socket.socket:
        """The socket under the stream."""
        return self._socket

    def is_alive(self) -> bool:
        """An idle connection that is readable was closed, or got octets that nobody asked for."""
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close at once; no task waits on the stream when this is called."""
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
        finally:
            last = layer.outgoing()
            if last:
                with suppress(OSError):
                    # Also what explains a refusal to the peer.
                    self._socket.send(last)

    async def write(self, data: bytes, within: float | None, *, watch: bool = False) -> None:
        """Send it all; `watch`: let in what the peer has sent meanwhile."""
        layer = self.layer
        with anyio.fail_after(within):
            await self._send(data if layer is None else layer.send(data))
        if watch and self._poll.poll(0):
            await self.receive(within)

    async def receive(self, within: float | None) -> None:
        """Wait for octets and feed them."""
        with anyio.fail_after(within):
            data = await self._recv()
        layer = self.layer
        if not data:
            self.http.receive_eof()
            return
        if layer is None:
            self.http.receive(data)
            return
        plain = layer.receive(data)
        answer = layer.outgoing()
        if plain:
            self.http.receive(plain)
        if layer.peer_closed:
            self.http.receive_eof()
        elif answer:
            await self._send(answer)

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionResetError(str(error.__cause__ or error)) from error

    async def _recv(self) -> bytes:
        try:
            return await self._stream.receive(_READ)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ConnectionResetError(str(error.__cause__ or error)) from error


async def open_stream(host: str, port: int) -> SocketStream | UNIXSocketStream:
    """A connected stream; `port` 0 is the path of a unix socket. OSError."""
    if port == 0:
        return await anyio.connect_unix(host)
    return await anyio.connect_tcp(host, port)
