"""X509-SVIDs with anything wrong, made on purpose; nothing of this goes through our own issuing."""

import datetime
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshsdk.clock import SystemClock

NOW = SystemClock().time()
CLIENT = "spiffe://td.test/ns/foo/sa/client"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
LEAF_CONSTRAINTS = x509.BasicConstraints(ca=False, path_length=None)
CA_CONSTRAINTS = x509.BasicConstraints(ca=True, path_length=None)


USAGES = [
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
    *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
]


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in USAGES})


LEAF_USAGE = usage("digital_signature")


def uri(*values: str) -> tuple[x509.GeneralName, ...]:
    return tuple(map(x509.UniformResourceIdentifier, values))


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@dataclass(frozen=True)
class Template:
    """A certificate to make. Times in seconds from now; None leaves an extension out."""

    sans: tuple[x509.GeneralName, ...] = uri(CLIENT)
    subject: str = "leaf"
    common_name: str = ""
    constraints: x509.BasicConstraints | None = LEAF_CONSTRAINTS
    usage: x509.KeyUsage | None = LEAF_USAGE
    purposes: tuple[x509.ObjectIdentifier, ...] = BOTH
    starts: float = -300
    ends: float = 3600
    key: Callable[[], Key] = lambda: ec.generate_private_key(ec.SECP256R1())
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()


CA = Template(
    sans=uri("spiffe://td.test"),
    constraints=CA_CONSTRAINTS,
    usage=usage("key_cert_sign", "crl_sign"),
    purposes=(),
    ends=86400,
)


@dataclass(frozen=True)
class Made:
    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()
    is_intermediate: bool = False

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def make(template: Template, issuer: Made | None = None) -> Made:
    key = template.key()
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, template.subject)]
    if template.common_name:
        names.append(x509.NameAttribute(NameOID.COMMON_NAME, template.common_name))
    subject = x509.Name(names if template.subject else [])
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment(template.starts))
        .not_valid_after(moment(template.ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    signer = issuer.key if issuer else key
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    optional: tuple[tuple[x509.ExtensionType | None, bool], ...] = (
        (identifier, False),
        (template.constraints, True),
        (template.usage, True),
        (x509.ExtendedKeyUsage(template.purposes) if template.purposes else None, False),
        (x509.SubjectAlternativeName(template.sans) if template.sans else None, False),
        *template.extensions,
    )
    for extension, critical in optional:
        if extension is not None:
            builder = builder.add_extension(extension, critical)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    above = (issuer.certificate, *issuer.chain) if issuer and issuer.is_intermediate else ()
    return Made(builder.sign(signer, digest), key, above, is_intermediate=issuer is not None)


def moment(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(NOW + seconds, datetime.UTC)


def private_key(made: Made, encoding: Encoding) -> bytes:
    return made.key.private_bytes(encoding, PrivateFormat.PKCS8, NoEncryption())


def peer_context(made: Made | None, *, server: bool) -> ssl.SSLContext:
    """A peer that checks nothing and sends what it was given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if made is not None:
        certificates = (made.certificate, *made.chain)
        with tempfile.NamedTemporaryFile() as file:
            file.write(private_key(made, Encoding.PEM))
            file.write(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
            file.flush()
            context.load_cert_chain(file.name)
    return context
