"""An identity by certificate request from an Istio CA (FEED.md 2.2). The key never leaves memory.

Decides when to ask and what an answer means; who asks is a `Caller`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.clock import Clock, Random
from meshsdk.errors import ConfigError, IdentityError
from meshsdk.identity.svid import Svid
from meshsdk.identity.trust_bundle import TrustBundle, TrustBundles
from meshsdk.identity.x509_context import NO_IDENTITY, IdentityStatus, SourceState, X509Context

# What istio-agent does: FEED.md 2.2, "good client defaults".
_TTL: Final = 24 * 3600.0
_ROTATES_AT: Final = 0.5
_JITTER: Final = 0.01
_RETRIES: Final = 5
_FIRST_RETRY: Final = 0.1
_RETRIABLE: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED", "INTERNAL", "UNAVAILABLE"}
)
# After those, and at once where asking again is unlikely to help: slowly, and for ever.
_SLOW_RETRY: Final = 10.0
_SLOWEST_RETRY: Final = 60.0
# How often the mounted roots are looked at, which Kubernetes changes under us.
_LOOKS_AT_ROOTS: Final = 0.5


@dataclass(frozen=True, slots=True)
class CaRefusal:
    """Why the CA gave no certificate: a gRPC status name and its text."""

    code: str
    details: str = ""


class Caller(Protocol):
    """Asks the CA. Both read their files anew: tokens and roots change."""

    def create_certificate(self, csr: str, ttl: int, /) -> tuple[str, ...] | CaRefusal:
        """`IstioCertificateService/CreateCertificate`: its `cert_chain`. Blocks, for some seconds
        at most. OSError, ConfigError or IdentityError where a credential cannot be read."""
        ...

    def mounted_roots(self) -> bytes:
        """The PEM roots that lie beside the workload; empty where there are none. Does not
        raise."""
        ...


def new_p256_key() -> ec.EllipticCurvePrivateKey:
    """What istio-agent prefers, too."""
    return ec.generate_private_key(ec.SECP256R1())


class IstioCaSource:
    """Asks for a certificate, and for the next one at half of its life. `poll` blocks in the call.

    Trusted are the roots that come with the certificate, and those that are mounted. When the
    mounted ones change, a certificate is asked for anew (FEED.md 2.3). While the CA fails, the
    certificate in hand serves until it ends.
    """

    blocks = True

    def __init__(
        self,
        caller: Caller,
        spiffe_id: SpiffeId,
        clock: Clock,
        random: Random,
        ttl: float = _TTL,
        new_key: Callable[[], ec.EllipticCurvePrivateKey] = new_p256_key,
    ) -> None:
        """`spiffe_id` is what the request says; the CA decides. `ttl` in seconds."""
        self._new_key = new_key
        self._caller = caller
        self._spiffe_id = spiffe_id
        self._clock = clock
        self._random = random
        self._ttl = ttl
        self._status: IdentityStatus = NO_IDENTITY
        self._due = clock.time()
        self._failures = 0
        self._svid: Svid | None = None
        self._issued: tuple[bytes, ...] = ()
        self._mounted_pem = b""
        self._mounted: tuple[bytes, ...] = ()

    @property
    def interval(self) -> float:
        """Seconds until something is to be done."""
        return min(max(self._due - self._clock.time(), 0.0), _LOOKS_AT_ROOTS)

    def poll(self) -> IdentityStatus:
        """Ask where a certificate is due; never raises."""
        self._look_at_roots()
        if self._clock.time() >= self._due:
            self._ask()
        return self._status.at(self._clock.time())

    def _look_at_roots(self) -> None:
        pem = self._caller.mounted_roots()
        if pem == self._mounted_pem:
            return
        self._mounted_pem = pem
        try:
            self._mounted = TrustBundle.from_pem(pem).roots if pem else ()
        except IdentityError:
            return  # half written, or no roots at all: those in force stay
        if self._svid is not None:
            self._due = self._clock.time()
            self._publish(self._svid)

    def _ask(self) -> None:
        key = self._new_key()
        asked = self._clock.time()
        try:
            answer = self._caller.create_certificate(_request(key, self._spiffe_id), int(self._ttl))
        except OSError as error:
            self._failed("UNAUTHENTICATED", f"cannot read {error.filename}: {error.strerror}")
            return
        except (ConfigError, IdentityError) as error:
            self._failed("UNAUTHENTICATED", str(error))
            return
        if isinstance(answer, CaRefusal):
            self._failed(answer.code, f"the CA answered {answer.code} {answer.details}".rstrip())
            return
        try:
            svid = _svid(answer, key)
            self._issued = TrustBundle.from_pem(answer[-1].encode()).roots
        except IdentityError as error:
            self._failed("FAILED_PRECONDITION", f"the CA's answer: {error}")
            return
        self._svid = svid
        self._publish(svid)
        self._failures = 0
        self._due = asked + self._rotates_after(svid.certificate.not_after - asked)

    def _publish(self, svid: Svid) -> None:
        bundle = TrustBundle((*self._issued, *self._mounted))
        self._status = self._status.received(X509Context((svid,), TrustBundles(flat=bundle)))

    def _rotates_after(self, lifetime: float) -> float:
        share = _ROTATES_AT + _JITTER * (2.0 * self._random.random() - 1.0)
        return max(lifetime * share, _FIRST_RETRY)

    def _failed(self, code: str, detail: str) -> None:
        self._failures += 1
        self._due = self._clock.time() + self._retries_after(code)
        self._status = self._status.failed(SourceState.UNREACHABLE, detail)

    def _retries_after(self, code: str) -> float:
        if code in _RETRIABLE and self._failures <= _RETRIES:
            longest = _FIRST_RETRY * 2.0 ** (self._failures - 1)
        else:
            rounds = self._failures - 1 - (_RETRIES if code in _RETRIABLE else 0)
            longest = min(_SLOW_RETRY * 2.0 ** min(max(rounds, 0), 8), _SLOWEST_RETRY)
        return longest * (0.5 + 0.5 * self._random.random())


def _request(key: ec.EllipticCurvePrivateKey, spiffe_id: SpiffeId) -> str:
    """PKCS#10 in PEM: no subject (a name in it would come back, FEED.md 2.2), the ID as SAN."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(str(spiffe_id))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    return request.public_bytes(Encoding.PEM).decode()


def _svid(chain: tuple[str, ...], key: ec.EllipticCurvePrivateKey) -> Svid:
    """Leaf and intermediates of `cert_chain`, whose last element is the roots."""
    if len(chain) < 2:
        raise IdentityError(f"expected a certificate and its roots, found {len(chain)} elements")
    private = key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Svid.from_pem("\n".join(chain[:-1]).encode(), private)
