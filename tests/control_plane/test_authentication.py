"""What a call proves, without a socket: the facts of its connection are given."""

from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.control_plane.authentication import Authenticator
from meshsdk.control_plane.ca import CertificateService, Signing
from meshsdk.control_plane.tokens import OWN_ISSUER, TokenIssuer, mint
from meshsdk.identity.token_key import TokenKey
from meshsdk.testing.ca import FakeCa, chain_pem
from meshsdk.testing.clock import FakeClock
from meshsdk.wire.grpc_server import ServerCall

KEY = TokenKey.generate()
CLOCK = FakeClock()
HERE = FakeCa("cluster.local", CLOCK)
CART = SpiffeId.of_workload("cluster.local", "shop", "cart")
AUTHENTICATOR = Authenticator(
    "cluster.local", lambda: [TokenIssuer.of(OWN_ISSUER, KEY.jwks)], CLOCK
)


class Aborted(Exception):
    """The call ended so."""


@dataclass
class Connection:
    """What grpcio tells of a call."""

    authorization: str = ""
    certificate: bytes = b""
    is_tls: bool = True

    def auth_context(self) -> Mapping[str, list[bytes]]:
        found = {"transport_security_type": [b"ssl"]} if self.is_tls else {}
        return {**found, **({"x509_pem_cert": [self.certificate]} if self.certificate else {})}

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("authorization", self.authorization)] if self.authorization else []

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code.name, details)


def token(account: str = "cart") -> str:
    return f"Bearer {mint(KEY, 'shop', account, CLOCK, 600.0)}"


def caller(connection: Connection) -> SpiffeId | None:
    return AUTHENTICATOR.caller(ServerCall(connection))


def certificate(*uris: str) -> bytes:
    """A leaf with these URI SANs, as no SPIFFE CA signs it."""
    authority = HERE.authority
    names = [x509.UniformResourceIdentifier(uri) for uri in uris]
    found = x509.load_der_x509_certificate(authority.root)
    builder = x509.CertificateBuilder(
        found.subject,
        found.subject,
        authority.key.public_key(),
        x509.random_serial_number(),
        found.not_valid_before_utc,
        found.not_valid_after_utc,
        [x509.Extension(x509.SubjectAlternativeName.oid, True, x509.SubjectAlternativeName(names))],
    )
    signed = builder.sign(authority.key, found.signature_hash_algorithm)  # type: ignore[arg-type]
    return signed.public_bytes(Encoding.PEM)


def test_a_token_on_plaintext_proves_nothing() -> None:
    """Whoever reads along could use it."""
    assert caller(Connection(token())) == CART
    assert caller(Connection(token(), is_tls=False)) is None


def test_a_certificate_of_another_trust_domain_proves_nothing() -> None:
    """Several domains may share a bundle; ours alone names workloads here."""
    foreign = chain_pem(FakeCa("other.example", CLOCK).svid("shop/cart"))

    assert caller(Connection(certificate=foreign)) is None
    assert caller(Connection(token("web"), foreign)) == SpiffeId.of_workload(
        "cluster.local", "shop", "web"
    )


def test_a_certificate_proves_nothing_after_its_end() -> None:
    """Else who has its key gets the next one by a connection from before, for ever."""
    clock = FakeClock()
    pem = chain_pem(FakeCa("cluster.local", clock).svid("shop/cart"))
    leaf = x509.load_pem_x509_certificate(pem)
    authenticator = Authenticator("cluster.local", lambda: [], clock)
    call = ServerCall(Connection(certificate=pem))

    before = authenticator.caller(call)
    clock.advance(leaf.not_valid_after_utc.timestamp() - clock.time() + 1.0)

    assert (before, authenticator.caller(call)) == (CART, None)


@pytest.mark.parametrize("uris", [(str(CART), "spiffe://cluster.local/ns/x/sa/y"), ()])
def test_a_certificate_has_one_id(uris: tuple[str, ...]) -> None:
    assert caller(Connection(certificate=certificate(str(CART)))) == CART
    assert caller(Connection(certificate=certificate(*uris))) is None


def test_nobody_gets_a_certificate_for_somebody_else() -> None:
    """istiod signs impersonated identities for its own node agents alone: nobody has any here."""
    service = CertificateService(lambda: Signing(HERE.authority), AUTHENTICATOR)
    request: dict[str, object] = {
        "csr": "",
        "metadata": {"ImpersonatedIdentity": "spiffe://cluster.local/ns/a/sa/b"},
    }

    with pytest.raises(Aborted, match="impersonation") as refused:
        service.create(request, ServerCall(Connection(token())))

    assert refused.value.args[0] == "UNAUTHENTICATED"
