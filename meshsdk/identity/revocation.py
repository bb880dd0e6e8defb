"""Certificate revocation lists, checked for every certificate below the trust anchor."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from meshsdk.identity.refusal import Fault, Refusal
from meshsdk.identity.trust_bundle import TrustBundle


@dataclass(frozen=True, slots=True)
class RevocationLists:
    """The lists of one bundle, parsed."""

    lists: tuple[x509.CertificateRevocationList, ...]

    @classmethod
    def of(cls, bundle: TrustBundle) -> Self | None:
        """None where the bundle has no lists: revocation is not checked."""
        if not bundle.crls:
            return None
        return cls(tuple(map(x509.load_der_x509_crl, bundle.crls)))

    def fault(self, chain: tuple[bytes, ...], now: float) -> Fault | None:
        """Why a verified chain (leaf first, anchor last) is revoked or cannot be known not to be.

        As OpenSSL's CRL_CHECK_ALL, which Envoy sets: each issuer needs a list that is in force.
        """
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        for certificate, issuer in pairwise(certificates):
            crl = self._list_of(issuer, now)
            if crl is None:
                return Fault(
                    Refusal.NO_REVOCATION_LIST,
                    "no revocation list of an issuer is in force",
                    expected=f"a valid list signed by {issuer.subject.rfc4514_string()!r}",
                    found="none",
                )
            if crl.get_revoked_certificate_by_serial_number(certificate.serial_number):
                return Fault(
                    Refusal.REVOKED,
                    "the certificate was revoked by its issuer",
                    expected="a serial number that is on no revocation list",
                    found=f"{certificate.serial_number:x}",
                )
        return None

    def _list_of(
        self, issuer: x509.Certificate, now: float
    ) -> x509.CertificateRevocationList | None:
        key = issuer.public_key()
        if not isinstance(
            key,
            rsa.RSAPublicKey
            | ec.EllipticCurvePublicKey
            | dsa.DSAPublicKey
            | ed25519.Ed25519PublicKey
            | ed448.Ed448PublicKey,
        ):
            return None
        for crl in self.lists:
            until = crl.next_update_utc
            in_force = crl.last_update_utc.timestamp() <= now and (
                until is None or now < until.timestamp()
            )
            if crl.issuer == issuer.subject and in_force and crl.is_signature_valid(key):
                return crl
        return None
