"""What a peer's certificate says, as far as routing, policy and headers need it."""

import base64
import math
from dataclasses import dataclass, field
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Certificate:
    """A peer's leaf certificate, verified in the handshake that it came with.

    `subject` is in RFC 2253 form as Envoy prints it, `sha256` lower-case hex of `der`,
    `not_after` seconds since the epoch.
    """

    uri_sans: tuple[str, ...] = ()
    dns_sans: tuple[str, ...] = ()
    subject: str = ""
    sha256: str = ""
    der: bytes = field(default=b"", repr=False)
    ip_sans: tuple[str, ...] = ()
    email_sans: tuple[str, ...] = ()
    not_after: float = math.inf

    @property
    def pem(self) -> str:
        """PEM text with lines of 64 characters and a final newline."""
        body = base64.b64encode(self.der).decode("ascii")
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join(("-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""))

    @property
    def url_encoded_pem(self) -> str:
        """The PEM as x-forwarded-client-cert carries it (Envoy: only unreserved stay bare)."""
        return quote(self.pem, safe="")
