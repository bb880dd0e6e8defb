"""The SSLContext that servers are given: each connection is looked at first, then decided.

For servers that take an SSLContext and know nothing of a mesh. Under asyncio and uvloop
`capture.py` takes its place, which also knows addresses and keeps plaintext off the TLS layer.
"""

import socket
import ssl
from typing import Self, cast

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.downstream.acceptor import Acceptor, established
from meshsdk.downstream.decision import Close, RefusedConnectionError, Tls
from meshsdk.downstream.sockets import accept, is_listening, listening

_NONE_OF_PLAINTEXT = frozenset(
    {"cipher", "compression", "version", "selected_alpn_protocol", "getpeercert"}
)


class MeshServerContext(ssl.SSLContext):
    """Delegates each connection to what its acceptor decides; always the newest decision.

    Loading certificates into this object, or setting its ALPN, changes nothing.
    """

    acceptor: Acceptor
    local: Address | None

    def __new__(cls, acceptor: Acceptor, *, local: Address | None = None) -> Self:
        """`local`: the address of the socket, for event loops, which do not tell it. Without it
        only `wrap_socket` and `capture.py` can use this context."""
        self = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        self.acceptor = acceptor
        self.local = local
        return self

    def __init__(self, acceptor: Acceptor, *, local: Address | None = None) -> None:
        # What servers look at; with less they would not ask who verified the peer.
        self.verify_mode = ssl.CERT_REQUIRED

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """For event loops. Their own handshake timeout bounds slow peers."""
        if self.local is None:
            raise RefusedConnectionError(
                "MeshServerContext was not told which address it serves: give it local="
            )
        return cast("ssl.SSLObject", SniffingObject(self, self.local, incoming, outgoing))

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """For threads. Blocks until the handshake has ended, whatever `do_handshake_on_connect`
        says: nobody then forgets it. A refused connection raises ConnectionResetError or
        `ssl.SSLError`. Of a listening socket (werkzeug) each accepted connection is wrapped."""
        wrapped = (
            listening(sock, self.acceptor) if is_listening(sock) else accept(sock, self.acceptor)
        )
        return cast("ssl.SSLSocket", wrapped)

    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        """Ignored: the chain's TLS settings say what is answered."""


class SniffingObject:
    """An `ssl.SSLObject` by its methods, of which the first bytes make TLS or plaintext.

    uvloop keeps bound `read` and `write` from before the handshake: they decide at each call.
    """

    server_side = True
    server_hostname = None
    session = None
    session_reused = None

    def __init__(
        self,
        context: MeshServerContext,
        local: Address,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
    ) -> None:
        self.context = context
        self.mesh_connection: Connection | None = None
        """The connection's facts, once its handshake has ended."""
        self._local = local
        self._incoming = incoming
        self._outgoing = outgoing
        self._held = b""
        """Bytes that were read to look at them."""
        self._facts: Connection | None = None
        self._tls: ssl.SSLObject | None = None
        self._refusal: RefusedConnectionError | None = None

    @property
    def established(self) -> ssl.SSLObject | None:
        """The TLS beneath; None on plaintext."""
        return self._tls

    def do_handshake(self) -> None:
        """As `ssl.SSLObject.do_handshake`; RefusedConnectionError where no chain takes it."""
        if self._refusal is not None:
            raise self._refusal
        if self._facts is None:
            self._facts = self._look()
        if self._tls is None:
            self.mesh_connection = self._facts
        elif self.mesh_connection is None:
            self._tls.do_handshake()
            self.mesh_connection = established(self._facts, self._tls)

    def _look(self) -> Connection:
        self._held += self._incoming.read()
        acceptor = self.context.acceptor
        judged = acceptor.judge(self._held, self._local)
        if judged is None:
            if self._incoming.eof:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed before it said anything")
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the first bytes are not complete")
        match judged.decision:
            case Close(reason=reason):
                acceptor.closed(reason, self._local)
                self._refusal = RefusedConnectionError(reason)
                raise self._refusal
            case Tls(ssl_context=context):
                self._incoming.write(self._held)
                self._held = b""
                self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            case _:  # TLS of the application's own is as opaque as plaintext
                pass
        return judged.connection

    def _insist(self) -> None:
        # A caller that skips do_handshake() must not walk past the decision.
        if self.mesh_connection is None:
            self.do_handshake()

    def read(self, len: int = 16384, buffer: bytearray | None = None) -> bytes | int:  # noqa: A002 -- ssl's name
        """As `ssl.SSLObject.read`."""
        self._insist()
        if self._tls is not None:
            return self._tls.read(len) if buffer is None else self._tls.read(len, buffer)
        data = self._plaintext(len if buffer is None else min(len, memoryview(buffer).nbytes))
        if buffer is None:
            return data
        count = memoryview(data).nbytes
        memoryview(buffer)[:count] = data
        return count

    def _plaintext(self, count: int) -> bytes:
        if self._held:
            data, self._held = self._held[:count], self._held[count:]
            return data
        if not self._incoming.pending and not self._incoming.eof:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "no plaintext yet")
        return self._incoming.read(count)

    def write(self, data: bytes) -> int:
        """As `ssl.SSLObject.write`."""
        self._insist()
        return self._outgoing.write(data) if self._tls is None else self._tls.write(data)

    def pending(self) -> int:
        """As `ssl.SSLObject.pending`: uvloop reads nothing that is not counted here."""
        return len(self._held) if self._tls is None else self._tls.pending()

    def unwrap(self) -> None:
        """As `ssl.SSLObject.unwrap`; plaintext has no such end."""
        if self._tls is not None:
            self._tls.unwrap()

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._tls is not None:
            value: object = getattr(self._tls, name)
            return value
        if name in _NONE_OF_PLAINTEXT:
            return _none
        raise AttributeError(name)


def _none(*_arguments: object) -> None:
    """What TLS would say of a plaintext connection."""
