"""The embedded control plane's CA: `CreateCertificate` as an Istio CA serves it (FEED.md 2.2)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.control_plane.authentication import Authenticator
from meshsdk.errors import ConfigError, IdentityError, PeerError
from meshsdk.identity.issue import CertificateAuthority
from meshsdk.wire.grpc_server import GrpcServer, ServerCall, ServerTls
from meshsdk.wire.unary import serve_unary

_SERVICE: Final = "istio.v1.auth.IstioCertificateService"
_METHOD: Final = "CreateCertificate"
_DEFAULT_TTL: Final = 24 * 3600.0
_MAX_TTL: Final = 90 * 24 * 3600.0
_HOUR: Final = 3600
_IMPERSONATED: Final = "ImpersonatedIdentity"
_SERVER_NAMES: Final = (
    "istiod.istio-system.svc",
    "istiod-remote.istio-system.svc",
    "istio-pilot.istio-system.svc",
    "localhost",
)


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs now, and every root that is trusted meanwhile: more than one while roots rotate."""

    authority: CertificateAuthority
    other_roots: tuple[x509.Certificate, ...] = ()

    @property
    def roots_pem(self) -> bytes:
        """What workloads trust: the last element of each answer, and their mounted root file."""
        roots = (x509.load_der_x509_certificate(self.authority.root), *self.other_roots)
        return b"".join(root.public_bytes(Encoding.PEM) for root in roots)

    def server_tls(self, addresses: tuple[str, ...], *, mutual: bool) -> ServerTls:
        """A serving certificate with istiod's names. `mutual`: a client certificate is required."""
        made = self.authority.mint_server(_SERVER_NAMES, addresses)
        return ServerTls(made.private_key_pem, made.chain_pem, self.roots_pem, mutual)


class CertificateService:
    """Signs for callers who have proved who they are, under that name whatever they ask for."""

    def __init__(
        self,
        signing: Callable[[], Signing],
        authenticator: Authenticator,
        *,
        longest: float | None = None,
    ) -> None:
        """`signing` is asked for each certificate. `longest`: seconds to which lifetimes are cut,
        for fast rotation; beyond istiod's 90 days a request is refused, not cut."""
        self._signing = signing
        self._authenticator = authenticator
        self._longest = longest

    def add_to(self, server: GrpcServer) -> None:
        """Serve on its addresses. Before it starts."""
        unary = serve_unary(_SERVICE, _METHOD, self.create)
        server.add(_SERVICE, unaries={_METHOD: unary}, authenticate=self._caller)

    def create(self, request: dict[str, object], call: ServerCall) -> dict[str, object]:
        """One call: request and response in proto-JSON."""
        caller = self._caller(call)
        metadata = request.get("metadata")
        if isinstance(metadata, dict) and _IMPERSONATED in metadata:
            call.abort("UNAUTHENTICATED", "request impersonation authentication failure")
        signing = self._signing()
        try:
            chain = signing.authority.sign(_csr(request), caller, self.ttl(request))
        except (ConfigError, PeerError) as error:
            call.abort("INVALID_ARGUMENT", f"CSR signing error ({error})")
        except IdentityError as error:
            call.abort("INTERNAL", f"CSR signing error ({error})")
        elements = [*(each.decode() for each in chain), signing.roots_pem.decode()]
        return {"cert_chain": elements}

    def _caller(self, call: ServerCall) -> SpiffeId:
        if not call.is_tls():
            call.abort("UNIMPLEMENTED", f"unknown service {_SERVICE}")
        caller = self._authenticator.caller(call)
        if caller is None:
            call.abort("UNAUTHENTICATED", "request authenticate failure")
        return caller

    def ttl(self, request: dict[str, object]) -> float:
        """Seconds that a request gets; ConfigError beyond the limit."""
        asked = float(str(request.get("validity_duration", "0")))
        if asked > _MAX_TTL:
            raise ConfigError(
                "",
                f"requested TTL {_hours(asked)} is greater than the max allowed TTL"
                f" {_hours(_MAX_TTL)}",
            )
        ttl = asked if asked > 0 else _DEFAULT_TTL
        return ttl if self._longest is None else min(ttl, self._longest)


def signs_for_long(authority: CertificateAuthority) -> CertificateAuthority:
    """The same, with istiod's limit on lifetimes."""
    return replace(authority, max_ttl=_MAX_TTL)


def _csr(request: dict[str, object]) -> bytes:
    csr = request.get("csr")
    if not isinstance(csr, str) or "-----BEGIN " not in csr:
        raise ConfigError("", "certificate signing request is not properly encoded")
    return csr.encode()


def _hours(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // _HOUR}h{whole % _HOUR // 60}m{whole % 60}s"
