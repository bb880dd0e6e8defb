"""What a TLS context asks for, as values: the keys under which contexts are built and kept."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from meshsdk.call.certificate import Certificate
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.identity.svid import TlsCertificate
from meshsdk.identity.trust_bundle import TrustBundle, TrustBundles

TlsVersion = Literal["TLSv1_2", "TLSv1_3"]


class PeerMatcher(Hashable, Protocol):
    """Which verified certificates are allowed: Envoy's `match_typed_subject_alt_names`."""

    def __call__(self, certificate: Certificate, /) -> bool:
        """Whether this peer is allowed; it must not raise."""
        ...

    def describe(self) -> str:
        """For the refusal: `expected <this>`."""
        ...


@dataclass(frozen=True, slots=True)
class AnyPeer:
    """An empty SAN list: any peer whose chain verifies."""

    def __call__(self, _certificate: Certificate, /) -> bool:
        return True

    def describe(self) -> str:
        return "any identity"


ANY_PEER: Final = AnyPeer()


@dataclass(frozen=True, slots=True)
class ExactUris:
    """URI SANs: istiod's outbound list of service accounts."""

    uris: frozenset[str]

    def __call__(self, certificate: Certificate, /) -> bool:
        return not self.uris.isdisjoint(certificate.uri_sans)

    def describe(self) -> str:
        return _one_of(sorted(self.uris))


@dataclass(frozen=True, slots=True)
class UriPrefixes:
    """URI SAN prefixes: istiod's inbound `spiffe://<trust domain>/`."""

    prefixes: tuple[str, ...]

    def __call__(self, certificate: Certificate, /) -> bool:
        return any(uri.startswith(self.prefixes) for uri in certificate.uri_sans)

    def describe(self) -> str:
        return _one_of([f"{prefix}*" for prefix in self.prefixes])


@dataclass(frozen=True, slots=True)
class DnsNames:
    """A host name against DNS SANs, with one wildcard label in the SAN (RFC 6125, 6.4.3)."""

    names: tuple[str, ...]

    def __call__(self, certificate: Certificate, /) -> bool:
        return any(
            _dns_name_matches(san.lower(), name.lower())
            for name in self.names
            for san in certificate.dns_sans
        )

    def describe(self) -> str:
        return _one_of([f"DNS:{name}" for name in self.names])


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Allowed by one of these."""

    matchers: tuple[PeerMatcher, ...]

    def __call__(self, certificate: Certificate, /) -> bool:
        return any(matcher(certificate) for matcher in self.matchers)

    def describe(self) -> str:
        return _one_of([matcher.describe() for matcher in self.matchers])


def _dns_name_matches(san: str, name: str) -> bool:
    if not san.startswith("*."):
        return san == name
    _, dot, parent = name.partition(".")
    return bool(dot) and "." in parent and parent == san[2:]


def _one_of(items: list[str]) -> str:
    shown = ", ".join(items[:8])
    more = f" and {len(items) - 8} more" if len(items) > 8 else ""
    return f"{'one of ' if len(items) > 1 else ''}{shown}{more}"


@dataclass(frozen=True, slots=True)
class SvidChoice:
    """Present an SVID of our own identity (SDS `default`): by hint or ID where there are several."""

    hint: str = ""
    spiffe_id: SpiffeId | None = None


OUR_SVID: Final = SvidChoice()


@dataclass(frozen=True, slots=True)
class SpiffeTrust:
    """The peer must have an X509-SVID that a root of its own trust domain signed.

    `bundles` None: those of our `X509Context` (SDS `ROOTCA`); else inline ones of the TLS context.
    `trust_domains`: those that the feed itself names, for which a flat bundle counts.
    """

    trust_domains: frozenset[str] = frozenset()
    bundles: TrustBundles | None = None


@dataclass(frozen=True, slots=True)
class CaTrust:
    """The peer must have a certificate that one of these signed: Envoy's `trusted_ca`.

    It need not be an SVID, and never counts as a SPIFFE identity. `bundle` None: the system's
    roots (`file-root:system`).
    """

    bundle: TrustBundle | None


@dataclass(frozen=True, slots=True)
class Validation:
    """Envoy's CertificateValidationContext: all that is given must hold."""

    trust: SpiffeTrust | CaTrust
    allowed: PeerMatcher = ANY_PEER
    certificate_sha256: frozenset[str] = frozenset()
    """verify_certificate_hash: lower-case hex without colons."""
    spki_sha256: frozenset[str] = frozenset()
    """verify_certificate_spki: base64. With both lists a match in either is enough."""


@dataclass(frozen=True, slots=True)
class TlsParams:
    """What client and server contexts share. Names as in Envoy; empty means OpenSSL's default.

    `certificate` None: we present none. `minimum_version` below TLSv1_2 does not exist here.
    """

    certificate: SvidChoice | TlsCertificate | None = OUR_SVID
    validation: Validation | None = None
    alpn: tuple[str, ...] = ()
    minimum_version: TlsVersion = "TLSv1_2"
    maximum_version: TlsVersion = "TLSv1_3"
    cipher_suites: tuple[str, ...] = ()
    """TLS 1.2 suites, OpenSSL names, `[A|B]` an equal-preference group (its order is kept)."""
    ecdh_curves: tuple[str, ...] = ()
    require_client_certificate: bool = False
    """Servers only; False with a validation: a certificate that is presented must verify."""
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Looked up on every attempt: hashed once.
        key = (
            self.certificate,
            self.validation,
            self.alpn,
            self.minimum_version,
            self.maximum_version,
            self.cipher_suites,
            self.ecdh_curves,
            self.require_client_certificate,
        )
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash
