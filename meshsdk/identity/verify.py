"""Judging a peer inside the handshake: the chain that OpenSSL verified, by SPIFFE's rules.

OpenSSL checks signatures, times, purposes and constraints against all roots that may count here.
What it cannot know is checked on the chain that it verified: which root may speak for which trust
domain, what a leaf may be, and who is allowed.
"""

import base64
import hashlib
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshsdk.call.certificate import Certificate
from meshsdk.call.spiffe_id import SpiffeId, shown
from meshsdk.identity.leaf import read_certificate, svid_id
from meshsdk.identity.refusal import Fault, PeerRefusedError, Refusal
from meshsdk.identity.revocation import RevocationLists
from meshsdk.identity.tls_params import CaTrust, Validation
from meshsdk.identity.trust_bundle import TrustBundle
from meshsdk.identity.x509_context import X509Context

Chain = tuple[bytes, ...]
"""DER, leaf first."""


@dataclass(frozen=True, slots=True)
class PeerTrust:
    """Why a peer was believed: its trust domain and the SHA-256 of the anchor that verified it."""

    trust_domain: str
    anchor: bytes

    def holds_in(self, identity: X509Context) -> bool:
        """Whether the anchor is still there; if not the connection ends in 30 s (THREATS T5)."""
        bundle = identity.bundles.for_trust_domains((self.trust_domain,)).get(self.trust_domain)
        roots = bundle.roots if bundle else ()
        return any(hashlib.sha256(root).digest() == self.anchor for root in roots)


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """The peer of a finished handshake.

    `spiffe_id` None: under `CaTrust`. `trust` None: not verified by our own `X509Context`.
    """

    certificate: Certificate
    spiffe_id: SpiffeId | None
    trust: PeerTrust | None


@dataclass(frozen=True, slots=True)
class Verifier:
    """One snapshot of whom to believe; shared by all handshakes of one context."""

    validation: Validation
    bundles: Mapping[str, TrustBundle]
    """By trust domain; empty for `CaTrust`."""
    anchors: Mapping[str, frozenset[bytes]]
    revocation: Mapping[str, RevocationLists | None]
    """By trust domain; under `""` for `CaTrust`."""
    now: Callable[[], float]
    """Seconds since the epoch, for revocation lists only: the rest is OpenSSL's clock."""

    @classmethod
    def of(
        cls,
        validation: Validation,
        bundles: Mapping[str, TrustBundle],
        now: Callable[[], float],
    ) -> Self:
        """`bundles`: those that count in this context, by trust domain."""
        trust = validation.trust
        listed = dict(bundles)
        if isinstance(trust, CaTrust) and trust.bundle is not None:
            listed = {"": trust.bundle}
        return cls(
            validation,
            MappingProxyType(dict(bundles)),
            MappingProxyType({name: frozenset(each.roots) for name, each in bundles.items()}),
            MappingProxyType({name: RevocationLists.of(each) for name, each in listed.items()}),
            now,
        )

    def check(self, chain: Chain | None) -> VerifiedPeer:
        """The peer of a chain that OpenSSL verified. Raises `PeerRefusedError`.

        None: OpenSSL resumed a session and verified nothing (THREATS T1).
        """
        if not chain:
            raise PeerRefusedError(
                Fault(
                    Refusal.RESUMED,
                    "a resumed session has no verified chain",
                    expected="a full handshake",
                    found="a resumed session",
                )
            )
        try:
            leaf = x509.load_der_x509_certificate(chain[0])
            certificate = read_certificate(leaf, chain[0])
            outcome = self._judge(chain, leaf, certificate)
        except ValueError as error:
            raise PeerRefusedError(
                Fault(Refusal.UNREADABLE, f"the certificate cannot be read: {error}")
            ) from error
        if isinstance(outcome, Fault):
            raise PeerRefusedError(outcome)
        return outcome

    def _judge(
        self, chain: Chain, leaf: x509.Certificate, certificate: Certificate
    ) -> VerifiedPeer | Fault:
        spiffe_id, trust, domain = None, None, ""
        if not isinstance(self.validation.trust, CaTrust):
            identified = svid_id(leaf, certificate)
            if isinstance(identified, Fault):
                return identified
            anchored = self._anchor(identified, chain)
            if isinstance(anchored, Fault):
                return anchored
            spiffe_id, domain = identified, identified.trust_domain
            if self.validation.trust.bundles is None:
                trust = PeerTrust(domain, hashlib.sha256(chain[anchored]).digest())
            chain = chain[: anchored + 1]
        revocation = self.revocation.get(domain)
        fault = (
            (revocation.fault(chain, self.now()) if revocation else None)
            or self._pin_fault(leaf, certificate)
            or self._allowed_fault(certificate)
        )
        return fault or VerifiedPeer(certificate, spiffe_id, trust)

    def _anchor(self, spiffe_id: SpiffeId, chain: Chain) -> int | Fault:
        """Where in the chain a root of the ID's own trust domain stands."""
        anchors = self.anchors.get(spiffe_id.trust_domain)
        if anchors is None:
            return Fault(
                Refusal.UNKNOWN_TRUST_DOMAIN,
                "no trust bundle for the peer's trust domain",
                expected=f"a trust domain of {sorted(self.anchors)}",
                found=shown(spiffe_id.uri),
            )
        # Each signature up to here was verified, so any trusted certificate above the leaf will do.
        for at in range(len(chain) - 1, 0, -1):
            if chain[at] in anchors:
                return at
        return Fault(
            Refusal.FOREIGN_ROOT,
            "the chain does not end in a root of the peer's own trust domain",
            expected=f"one of {len(anchors)} roots of {spiffe_id.trust_domain}",
            found=f"{shown(spiffe_id.uri)} signed by {_fingerprint(chain[-1])}"
            f"{self._owner_of(chain[-1])}",
        )

    def _owner_of(self, root: bytes) -> str:
        owners = sorted(name for name, roots in self.anchors.items() if root in roots)
        return f", a root of {', '.join(owners)}" if owners else ""

    def _pin_fault(self, leaf: x509.Certificate, certificate: Certificate) -> Fault | None:
        pins = self.validation
        if not pins.certificate_sha256 and not pins.spki_sha256:
            return None
        spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spki_pin = base64.b64encode(hashlib.sha256(spki).digest()).decode("ascii")
        if certificate.sha256 in pins.certificate_sha256 or spki_pin in pins.spki_sha256:
            return None
        return Fault(
            Refusal.PIN_MISMATCH,
            "the certificate is not pinned",
            expected=", ".join(sorted((*pins.certificate_sha256, *pins.spki_sha256))),
            found=f"certificate {certificate.sha256}, SPKI {spki_pin}",
        )

    def _allowed_fault(self, certificate: Certificate) -> Fault | None:
        allowed = self.validation.allowed
        if allowed(certificate):
            return None
        return Fault(
            Refusal.NOT_ALLOWED,
            "the peer is not one of those that are allowed",
            expected=allowed.describe(),
            found=names_of(certificate),
        )

    def explain(
        self, error: ssl.SSLCertVerificationError, presented: Chain | None
    ) -> PeerRefusedError:
        """Our refusal for a chain that OpenSSL itself refused. `presented`: what the peer sent."""
        refusal = _REFUSALS.get(error.verify_code, Refusal.INVALID_CHAIN)
        roots = (
            f"a chain to a root of {', '.join(sorted(self.bundles))}"
            if self.bundles
            else "a chain to a trusted CA"
            if isinstance(self.validation.trust, CaTrust)
            else "a trust bundle, and there is none"
        )
        return PeerRefusedError(
            Fault(
                refusal,
                "the certificate chain does not verify",
                expected=f"{roots}, from {self.validation.allowed.describe()}",
                found=f"{error.verify_message}{_describe_presented(presented)}",
            )
        )


