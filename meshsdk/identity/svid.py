"""Certificates that we present, with their private keys."""

import hashlib
from dataclasses import dataclass, field
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.errors import IdentityError
from meshsdk.identity.leaf import read_certificate, svid_id
from meshsdk.identity.refusal import Fault


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    """A certificate chain and its key: Envoy's `tls_certificate`.

    `chain` is DER, leaf first, without self-signed roots; `private_key` is unencrypted PKCS#8 DER.
    The times are seconds since the epoch: all certificates of the chain are valid between them.
    """

    chain: tuple[bytes, ...] = field(repr=False)
    private_key: bytes = field(repr=False)
    not_before: float
    not_after: float
    digest: bytes = field(repr=False, compare=False)
    """SHA-256 over chain and key: equal digests are one identity."""

    @classmethod
    def from_pem(cls, chain: bytes, private_key: bytes) -> Self:
        """Raises `IdentityError` when unreadable, encrypted, or not of one pair."""
        try:
            certificates = x509.load_pem_x509_certificates(chain)
        except ValueError as error:
            raise IdentityError(f"certificate chain: expected PEM certificates: {error}") from error
        try:
            key = serialization.load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable_key() from error
        return cls._of(certificates, key)

    @classmethod
    def from_der(cls, chain: bytes, private_key: bytes) -> Self:
        """From the Workload API's form: certificates concatenated, leaf first, and PKCS#8."""
        certificates = read_certificates(chain, "certificate chain")
        try:
            key = serialization.load_der_private_key(private_key, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unreadable_key() from error
        return cls._of(certificates, key)

    @classmethod
    def _of(cls, certificates: list[x509.Certificate], key: PrivateKeyTypes) -> Self:
        if not certificates:
            raise IdentityError("certificate chain: expected at least a leaf, found none")
        leaf = certificates[0]
        try:
            public = leaf.public_key()
        except (ValueError, UnsupportedAlgorithm) as error:
            raise IdentityError(f"certificate chain: the leaf's key: {error}") from error
        if _spki(public) != _spki(key.public_key()):
            raise IdentityError(
                "private key: expected the key of the leaf certificate"
                f" (serial {leaf.serial_number:x}), found another key"
            )
        # Peers have roots of their own; istiod's answer and files often carry one (FEED 2.2).
        sent = [leaf, *(above for above in certificates[1:] if not _is_self_signed(above))]
        chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in sent)
        private_key = key.private_bytes(
            Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(
            chain,
            private_key,
            not_before=max(each.not_valid_before_utc.timestamp() for each in sent),
            not_after=min(each.not_valid_after_utc.timestamp() for each in sent),
            digest=hashlib.sha256(b"".join((*chain, private_key))).digest(),
        )

    @property
    def chain_pem(self) -> bytes:
        """The certificates, leaf first."""
        certificates = map(x509.load_der_x509_certificate, self.chain)
        return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)

    @property
    def private_key_pem(self) -> bytes:
        """The key, unencrypted PKCS#8."""
        return serialization.load_der_private_key(self.private_key, password=None).private_bytes(
            Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def leaf(self) -> bytes:
        """The leaf's DER."""
        return self.chain[0]

    def __hash__(self) -> int:
        return hash(self.digest)


@dataclass(frozen=True, slots=True)
class Svid:
    """An X509-SVID of ours. `hint` is the Workload API's name for choosing among several."""

    spiffe_id: SpiffeId
    certificate: TlsCertificate
    hint: str = ""

    @classmethod
    def of(cls, certificate: TlsCertificate, hint: str = "") -> Self:
        """The SVID that this certificate is; `IdentityError` where it breaks the standard."""
        leaf = x509.load_der_x509_certificate(certificate.leaf)
        try:
            spiffe_id = svid_id(leaf, read_certificate(leaf, certificate.leaf))
        except ValueError as error:
            raise IdentityError(f"own certificate: unreadable: {error}") from error
        if isinstance(spiffe_id, Fault):
            raise IdentityError(
                f"own certificate is no X509-SVID: {spiffe_id.problem}:"
                f" expected {spiffe_id.expected}, found {spiffe_id.found}"
            )
        return cls(spiffe_id, certificate, hint)

    @classmethod
    def from_pem(cls, chain: bytes, private_key: bytes, hint: str = "") -> Self:
        """From PEM files; raises `IdentityError`."""
        return cls.of(TlsCertificate.from_pem(chain, private_key), hint)

    @classmethod
    def from_der(cls, chain: bytes, private_key: bytes, hint: str = "") -> Self:
        """From concatenated DER and PKCS#8 DER; raises `IdentityError`."""
        return cls.of(TlsCertificate.from_der(chain, private_key), hint)

    @property
    def not_before(self) -> float:
        """Seconds since the epoch."""
        return self.certificate.not_before

    @property
    def not_after(self) -> float:
        """Seconds since the epoch; of the certificate in the chain that ends first."""
        return self.certificate.not_after


def read_certificates(der: bytes, what: str) -> list[x509.Certificate]:
    """The certificates of concatenated DER, as the Workload API sends them."""
    found: list[x509.Certificate] = []
    for one in _split_der(der, what):
        try:
            found.append(x509.load_der_x509_certificate(one))
        except ValueError as error:
            raise IdentityError(f"{what}: certificate {len(found)}: {error}") from error
    return found


def _split_der(der: bytes, what: str) -> list[bytes]:
    """Cut at the length of each outer SEQUENCE (X.690, 8.1.3)."""
    parts: list[bytes] = []
    at = 0
    while at < len(der):
        if der[at] != 0x30 or len(der) < at + 2:
            raise IdentityError(f"{what}: expected a DER SEQUENCE at byte {at}")
        first = der[at + 1]
        octets = first & 0x7F if first & 0x80 else 0
        header = 2 + octets
        length = int.from_bytes(der[at + 2 : at + header]) if octets else first
        end = at + header + length
        if end > len(der):
            raise IdentityError(f"{what}: truncated: expected {end} bytes, found {len(der)}")
        parts.append(der[at:end])
        at = end
    return parts


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _spki(key: object) -> bytes:
    public_bytes = getattr(key, "public_bytes")  # noqa: B009 -- every key type has it, no base does
    encoded = public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert isinstance(encoded, bytes)
    return encoded


def _unreadable_key() -> IdentityError:
    # The cause's text may quote the input; the message does not.
    return IdentityError("private key: expected an unencrypted PEM or PKCS#8 DER private key")
