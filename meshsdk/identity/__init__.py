"""Who we are, whom we trust, and TLS that insists on both."""

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.identity.refusal import PeerRefusedError, Refusal
from meshsdk.identity.sources.files import CredentialFiles, FilesSource
from meshsdk.identity.sources.static import StaticSource
from meshsdk.identity.svid import Svid, TlsCertificate
from meshsdk.identity.trust_bundle import TrustBundle, TrustBundles
from meshsdk.identity.x509_context import IdentityStatus, SourceState, X509Context

__all__ = [
    "CredentialFiles",
    "FilesSource",
    "IdentityStatus",
    "PeerRefusedError",
    "Refusal",
    "SourceState",
    "SpiffeId",
    "StaticSource",
    "Svid",
    "TlsCertificate",
    "TrustBundle",
    "TrustBundles",
    "X509Context",
]
