"""One connection on an asyncio event loop, uvloop too: callbacks in, one future at a time out."""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from meshsdk.upstream.connection import Http, Lease
from meshsdk.upstream.http1 import HIGH_WATER
from meshsdk.upstream.steps import NotSentError
from meshsdk.upstream.tls import Layer


class AioConnection(asyncio.BufferedProtocol):
    """Implements `Connection`. TLS is spoken here, not by the loop: one callback per read."""

    __slots__ = (
        "_buffer",
        "_fires",
        "_handshake",
        "_is_full",
        "_is_lost",
        "_is_paused",
        "_loop",
        "_timer",
        "_transport",
        "_unread",
        "_until",
        "_waiter",
        "http",
        "layer",
        "lease",
        "on_lost",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        buffer: memoryview,
        layer: Layer | None,
        lease: Lease,
        http: Http,
    ) -> None:
        """`buffer` may be shared by all connections of a loop: what comes is used at once."""
        self._loop = loop
        self._buffer = buffer
        self._transport: asyncio.Transport | None = None
        self._is_lost = False
        self._is_full = False
        """The transport asked us to stop writing."""
        self._unread = 0
        """Octets that TLS and the protocol themselves have said since."""
        self._is_paused = False
        """We asked the transport to stop reading."""
        self._waiter: asyncio.Future[None] | None = None
        self._until: float | None = None
        self._timer: asyncio.Handle | None = None  # uvloop's cannot tell its time
        self._fires = 0.0
        self._handshake: BaseException | None = None
        self.http = http
        self.layer = layer
        self.lease = lease
        self.on_lost: Callable[[], None] | None = None
        """Told when the socket closed, whoever closed it."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """The transport itself; None before the connection was made."""
        return self._transport

    def is_alive(self) -> bool:
        """What comes unasked closes an idle connection at once, so this is all to look at."""
        return not self._is_lost and self.http.can_reuse

    def close(self) -> None:
        """Close at once, also with octets in flight."""
        self._is_lost = True
        self.http.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None and not self._loop.is_closed():
            self._transport.abort()

    # -- callbacks --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = stream = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        if self.layer is not None:
            self.layer.start()
            stream.write(self.layer.outgoing())

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the loop puts what comes; it calls `buffer_updated` before it reads again."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Octets came."""
        data = self._buffer[:nbytes].tobytes()
        layer, http = self.layer, self.http
        if layer is not None:
            try:
                data = layer.receive(data)
            except ssl.SSLError as error:
                self._tls_failed(error)
                return
            answer = layer.outgoing()
            if answer:
                self._say(answer)
            if layer.peer_closed and not data:
                self.eof_received()
                return
            if not data:
                if layer.is_open and http.is_idle:
                    self._wake()  # the handshake is over
                return
        if http.keeps_talking:
            http.receive(data)
            self._speak()
            if http.is_idle and not http.can_reuse:
                self.close()
        elif http.is_idle:
            self.close()  # octets that belong to no request of ours
            return
        else:
            http.receive(data)
        if http.size > HIGH_WATER and not self._is_paused and not http.keeps_talking:
            self._is_paused = True
            assert self._transport is not None
            self._transport.pause_reading()
        self._wake()
        if layer is not None and layer.peer_closed:
            self.eof_received()

    def _speak(self) -> None:
        """Send what the protocol itself has to say."""
        own, layer = self.http.outgoing(), self.layer
        if own and not self._is_lost:
            self._say(own if layer is None else layer.send(own))

    def _say(self, data: bytes) -> None:
        """Nobody waits for this to be sent, so a peer that asks for it and reads nothing ends the
        connection before it fills the memory."""
        transport = self._transport
        if transport is None:
            return
        transport.write(data)
        if self._is_full:
            self._unread += len(data)
            if self._unread > HIGH_WATER:
                self._is_lost = True
                self.http.receive_eof(
                    ConnectionAbortedError("the peer asks for answers that it does not read")
                )
                transport.abort()
                self._wake()

    def _tls_failed(self, error: ssl.SSLError) -> None:
        layer = self.layer
        assert layer is not None
        if self._transport is not None:
            with suppress(ssl.SSLError):
                # The alert that tells the peer why.
                self._transport.write(layer.outgoing())
            self._transport.close()
        self._is_lost = True
        if not layer.is_open:
            self._handshake = error
        self.http.receive_eof(error)
        self._wake()

    def eof_received(self) -> bool:
        """The peer sends no more; we close too."""
        self._is_lost = True
        self._handshake = self._handshake or ConnectionResetError(
            "the peer closed the connection in the handshake"
        )
        self.http.receive_eof()
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._is_lost = True
        self._handshake = self._handshake or exc or ConnectionResetError("connection closed")
        self.http.receive_eof(exc)
        if self.on_lost is not None:
            self.on_lost()
        self._wake()

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._is_full = True

    def resume_writing(self) -> None:
        """The transport's buffer has room again."""
        self._is_full = False
        self._unread = 0
        self._wake()

    # -- waiting ----------------------------------------------------------------------------

    async def open_layer(self) -> None:
        """Wait until TLS is open. OSError: ssl.SSLError where TLS is the reason."""
        layer = self.layer
        while layer is not None and not layer.is_open:
            if self._is_lost:
                raise self._handshake or ConnectionResetError("connection closed")
            await self._wait(None)

    async def write(self, data: bytes, within: float | None) -> None:
        """Send, and wait while the buffer is full, unless the answer is complete before."""
        transport, layer = self._transport, self.layer
        if self._is_lost or transport is None or transport.is_closing():
            raise NotSentError("the connection was closed")
        transport.write(data if layer is None else layer.send(data))
        if self._is_full:
            await self._drain(within)

    async def _drain(self, within: float | None) -> None:
        http = self.http
        until = None if within is None else self._loop.time() + within
        while self._is_full:
            if http.is_complete or http.failure is not None:
                http.can_reuse = False  # some of the request is still here
                return
            await self._wait(until)

    async def receive(self, within: float | None) -> None:
        """Wait until something has come."""
        http = self.http
        if self._is_paused:
            self._is_paused = False
            if not self._is_lost and self._transport is not None:
                self._transport.resume_reading()
        if http.keeps_talking:
            self._speak()
        has_news = http.chunks and not http.has_backlog
        if not has_news and not http.is_complete and http.failure is None:
            await self._wait(None if within is None else self._loop.time() + within)

    async def _wait(self, until: float | None) -> None:
        """Until the next wake-up. TimeoutError at `until`, on the loop's clock."""
        waiter = self._waiter = self._loop.create_future()
        self._until = until
        if until is not None:
            timer = self._timer
            if timer is None:
                self._fire_at(until)
            elif self._fires > until:
                timer.cancel()
                self._fire_at(until)
        try:
            await waiter
        finally:
            self._waiter = None
            self._until = None

    def _fire_at(self, when: float) -> None:
        self._fires = when
        self._timer = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        """One timer serves all waits of a connection: it is moved only when it fires too early."""
        self._timer = None
        until, waiter = self._until, self._waiter
        if until is None or waiter is None:
            return
        if self._loop.time() < until:
            self._fire_at(until)
        elif not waiter.done():
            waiter.set_exception(TimeoutError("nothing happened in time"))

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
