"""TLS of accepted connections over the event loop's plain transport.

The loops' own TLS would do, but for two things: asyncio's takes half as long again for each
message, and none of them can put what a server writes in one go (head, then body) into one record.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, cast

from meshsdk.identity.session import TlsSession

_LOG = logging.getLogger("meshsdk.downstream")
_MOST_CORKED: Final = 64 * 1024
"""Octets: what is held back at most before it is sent, so that flow control sees it."""
_MOST_UNREAD: Final = 4 * 1024
"""Octets: what TLS itself answers to a peer that reads nothing, on top of the full buffer."""
_LINGER: Final = 30.0  # asyncio's SSL_SHUTDOWN_TIMEOUT

OnOpen = Callable[["TlsTransport"], None]
OnFailure = Callable[[Exception], None]


class TlsTransport(asyncio.Transport, asyncio.Protocol):
    """The protocol of a plain transport, and the transport of a server's protocol.

    `on_open` is called when the handshake is over and the peer verified; it must set the protocol.
    `on_failure` when it failed, with the reason; or the connection was lost before.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        raw: asyncio.Transport,
        context: ssl.SSLContext,
        on_open: OnOpen,
        on_failure: OnFailure,
    ) -> None:
        super().__init__()
        self._loop = loop
        self._raw = raw
        self._context = context
        self._session = TlsSession(context, server_side=True)
        self._on_open = on_open
        self._on_failure = on_failure
        self._protocol: asyncio.BaseProtocol | None = None
        self._receive: Callable[[bytes], object] = _nowhere
        self._corked: list[bytes] | None = None
        self._corked_size = 0
        self._is_paused = False
        self._held = b""
        """Plain octets that came while the server did not read."""
        self._is_full = False
        """The plain transport asked us to stop writing."""
        self._unread = 0
        """Octets that TLS itself answered since."""
        self._is_closing = False
        self._lingers: asyncio.TimerHandle | None = None
        self._error: Exception | None = None

    # -- what the plain transport tells -----------------------------------------------------

    def data_received(self, data: bytes) -> None:
        session = self._session
        was_open = session.is_open
        try:
            plain = session.receive(data)
        except ssl.SSLError as error:
            self._fail(error)
            return
        outgoing = session.outgoing()
        if outgoing:
            self._raw.write(outgoing)
            if self._is_full and not self._bears(len(outgoing)):
                return
        if session.is_open and not was_open:
            self._on_open(self)
        if plain:
            if self._is_paused:
                self._held += plain
            elif not self._is_closing:
                self._receive(plain)
        if session.peer_closed and not self._is_closing:
            self._at_end()

    def _bears(self, answered: int) -> bool:
        """Each key update of TLS 1.3 may ask for one of ours: false where the peer reads none."""
        self._unread += answered
        if self._unread <= _MOST_UNREAD:
            return True
        self._error = ConnectionAbortedError("the peer asks TLS for answers that it does not read")
        _LOG.debug("a TLS connection broke: %s", self._error)
        self.abort()
        return False

    def _at_end(self) -> None:
        """The peer ended its session."""
        if self._held:
            return  # `_resume` comes here again
        eof_received = getattr(self._protocol, "eof_received", None)
        if eof_received is None or not eof_received():
            self.close()

    def _fail(self, error: Exception) -> None:
        """The handshake, or later a record, is not what it should be."""
        alert = self._session.outgoing()
        if alert:
            self._raw.write(alert)
        self._is_closing = True
        if self._session.is_open:
            _LOG.debug("a TLS connection broke: %s", error)
            self._error = error
        else:
            self._on_failure(error)
        self._close_raw()

    def _close_raw(self) -> None:
        """Close behind what is still to be sent; but not for a peer that takes none of it."""
        self._raw.close()
        self._linger(None)

    def _linger(self, before: int | None) -> None:
        left = self._raw.get_write_buffer_size()
        if before is not None and left >= before:
            _LOG.debug("a closed connection's peer reads nothing")
            self.abort()
        elif left:
            self._lingers = self._loop.call_later(_LINGER, self._linger, left)

    def eof_received(self) -> bool:
        """The socket ended; where no close_notify came before, perhaps too early."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        has_failed = self._is_closing
        self._is_closing = True
        if self._lingers is not None:
            self._lingers.cancel()
        self._receive = _nowhere
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(exc or self._error)
        elif not has_failed:
            self._on_failure(exc or ConnectionResetError("closed within the handshake"))

    def pause_writing(self) -> None:
        self._is_full = True
        if self._protocol is not None:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._is_full = False
        self._unread = 0
        if self._protocol is not None:
            self._protocol.resume_writing()

    # -- what the server asks for -----------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """As `asyncio.Transport.write`."""
        if self._is_closing:
            return
        corked = self._corked
        if corked is None:
            if data:
                self._send(data)
            return
        corked.append(data if type(data) is bytes else bytes(data))
        self._corked_size += len(data)
        if self._corked_size > _MOST_CORKED:
            self._flush(corked)

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        try:
            self._raw.write(self._session.send(data))
        except ssl.SSLError as error:
            self._fail(error)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """As `asyncio.Transport.writelines`."""
        self.write(b"".join(list_of_data))

    def cork(self) -> None:
        """Hold back what is written, up to 64 KiB, until `uncork`: it then goes out at once."""
        if self._corked is None:
            self._corked = []
            self._corked_size = 0

    def uncork(self) -> None:
        """Send what was held back."""
        corked, self._corked = self._corked, None
        if corked:
            self._flush(corked)

    def _flush(self, corked: list[bytes]) -> None:
        data = corked[0] if len(corked) == 1 else b"".join(corked)
        corked.clear()
        self._corked_size = 0
        if data:
            self._send(data)

    def write_eof(self) -> None:
        """TLS has no half of an end that asyncio's servers could use."""
        raise NotImplementedError("TLS connections cannot be closed in one direction")

    def can_write_eof(self) -> bool:
        """False: TLS."""
        return False

    def close(self) -> None:
        """Send what was written and close_notify, then close. The peer's own end is not awaited."""
        if self._is_closing:
            return
        self.uncork()
        self._is_closing = True
        self._held = b""
        with contextlib.suppress(ssl.SSLError):
            ending = self._session.end()
            if ending:
                self._raw.write(ending)
        self._close_raw()

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self._is_closing = True
        self._raw.abort()

    def is_closing(self) -> bool:
        """As `asyncio.Transport.is_closing`."""
        return self._is_closing or self._raw.is_closing()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As `asyncio.Transport.set_protocol`."""
        self._protocol = protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            self._receive = partial(feed, protocol)
        else:
            self._receive = cast("asyncio.Protocol", protocol).data_received

    def get_protocol(self) -> asyncio.BaseProtocol:
        """As `asyncio.Transport.get_protocol`; None before the handshake and after the end, as the
        loops' own have it."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def pause_reading(self) -> None:
        """As `asyncio.Transport.pause_reading`."""
        if not self._is_paused and not self._is_closing:
            self._is_paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        """As `asyncio.Transport.resume_reading`."""
        if self._is_paused and not self._is_closing:
            self._is_paused = False
            if self._held:
                self._loop.call_soon(self._resume)
            else:
                self._raw.resume_reading()

    def _resume(self) -> None:
        if self._is_paused or self._is_closing:
            return
        held, self._held = self._held, b""
        try:
            if held:
                self._receive(held)
            if self.is_closing():
                return
            if self._session.peer_closed:
                self._at_end()
                return
        except Exception as error:
            # As the loop does where it called the protocol itself.
            _LOG.exception("a server's protocol failed at what it had held back")
            self._error = error
            self.abort()
            return
        if not self._is_paused:
            self._raw.resume_reading()

    def is_reading(self) -> bool:
        """As `asyncio.Transport.is_reading`."""
        return not self._is_paused and not self._is_closing

    def get_write_buffer_size(self) -> int:
        """As `asyncio.Transport.get_write_buffer_size`."""
        return self._raw.get_write_buffer_size() + self._corked_size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """As `asyncio.Transport.get_write_buffer_limits`."""
        return self._raw.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As `asyncio.Transport.set_write_buffer_limits`."""
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: object = None) -> object:
        """As asyncio's TLS transports: `ssl_object`, `sslcontext`, `peercert`, `cipher`."""
        match name:
            case "ssl_object":
                return self._session.object
            case "sslcontext":
                return self._context
            case "peercert":
                return self._session.object.getpeercert()
            case "cipher":
                return self._session.object.cipher()
            case "compression":
                return self._session.object.compression()
            case _:
                found: object = self._raw.get_extra_info(name, default)
                return found

    @property
    def tls(self) -> ssl.SSLObject:
        """The session."""
        return self._session.object


def _nowhere(_data: bytes) -> None:
    """Octets for a protocol that is not there any more."""


def feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    """Give octets to a protocol of either kind."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        cast("asyncio.Protocol", protocol).data_received(data)
        return
    left = memoryview(data)
    while left:
        buffer = memoryview(protocol.get_buffer(len(left))).cast("B")
        count = min(len(buffer), len(left))
        buffer[:count] = left[:count]
        protocol.buffer_updated(count)
        left = left[count:]
