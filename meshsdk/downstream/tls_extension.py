"""The ASGI TLS extension: who the peer is, for frameworks that know no mesh.

Source: ASGI documentation, "TLS Extension", version 0.2.
"""

import ssl
from functools import cache
from typing import Final

from meshsdk.call.connection import Connection
from meshsdk.identity.tls_objects import Connected

_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}


def tls_extension(connection: Connection, tls: ssl.SSLObject | None) -> dict[str, object]:
    """`scope["extensions"]["tls"]` of a connection.

    `client_cert_name` is the SPIFFE ID where the peer proved one, else its subject.
    """
    peer, own = connection.peer, None
    cipher: int | None = None
    if tls is not None:
        own = tls.own_certificate if isinstance(tls, Connected) else None
        found = tls.cipher()
        cipher = None if found is None else _cipher_suites().get(found[0])
    certificate = peer.certificate
    name = None if certificate is None else str(peer.spiffe_id or certificate.subject)
    return {
        "server_cert": None if own is None else own.pem,
        "client_cert_chain": () if certificate is None else (certificate.pem,),
        "client_cert_name": name,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.tls_version),
        "cipher_suite": cipher,
    }


@cache
def _cipher_suites() -> dict[str, int]:
    """IANA numbers by OpenSSL's names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL")
    return {cipher["name"]: cipher["id"] & 0xFFFF for cipher in context.get_ciphers()}
