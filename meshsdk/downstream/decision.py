"""What is done with an accepted connection, and who says so."""

import ssl
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from meshsdk.call.connection import Connection


@dataclass(frozen=True, slots=True)
class Close:
    """No chain takes it: closed before any byte reaches a server."""

    reason: str
    """For the log, never for the peer."""


@dataclass(frozen=True, slots=True)
class Plaintext:
    """It goes to the server as it is."""


@dataclass(frozen=True, slots=True)
class Tls:
    """A handshake with this context, one of `TlsContexts.server`; the server sees what it decrypts."""

    ssl_context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class Passthrough:
    """TLS that is the application's own affair."""


Decision: TypeAlias = Close | Plaintext | Tls | Passthrough


class Decider(Protocol):
    """Finds the filter chain of a connection in the newest plan. Asked on the server's own thread
    or event loop: it must not block."""

    def decide(self, connection: Connection, /) -> Decision:
        """What to do with a connection whose peer has no identity yet."""
        ...


class RefusedConnectionError(ssl.SSLError):
    """A connection that the mesh does not take. An `ssl.SSLError`, since that is what event loops
    and servers close quietly on."""
