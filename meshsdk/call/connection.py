"""The connection on which a request came: facts, kept as long as it lives."""

from dataclasses import dataclass, field
from typing import Literal

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.spiffe_id import SpiffeId


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is on the other side. Only a verified certificate of this very connection gives an ID."""

    spiffe_id: SpiffeId | None = None
    certificate: Certificate | None = None
    physical: Address = UNKNOWN
    """The socket's peer: `direct_remote_ip`."""
    connection: Address = UNKNOWN
    """The peer that the connection speaks for (PROXY protocol); else the same: `source_ip`."""

    @property
    def namespace(self) -> str | None:
        """Namespace of an Istio-form ID; None for others and for plaintext."""
        return None if self.spiffe_id is None else self.spiffe_id.namespace

    @property
    def service_account(self) -> str | None:
        """Service account of an Istio-form ID; None for others and for plaintext."""
        return None if self.spiffe_id is None else self.spiffe_id.service_account


NOBODY = Peer()


@dataclass(frozen=True, slots=True)
class Connection:
    """What filter chains match on. A chain is found per request, in the newest plan."""

    local: Address
    peer: Peer = NOBODY
    transport_protocol: Literal["raw_buffer", "tls"] = "raw_buffer"
    server_name: str = ""
    """SNI, lower case; empty when none was sent."""
    application_protocols: tuple[str, ...] = ()
    """The ALPN list that the client *offered*; on plaintext what was sniffed."""
    tls_version: str = ""
    selected_alpn: str = ""
    local_uri_sans: tuple[str, ...] = ()
    """URI SANs of the certificate that we showed: `By=` of x-forwarded-client-cert."""
    joins_fields: bool = False
    """Whether its server joins repeated fields by commas before anybody sees them (WSGI)."""
    route_template: str = ""
    """Of the one request that is judged: the route that its application will take, where its adapter
    could tell (`/users/{id}`)."""
    state: dict[object, object] = field(default_factory=lambda: {}, compare=False, repr=False)
    """What filters keep as long as the connection lives, each under a key of its own."""

    @property
    def is_mtls(self) -> bool:
        """Whether the peer proved an identity by certificate."""
        return self.peer.certificate is not None
