"""Kubernetes Secrets with a certificate, served as `kubernetes://NAME` over SDS (FEED.md 2.5)."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.errors import IdentityError
from meshsdk.identity.svid import TlsCertificate

TLS: Final = "kubernetes.io/tls"
_ROOT: Final = fields("type", "data", "stringData", "immutable")
_CERTIFICATE: Final = "tls.crt"
_KEY: Final = "tls.key"
_ROOTS: Final = "ca.crt"


@dataclass(frozen=True, slots=True)
class TlsSecret:
    """A certificate with its key, PEM. `roots` verify its peers; empty where there are none."""

    metadata: Metadata
    certificate_chain: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    roots: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class OtherSecret:
    """A Secret that says nothing of the mesh. Its contents are not kept."""

    metadata: Metadata


def _parse(document: Document) -> TlsSecret | OtherSecret:
    root = document.root
    if root.string("type") != TLS:
        return OtherSecret(document.metadata)
    values = dict(root.string_map("stringData"))
    for name, text in root.string_map("data").items():
        if name in values:
            continue
        try:
            values[name] = base64.b64decode("".join(text.split()), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise root.error_at("data", f"expected base64 of PEM at {name}") from None
    chain, key = values.get(_CERTIFICATE, ""), values.get(_KEY, "")
    try:
        TlsCertificate.from_pem(chain.encode(), key.encode())
    except IdentityError as error:
        raise root.error(f"expected {_CERTIFICATE} and {_KEY} of one pair: {error}") from error
    return TlsSecret(document.metadata, chain, key, values.get(_ROOTS, ""))


KIND: Final = Kind("", "Secret", ("v1",), _parse, _ROOT)
