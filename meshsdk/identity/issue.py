"""Issuing X509-SVIDs: the CA of the embedded control plane and of tests."""

import datetime
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshsdk.call.spiffe_id import SpiffeId, is_trust_domain, shown
from meshsdk.clock import Clock
from meshsdk.errors import IdentityError, PeerError
from meshsdk.identity.svid import Svid, TlsCertificate
from meshsdk.identity.trust_bundle import TrustBundle

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_BACKDATED: Final = 120.0  # seconds; istiod's: clocks of peers differ (THREATS T11)
_CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Signs SVIDs of one trust domain. `chain` (DER) goes with each: empty where this is the root.

    Times and lifetimes in seconds. A lifetime is cut to `max_ttl` and to the CA's own end.
    """

    trust_domain: str
    certificate: x509.Certificate
    key: SigningKey
    root: bytes
    clock: Clock
    chain: tuple[bytes, ...] = ()
    max_ttl: float = 24 * 3600.0

    @classmethod
    def self_signed(
        cls,
        trust_domain: str,
        clock: Clock,
        *,
        lifetime: float = 10 * 365 * 86400.0,
        max_ttl: float = 24 * 3600.0,
    ) -> Self:
        """A new root on P-256. Its name holds its key's digest, so that no two look alike."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _ca_certificate(trust_domain, key, key, None, clock.time(), lifetime)
        return cls(trust_domain, certificate, key, _der(certificate), clock, max_ttl=max_ttl)

    @classmethod
    def from_pem(
        cls, trust_domain: str, certificate: bytes, private_key: bytes, clock: Clock
    ) -> Self:
        """A given root, with its key unencrypted; raises `IdentityError`."""
        try:
            root = x509.load_pem_x509_certificate(certificate)
            key = serialization.load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError) as error:
            raise IdentityError("CA: expected a PEM certificate and an unencrypted key") from error
        if not isinstance(key, SigningKey) or root.public_key() != key.public_key():
            raise IdentityError("CA: expected the RSA, EC or Ed25519 key of the certificate")
        return cls(trust_domain, root, key, _der(root), clock)

    def intermediate(self, *, lifetime: float = 365 * 86400.0) -> Self:
        """A CA below this one, in the same trust domain."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _ca_certificate(
            self.trust_domain, key, self.key, self.certificate, self.clock.time(), lifetime
        )
        return type(self)(
            self.trust_domain,
            certificate,
            key,
            self.root,
            self.clock,
            (_der(certificate), *self.chain),
            self.max_ttl,
        )

    @property
    def bundle(self) -> TrustBundle:
        """The root, as a peer needs it."""
        return TrustBundle((self.root,))

    def sign(
        self, csr: bytes, spiffe_id: SpiffeId, ttl: float, *, dns_names: Iterable[str] = ()
    ) -> tuple[bytes, ...]:
        """PEM certificates, leaf first, without the root.

        Of the PEM request only the key counts, and its proof: the ID is the authenticated
        caller's, whatever the request asks for (THREATS S11). Raises `PeerError`.
        """
        try:
            request = x509.load_pem_x509_csr(csr)
            valid = request.is_signature_valid
            key = request.public_key()
        except (ValueError, InvalidSignature, UnsupportedAlgorithm) as error:
            raise PeerError("the certificate request cannot be read") from error
        if not valid:
            raise PeerError("the certificate request is not signed by its own key")
        leaf = self._leaf(_acceptable(key), spiffe_id, ttl, dns_names)
        return _pem(leaf), *self._chain_pem()

    def mint(
        self,
        spiffe_id: SpiffeId,
        *,
        ttl: float = 24 * 3600.0,
        dns_names: Iterable[str] = (),
        hint: str = "",
    ) -> Svid:
        """An SVID with a new P-256 key, for a process that holds the CA itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(key.public_key(), spiffe_id, ttl, dns_names)
        private = key.private_bytes(
            Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Svid.from_der(b"".join((_der(leaf), *self.chain)), private, hint)

    def mint_server(
        self, dns_names: Iterable[str], addresses: Iterable[str] = ()
    ) -> TlsCertificate:
        """For a control plane, as istiod's own: names and IP addresses, no SPIFFE ID, as long as
        the CA (FEED.md 1.1)."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans = [
            *map(x509.DNSName, dns_names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        ]
        ends = self.certificate.not_valid_after_utc.timestamp()
        leaf = self._signed(key.public_key(), sans, ends)
        return TlsCertificate.from_pem(
            b"".join((_pem(leaf), *self._chain_pem())),
            key.private_bytes(
                Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )

    def _chain_pem(self) -> Iterable[bytes]:
        return (_pem(x509.load_der_x509_certificate(der)) for der in self.chain)

    def _leaf(
        self, key: _PublicKey, spiffe_id: SpiffeId, ttl: float, dns_names: Iterable[str]
    ) -> x509.Certificate:
        if spiffe_id.trust_domain != self.trust_domain or not spiffe_id.path:
            raise IdentityError(
                f"CA of {self.trust_domain}: expected a workload's ID of it, found {spiffe_id}"
            )
        now = self.clock.time()
        ends = min(
            now + min(max(ttl, 0.0), self.max_ttl), self.certificate.not_valid_after_utc.timestamp()
        )
        sans = [
            x509.UniformResourceIdentifier(str(spiffe_id)),
            *map(x509.DNSName, dns_names),
        ]
        return self._signed(key, sans, ends)

    def _signed(
        self, key: _PublicKey, sans: Iterable[x509.GeneralName], ends: float
    ) -> x509.Certificate:
        now = self.clock.time()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_utc(now - _BACKDATED))
            .not_valid_after(_utc(ends))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                _key_usage(leaf=True, encipher=isinstance(key, rsa.RSAPublicKey)), critical=True
            )
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(_authority_key_identifier(self.certificate), critical=False)
            # Critical since the subject is empty (RFC 5280, 4.2.1.6).
            .add_extension(x509.SubjectAlternativeName(sans), critical=True)
        )
        return builder.sign(self.key, _hash_for(self.key))


def _ca_certificate(
    trust_domain: str,
    key: ec.EllipticCurvePrivateKey,
    signer: SigningKey,
    issuer: x509.Certificate | None,
    now: float,
    lifetime: float,
) -> x509.Certificate:
    if not is_trust_domain(trust_domain):
        raise IdentityError(f"CA: expected a trust domain, found {shown(trust_domain)}")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, trust_domain[:64]),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, identifier.digest.hex()),
        ]
    )
    ends = now + lifetime
    if issuer is not None:
        ends = min(ends, issuer.not_valid_after_utc.timestamp())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_utc(now - _BACKDATED))
        .not_valid_after(_utc(ends))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(leaf=False, encipher=False), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")]
            ),
            critical=False,
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
            if issuer is None
            else _authority_key_identifier(issuer),
            critical=False,
        )
    )
    return builder.sign(signer, _hash_for(signer))


def _acceptable(key: object) -> _PublicKey:
    match key:
        case rsa.RSAPublicKey() if key.key_size >= 2048:
            return key
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, _CURVES):
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case _:
            raise PeerError(
                "the certificate request's key is too weak or of an unknown kind",
                expected="RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519",
                found=type(key).__name__,
            )


def _key_usage(*, leaf: bool, encipher: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=encipher,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        public = issuer.public_key()
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(_acceptable(public))
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _hash_for(key: SigningKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _utc(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
