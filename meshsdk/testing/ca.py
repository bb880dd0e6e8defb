"""A CA for tests and the demo: real SVIDs of any trust domain in under a millisecond."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import Clock, SystemClock
from meshsdk.identity.issue import CertificateAuthority
from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.identity.svid import Svid
from meshsdk.identity.trust_bundle import TrustBundle, TrustBundles
from meshsdk.identity.x509_context import X509Context


class FakeCa:
    """The root of one trust domain. OpenSSL reads the wall clock, so the default clock is real."""

    def __init__(self, trust_domain: str = "cluster.local", clock: Clock | None = None) -> None:
        self.trust_domain = trust_domain
        self.authority = CertificateAuthority.self_signed(trust_domain, clock or SystemClock())

    @property
    def bundle(self) -> TrustBundle:
        """The root, for peers."""
        return self.authority.bundle

    @property
    def root_pem(self) -> bytes:
        """The root as Istio's root-cert.pem has it."""
        return self.authority.certificate.public_bytes(Encoding.PEM)

    def svid(self, workload: str | SpiffeId, *, ttl: float = 3600.0, hint: str = "") -> Svid:
        """For an ID, or for `namespace/service-account` in Istio's form."""
        return self.authority.mint(self.spiffe_id(workload), ttl=ttl, hint=hint)

    def spiffe_id(self, workload: str | SpiffeId) -> SpiffeId:
        """An ID, parsed where it is written out, built where it is `namespace/account`."""
        if isinstance(workload, SpiffeId):
            return workload
        if workload.startswith("spiffe://"):
            return SpiffeId.parse(workload)
        namespace, _, account = workload.partition("/")
        return SpiffeId.of_workload(self.trust_domain, namespace, account)

    def context(self, workload: str | SpiffeId, *, ttl: float = 3600.0) -> X509Context:
        """A whole identity as Istio gives it: one SVID and one flat bundle."""
        return X509Context((self.svid(workload, ttl=ttl),), TrustBundles(flat=self.bundle))

    def write(self, directory: Path, workload: str | SpiffeId) -> CredentialFiles:
        """PEM files as istio-agent writes them, for `FilesSource` and for Envoy."""
        svid = self.svid(workload)
        directory.mkdir(parents=True, exist_ok=True)
        files = CredentialFiles(
            directory / "cert-chain.pem", directory / "key.pem", directory / "root-cert.pem"
        )
        files.certificate_chain.write_bytes(chain_pem(svid))
        files.private_key.touch(mode=0o600)
        files.private_key.write_bytes(private_key_pem(svid))
        files.roots.write_bytes(self.root_pem)
        return files


def chain_pem(svid: Svid) -> bytes:
    """The certificates, leaf first."""
    certificates = map(x509.load_der_x509_certificate, svid.certificate.chain)
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def private_key_pem(svid: Svid) -> bytes:
    """The key, unencrypted PKCS#8."""
    key = serialization.load_der_private_key(svid.certificate.private_key, password=None)
    return key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
