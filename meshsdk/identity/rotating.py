"""One SSLContext for stacks that keep what they are given: each connection gets the newest."""

import socket
import ssl
from collections.abc import Callable
from typing import Self


class RotatingContext(ssl.SSLContext):
    """Delegates each connection to the context that `current` gives then, TLS settings and all.

    `current` may raise `IdentityError`, as `TlsContexts.server` does: then that connection fails.
    Loading certificates into this object, or setting ALPN as httpcore does, changes nothing.
    """

    _current: Callable[[], ssl.SSLContext]

    def __new__(cls, current: Callable[[], ssl.SSLContext], *, server: bool) -> Self:
        protocol = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
        self = super().__new__(cls, protocol)
        self._current = current
        return self

    def __init__(self, current: Callable[[], ssl.SSLContext], *, server: bool) -> None:
        self.check_hostname = False
        # What stacks look at; with OPTIONAL they would not ask who verified the peer.
        self.verify_mode = ssl.CERT_REQUIRED

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """A session is dropped: nothing is resumed."""
        return self._current().wrap_bio(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname
        )

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """A session is dropped: nothing is resumed."""
        return self._current().wrap_socket(
            sock,
            server_side=server_side,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=server_hostname,
        )

    def set_alpn_protocols(self, alpn_protocols: object) -> None:
        """Ignored: the TLS settings say what is offered."""
