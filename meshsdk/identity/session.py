"""One TLS session over memory BIOs: the record layer without a socket."""

import contextlib
import ssl
from typing import Final

_RECORD: Final = 16384
"""Octets: the most that one TLS record carries."""
_PIECE: Final = 16 * _RECORD
"""Octets: what is put into a BIO at most, which never gives back the memory it once took."""
# Only after `is_open`, when the peer was verified: MeshSSLObject's own check would run once more.
_read = ssl.SSLObject.read
_write = ssl.SSLObject.write


class TlsSession:
    """Octets of a socket in, plain octets out, and the other way round. Nothing passes before the
    handshake is over, which for contexts of `TlsContexts` means that the peer is verified."""

    __slots__ = ("_in", "_out", "is_open", "object", "peer_closed")

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
    ) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.is_open = False
        """The handshake is over and the peer is verified."""
        self.peer_closed = False
        """The peer ended the session (close_notify)."""
        self.object = context.wrap_bio(
            self._in, self._out, server_side=server_side, server_hostname=server_hostname
        )

    def start(self) -> None:
        """Begin the handshake, or go on with it. ssl.SSLError: it failed."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.is_open = True

    def receive(self, data: bytes) -> bytes:
        """What the socket gave; the plain octets in it. ssl.SSLError: the connection is over."""
        incoming, session = self._in, self.object
        incoming.write(data)
        if not self.is_open:
            self.start()
            if not self.is_open:
                return b""
        parts: list[bytes] = []
        try:
            # A read takes a whole record, so nothing stays inside the session.
            while incoming.pending:
                plain = _read(session, _RECORD)
                if not plain:
                    self.peer_closed = True
                    break
                parts.append(plain)
        except ssl.SSLWantReadError:
            pass  # half a record, or one that carries no data (a session ticket)
        except ssl.SSLZeroReturnError:
            self.peer_closed = True
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes | bytearray | memoryview) -> bytes:
        """Octets for the socket that carry `data`."""
        if not self.is_open:
            raise ssl.SSLError("the handshake is not over")
        if len(data) <= _RECORD:
            _write(self.object, data)
            return self._out.read()
        parts: list[bytes] = []
        octets, sent = memoryview(data).cast("B"), 0
        while sent < len(octets):
            sent += _write(self.object, octets[sent : sent + _PIECE])
            parts.append(self._out.read())
        return b"".join(parts)

    def outgoing(self) -> bytes:
        """Octets that the handshake or the protocol itself has for the socket."""
        return self._out.read() if self._out.pending else b""

    def end(self) -> bytes:
        """Octets for the socket that end our side of the session (close_notify)."""
        if self.is_open:
            # Raises as long as the peer's own end has not come; nobody waits for that.
            with contextlib.suppress(ssl.SSLError):
                self.object.unwrap()
        return self.outgoing()
