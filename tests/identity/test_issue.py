from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from meshsdk.errors import IdentityError, PeerError
from meshsdk.identity import SpiffeId, Svid
from meshsdk.identity.issue import CertificateAuthority, SigningKey

NOW = 1_800_000_000.0
ID = SpiffeId.parse("spiffe://td.test/ns/shop/sa/order")


class FixedClock:
    def monotonic(self) -> float:
        return 0.0

    def time(self) -> float:
        return NOW


CA = CertificateAuthority.self_signed("td.test", FixedClock())


def request(key: SigningKey, san: str = "spiffe://td.test/ns/shop/sa/admin") -> bytes:
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name.from_rfc4514_string("CN=admin"))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(san)]), critical=False
        )
        .sign(key, digest)
        .public_bytes(Encoding.PEM)
    )


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def signed(csr: bytes, ca: CertificateAuthority = CA, ttl: float = 3600.0) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ca.sign(csr, ID, ttl)[0])


@pytest.mark.parametrize("name", ["", "TD.test", "td.test/ns", "td test", "td.test\n"])
def test_a_ca_is_of_a_trust_domain(name: str) -> None:
    with pytest.raises(IdentityError, match="trust domain"):
        CertificateAuthority.self_signed(name, FixedClock())


def test_an_svid_has_what_the_standard_and_istio_ask_for() -> None:
    leaf = signed(request(p256()))

    extensions = leaf.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    assert {x509.SubjectKeyIdentifier.oid, x509.AuthorityKeyIdentifier.oid} < {
        extension.oid for extension in extensions
    }
    assert extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
    assert leaf.subject == x509.Name([])
    assert leaf.not_valid_before_utc.timestamp() == NOW - 120
    leaf.verify_directly_issued_by(CA.certificate)


def test_what_a_request_asks_for_is_ignored_but_its_key() -> None:
    key = p256()

    leaf = signed(request(key))

    sans = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [name.value for name in sans] == [str(ID)]
    assert leaf.public_key() == key.public_key()


@pytest.mark.parametrize(
    ("ttl", "lifetime"), [(600.0, 600.0), (10**9, 86400.0), (0.0, 0.0), (-5.0, 0.0)]
)
def test_a_lifetime_is_capped(ttl: float, lifetime: float) -> None:
    assert signed(request(p256()), ttl=ttl).not_valid_after_utc.timestamp() == NOW + lifetime


def test_no_svid_outlives_its_ca() -> None:
    brief = CertificateAuthority.self_signed("td.test", FixedClock(), lifetime=100.0)

    assert signed(request(p256()), brief).not_valid_after_utc.timestamp() == NOW + 100


def test_a_request_that_is_not_signed_by_its_own_key_is_refused() -> None:
    der = bytearray(x509.load_pem_x509_csr(request(p256())).public_bytes(Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)

    with pytest.raises(PeerError, match="not signed by its own key"):
        CA.sign(broken, ID, 600.0)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP224R1()),
    ],
)
def test_a_weak_key_is_refused(key: SigningKey) -> None:
    with pytest.raises(PeerError, match="expected RSA of 2048 bits or more, P-256"):
        CA.sign(request(key), ID, 600.0)


def test_a_key_of_a_kind_that_nobody_knows_is_refused() -> None:
    der = x509.load_pem_x509_csr(request(p256())).public_bytes(Encoding.DER)
    curve = bytes.fromhex("2a8648ce3d030107")  # prime256v1
    unknown = x509.load_der_x509_csr(der.replace(curve, curve[:-1] + b"\x55"))

    with pytest.raises(PeerError, match="cannot be read"):
        CA.sign(unknown.public_bytes(Encoding.PEM), ID, 600.0)


def test_garbage_is_refused() -> None:
    with pytest.raises(PeerError, match="cannot be read"):
        CA.sign(b"nonsense", ID, 600.0)


def test_ed25519_and_a_given_root_work() -> None:
    private = CA.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    again = CertificateAuthority.from_pem(
        "td.test", CA.certificate.public_bytes(Encoding.PEM), private, FixedClock()
    )

    leaf = signed(request(ed25519.Ed25519PrivateKey.generate()), again)

    leaf.verify_directly_issued_by(CA.certificate)
    with pytest.raises(IdentityError, match="key of the certificate"):
        CertificateAuthority.from_pem(
            "td.test",
            CertificateAuthority.self_signed("td.test", FixedClock()).certificate.public_bytes(
                Encoding.PEM
            ),
            private,
            FixedClock(),
        )


def test_an_intermediate_goes_with_each_svid_and_the_root_does_not() -> None:
    below = CA.intermediate()

    pems = below.sign(request(p256()), ID, 600.0)

    leaf, intermediate = map(x509.load_pem_x509_certificate, pems)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(CA.certificate)
    assert below.bundle == CA.bundle
    assert isinstance(below.mint(ID), Svid)


@pytest.mark.parametrize("text", ["spiffe://other.test/x", "spiffe://td.test"])
def test_a_ca_signs_for_workloads_of_its_own_trust_domain_only(text: str) -> None:
    with pytest.raises(IdentityError, match="expected a workload's ID of it"):
        CA.sign(request(p256()), SpiffeId.parse(text), 600.0)


def test_two_cas_of_one_trust_domain_have_different_names() -> None:
    # OpenSSL tries only the first of two roots with one name.
    other = CertificateAuthority.self_signed("td.test", FixedClock())

    assert other.certificate.subject != CA.certificate.subject
    assert replace(CA, max_ttl=1.0).mint(ID, ttl=9.0).not_after == NOW + 1