# X509_V_ERR_*, openssl/x509_vfy.h; what is not here is a broken chain.
_REFUSALS: Final[Mapping[int, Refusal]] = MappingProxyType(
    {
        2: Refusal.UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT
        7: Refusal.BAD_SIGNATURE,  # CERT_SIGNATURE_FAILURE
        9: Refusal.NOT_YET_VALID,
        10: Refusal.EXPIRED,
        18: Refusal.UNKNOWN_ISSUER,  # DEPTH_ZERO_SELF_SIGNED_CERT
        19: Refusal.UNKNOWN_ISSUER,  # SELF_SIGNED_CERT_IN_CHAIN
        20: Refusal.UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
        21: Refusal.UNKNOWN_ISSUER,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
        26: Refusal.WRONG_PURPOSE,  # INVALID_PURPOSE
    }
)


def names_of(certificate: Certificate) -> str:
    """Everything that could name a peer, for an error message."""
    named = (
        *map(shown, certificate.uri_sans),
        *(f"DNS:{shown(name)}" for name in certificate.dns_sans),
        *(f"subject {shown(name)}" for name in (certificate.subject,) if name),
    )
    return ", ".join(named) or "a certificate without any name"


def _describe_presented(presented: Chain | None) -> str:
    """On the server side OpenSSL does not show a chain that it refused."""
    if not presented:
        return ""
    try:
        certificate = x509.load_der_x509_certificate(presented[0])
        names = names_of(read_certificate(certificate, presented[0]))
    except ValueError:
        return " in a certificate that cannot be read"
    return (
        f" in {names}, valid {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"
        f" to {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    )


def _fingerprint(der: bytes) -> str:
    return f"sha256:{hashlib.sha256(der).hexdigest()[:16]}"


def all_roots(bundles: Iterable[TrustBundle]) -> bytes:
    """Concatenated DER without duplicates, as `load_verify_locations(cadata=)` takes it."""
    return b"".join(dict.fromkeys(root for bundle in bundles for root in bundle.roots))
