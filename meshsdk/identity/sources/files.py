"""Credentials in PEM files that an agent, a CSI driver or Kubernetes keeps fresh."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshsdk.clock import Clock
from meshsdk.errors import IdentityError
from meshsdk.identity.svid import Svid
from meshsdk.identity.trust_bundle import TrustBundle, TrustBundles
from meshsdk.identity.x509_context import NO_IDENTITY, IdentityStatus, SourceState, X509Context

# Where credentials lie near a pod or on a VM, the first that exists counts (FEED 2.4).
DIRECTORIES: Final = (
    "var/run/secrets/workload-spiffe-credentials",
    "etc/certs",
)
_CRL: Final = "var/run/secrets/istio/crl/ca-crl.pem"

# Certificate chain, private key, roots: istio-agent's names (also in OUTPUT_CERTS), then GKE's.
_LAYOUTS: Final = (
    ("cert-chain.pem", "key.pem", "root-cert.pem"),
    ("certificates.pem", "private_key.pem", "ca_certificates.pem"),
)
_READS: Final = 3


@dataclass(frozen=True, slots=True)
class CredentialFiles:
    """Paths of PEM files. `crl` is applied where it exists."""

    certificate_chain: Path
    private_key: Path
    roots: Path
    crl: Path | None = None

    @classmethod
    def in_directory(cls, directory: Path, crl: Path | None = None) -> "CredentialFiles":
        """By the layout whose certificate file exists; `IdentityError` where none does."""
        for chain, key, roots in _LAYOUTS:
            if (directory / chain).exists():
                return cls(directory / chain, directory / key, directory / roots, crl)
        names = " or ".join(chain for chain, _, _ in _LAYOUTS)
        raise IdentityError(f"{directory}: expected {names}, found neither")

    @classmethod
    def near_workload(cls, root: Path = Path("/")) -> "CredentialFiles | None":
        """Those of this pod or VM, or None where there are none."""
        for directory in DIRECTORIES:
            for chain, _, _ in _LAYOUTS:
                if (root / directory / chain).exists():
                    return cls.in_directory(root / directory, root / _CRL)
        return None

    def read(self) -> tuple[bytes, ...]:
        """Contents in the order of the fields. Raises OSError."""
        crl = b""
        if self.crl is not None and self.crl.exists():
            crl = self.crl.read_bytes()
        return (*(path.read_bytes() for path in self._paths()), crl)

    def _paths(self) -> Iterable[Path]:
        return self.certificate_chain, self.private_key, self.roots


class FilesSource:
    """Watches credential files. The roots are one flat bundle, as Istio's root-cert.pem is."""

    blocks = False

    def __init__(self, files: CredentialFiles, clock: Clock, *, interval: float = 1.0) -> None:
        self.interval = interval
        self._files = files
        self._clock = clock
        self._status: IdentityStatus = NO_IDENTITY
        self._seen: tuple[bytes, ...] = ()

    def poll(self) -> IdentityStatus:
        """Read all files; contents, not times, tell a change. Bad ones keep the last good."""
        try:
            contents = self._read_settled()
        except OSError as error:
            self._seen = ()
            self._fail(f"cannot read {error.filename}: {error.strerror}")
        else:
            if contents != self._seen:
                self._seen = contents
                self._take(*contents)
        return self._status.at(self._clock.time())

    def _read_settled(self) -> tuple[bytes, ...]:
        """A set that did not change while it was read: Kubernetes swaps a symlink under us."""
        contents = self._files.read()
        for _ in range(_READS):
            if contents == self._seen:
                break
            again = self._files.read()
            if again == contents:
                break
            contents = again
        return contents

    def _take(self, chain: bytes, private_key: bytes, roots: bytes, crl: bytes) -> None:
        try:
            svid = Svid.from_pem(chain, private_key)
            bundle = TrustBundle.from_pem(roots, crl)
        except IdentityError as error:
            self._fail(f"{self._files.certificate_chain.parent}: {error}")
            return
        self._status = self._status.received(X509Context((svid,), TrustBundles(flat=bundle)))

    def _fail(self, detail: str) -> None:
        self._status = self._status.failed(SourceState.UNREACHABLE, detail)
