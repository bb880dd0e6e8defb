"""The protocol that holds an accepted connection until it may speak to the server's own."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from meshsdk.call.address import UNKNOWN
from meshsdk.call.connection import Connection
from meshsdk.downstream.acceptor import Acceptor, Judged, established
from meshsdk.downstream.address import address_of
from meshsdk.downstream.decision import Close, Passthrough, Plaintext, Tls
from meshsdk.downstream.tls_transport import TlsTransport, feed

_LOG = logging.getLogger("meshsdk.downstream")
_NO_OWN_TLS: Final = "TLS that is the application's own, but its server has none"


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """A connection that may speak."""

    transport: asyncio.Transport
    connection: Connection
    client: tuple[str, int] | None
    server: tuple[str, int] | None
    tls: ssl.SSLObject | None
    data: bytes
    """What came before."""

    def deliver(self, protocol: asyncio.BaseProtocol) -> None:
        """Make it the server's own."""
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if self.data:
            feed(protocol, self.data)


HandOver: TypeAlias = Callable[[Handover], None]


class Sniffing(asyncio.Protocol):
    """One connection, from its first byte to the decision, and through the handshake."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        acceptor: Acceptor,
        hand_over: HandOver,
        app_tls: ssl.SSLContext | None,
        waiting: "set[Sniffing]",
    ) -> None:
        self._loop = loop
        self._acceptor = acceptor
        self._hand_over = hand_over
        self._app_tls = app_tls
        self._waiting = waiting
        self._data = b""
        self._tls: TlsTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._client = _names(transport.get_extra_info("peername"))
        self._server = _names(transport.get_extra_info("sockname"))
        self._local = address_of(transport.get_extra_info("sockname"))
        self._peer = address_of(transport.get_extra_info("peername"))
        self._waiting.add(self)
        timeout = self._acceptor.timeout
        self._deadline = self._loop.time() + timeout
        self._timer = self._loop.call_later(timeout, self._too_slow)

    def data_received(self, data: bytes) -> None:
        self._data += data
        judged = self._acceptor.judge(self._data, self._local, self._peer)
        if judged is not None:
            self._act(judged)

    def _act(self, judged: Judged) -> None:
        match judged.decision:
            case Close(reason=reason):
                self._acceptor.closed(reason, self._local)
                self.abort()
            case Tls(ssl_context=context):
                self._secure(judged.connection, context)
            case Plaintext() | Passthrough() if self._app_tls is not None:
                # A server with TLS of its own never speaks plaintext.
                self._secure(judged.connection, self._app_tls)
            case Plaintext():
                self._done()
                self._hand_over(self._handover(self._transport, judged.connection, self._data))
            case Passthrough():
                self._acceptor.closed(_NO_OWN_TLS, self._local)
                self.abort()

    def _secure(self, connection: Connection, context: ssl.SSLContext) -> None:
        """The handshake: it has the rest of the time."""
        self._connection = connection
        self._tls = TlsTransport(self._loop, self._transport, context, self._opened, self._failed)
        self._transport.set_protocol(self._tls)
        self._tls.data_received(self._data)

    def _failed(self, error: Exception) -> None:
        self._done()
        _LOG.debug("handshake on port %d failed: %s", self._local.port, error)

    def _opened(self, transport: TlsTransport) -> None:
        self._done()
        connection = established(self._connection, transport.tls)
        try:
            self._hand_over(self._handover(transport, connection, b"", transport.tls))
        except Exception:
            _LOG.exception("a server's protocol failed at its first bytes")
            transport.abort()

    def _handover(
        self,
        transport: asyncio.Transport,
        connection: Connection,
        data: bytes,
        tls: ssl.SSLObject | None = None,
    ) -> Handover:
        return Handover(transport, connection, self._client, self._server, tls, data)

    def _too_slow(self) -> None:
        _LOG.debug("no first bytes on port %d in time", self._local.port)
        self.abort()

    def abort(self) -> None:
        """End it now; nothing of it has reached a server."""
        self._done()
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done()

    def _done(self) -> None:
        self._timer.cancel()
        self._waiting.discard(self)


class SniffingServer(asyncio.AbstractServer):
    """A loop's server whose end is also that of connections that no server protocol has yet."""

    def __init__(self, server: asyncio.Server, waiting: set[Sniffing]) -> None:
        self._server = server
        self._waiting = waiting

    def close(self) -> None:
        """As the loop's server does."""
        self._server.close()
        for sniffing in list(self._waiting):
            sniffing.abort()

    async def wait_closed(self) -> None:
        """As the loop's server does."""
        await self._server.wait_closed()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """As the loop's server does."""
        return self._server.get_loop()

    def is_serving(self) -> bool:
        """As the loop's server does."""
        return self._server.is_serving()

    async def start_serving(self) -> None:
        """As the loop's server does."""
        await self._server.start_serving()

    async def serve_forever(self) -> None:
        """As the loop's server does."""
        with contextlib.closing(self):
            await self._server.serve_forever()

    def __getattr__(self, name: str) -> object:
        value: object = getattr(self._server, name)
        return value


def _names(name: object) -> tuple[str, int] | None:
    address = address_of(name)
    return None if address is UNKNOWN else (address.host, address.port)
