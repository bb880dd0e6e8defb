"""STRICT and PERMISSIVE on one port: the first bytes and the newest plan decide. Sans-IO."""

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.clock import Clock, SystemClock
from meshsdk.downstream.decision import Close, Decider, Decision
from meshsdk.downstream.sniff import sniff
from meshsdk.errors import MeshError, PeerError
from meshsdk.identity.tls_objects import Connected

_LOG = logging.getLogger("meshsdk.downstream")
_CLOCK = SystemClock()
_NOTED = 64  # reasons that are told at WARNING once each; what peers invent must not fill memory


def _as_it_is(address: Address) -> Address:
    return address


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision, and the facts that it rests on."""

    decision: Decision
    connection: Connection
    """Without an identity: that comes with the handshake."""


class Acceptor:
    """Decides what happens to accepted connections; how bytes move is its callers' business."""

    def __init__(
        self,
        decider: Decider,
        *,
        timeout: float = 10.0,
        limit: int = 16 * 1024,
        local: Callable[[Address], Address] = _as_it_is,
        clock: Clock = _CLOCK,
    ) -> None:
        """`timeout`: seconds in which the first bytes, and then the handshake, must come; `limit`:
        bytes of a ClientHello or of a request line; `local`: the address under which the
        configuration knows one of our sockets."""
        self.timeout = timeout
        self.limit = limit
        self.clock = clock
        self._decider = decider
        self._local = local
        self._noted: set[str] = set()

    def facts(self, local: Address, peer: Address) -> Connection:
        """A connection of which nothing is known but its addresses."""
        return Connection(self._local(local), Peer(physical=peer, connection=peer))

    def judge(self, data: bytes, local: Address, peer: Address = UNKNOWN) -> Judged | None:
        """What to do with a connection that begins like this; None: more bytes must come.

        Whatever goes wrong here closes the connection.
        """
        connection = self.facts(local, peer)
        try:
            found = sniff(data, self.limit)
        except PeerError as error:
            return Judged(Close(str(error)), connection)
        if found is None:
            return None
        connection = replace(
            connection,
            transport_protocol=found.transport_protocol,
            server_name=found.server_name,
            application_protocols=found.application_protocols,
        )
        return Judged(self._decide(connection), connection)

    def _decide(self, connection: Connection) -> Decision:
        try:
            return self._decider.decide(connection)
        except MeshError as error:  # no identity yet, or an expired one
            return Close(str(error))
        except Exception:
            _LOG.exception("the decision about a connection failed; it is closed")
            return Close("internal error")

    def closed(self, reason: str, local: Address) -> None:
        """Log that a connection was not taken: each reason loudly once, then for debugging only."""
        level = logging.DEBUG
        key = f"{local.port} {reason}"
        if key not in self._noted and len(self._noted) < _NOTED:
            self._noted.add(key)
            level = logging.WARNING
        _LOG.log(level, "refused a connection to port %d: %s", local.port, reason)


def established(connection: Connection, tls: ssl.SSLObject | ssl.SSLSocket) -> Connection:
    """The facts once a handshake has ended. An identity comes from nothing but our own TLS."""
    version = tls.version() or ""
    selected = tls.selected_alpn_protocol() or ""
    if not isinstance(tls, Connected):
        return replace(connection, tls_version=version, selected_alpn=selected)
    own = tls.own_certificate
    return replace(
        connection,
        peer=replace(connection.peer, spiffe_id=tls.peer_id, certificate=tls.peer_certificate),
        tls_version=version,
        selected_alpn=selected,
        local_uri_sans=() if own is None else own.uri_sans,
    )
