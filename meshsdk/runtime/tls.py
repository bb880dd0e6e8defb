"""The feed's TLS nouns and our identity, brought together: settings of real contexts."""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from meshsdk.call.certificate import Certificate
from meshsdk.errors import ConfigError, IdentityError
from meshsdk.identity.svid import TlsCertificate
from meshsdk.identity.tls import usable_sni
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.tls_params import (
    ANY_PEER,
    OUR_SVID,
    CaTrust,
    DnsNames,
    PeerMatcher,
    SpiffeTrust,
    SvidChoice,
    TlsParams,
    Validation,
)
from meshsdk.identity.trust_bundle import TrustBundle, TrustBundles
from meshsdk.resources.certificate_validation import CertificateValidation
from meshsdk.resources.data_source import DataSource
from meshsdk.resources.secret import Secret, SecretValue
from meshsdk.resources.snapshot import Absent
from meshsdk.resources.tls import DownstreamTls, UpstreamTls
from meshsdk.resources.tls_certificate import CertificateSource, SdsSecret
from meshsdk.resources.tls_certificate import TlsCertificate as TlsCertificateNoun

Secrets = Callable[[], Mapping[str, Secret | Absent]]
"""Secrets that came by the stream, by name."""

_SPIFFE = "spiffe://"
_FILE_CERT = "file-cert:"
_FILE_ROOT = "file-root:"
_CACHED = 4096
# What Istio's alpn filter makes of a context that lists an istio* protocol (FEED.md 5.4).
_ISTIO_ALPN = {
    "http1": ("istio-http/1.1", "istio", "http/1.1"),
    "h2": ("istio-h2", "istio", "h2"),
    "tcp": ("istio",),
}


@dataclass(frozen=True, slots=True)
class AllowedSans:
    """The SAN list of a context as an identity check; equal digests are equal lists."""

    digest: bytes
    validation: CertificateValidation

    def __call__(self, certificate: Certificate, /) -> bool:
        return any(san(certificate) for san in self.validation.san_matchers)

    def describe(self) -> str:
        """Whom it allows, for people."""
        return self.validation.describe()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AllowedSans) and other.digest == self.digest


class FeedTls:
    """Gives the context for a transport socket of the feed. Any thread may ask."""

    def __init__(self, contexts: TlsContexts, secrets: Secrets) -> None:
        self.contexts = contexts
        self._secrets = secrets
        self._clients: dict[tuple[bytes, str, str, bool], TlsParams] = {}
        self._servers: dict[bytes, TlsParams] = {}

    def forget(self) -> None:
        """Secrets or files may have changed: settings are worked out anew."""
        self._clients = {}
        self._servers = {}

    def client(
        self, socket: UpstreamTls, protocol: str, sni: str, *, istio_alpn: bool = True
    ) -> tuple[ssl.SSLContext, str | None]:
        """Context and server name for one connection. `protocol` is http1, h2 or tcp; `sni` is
        already decided (`auto_host_sni`, `auto_sni`). IdentityError or ConfigError."""
        key = (socket.digest, protocol, sni if socket.auto_sni_san_validation else "", istio_alpn)
        params = self._clients.get(key)
        if params is None:
            params = self._client_params(socket, protocol, sni, istio_alpn)
            if len(self._clients) >= _CACHED:
                self._clients = {}
            self._clients[key] = params
        return self.contexts.client(params), usable_sni(sni) if sni else None

    def server(self, tls: DownstreamTls) -> ssl.SSLContext:
        """Context for one accepted connection; errors as `client`."""
        params = self._servers.get(tls.digest)
        if params is None:
            params = self._params(
                tls, alpn=tls.alpn, validation=self._validation(tls.validation, tls.digest, True)
            )
            self._servers[tls.digest] = params
        return self.contexts.server(params)

    def _client_params(
        self, socket: UpstreamTls, protocol: str, sni: str, istio_alpn: bool
    ) -> TlsParams:
        alpn = socket.alpn
        if istio_alpn and any(name.startswith("istio") for name in alpn):
            alpn = _ISTIO_ALPN[protocol]
        validation = self._validation(socket.validation, socket.digest, False)
        if validation is not None and socket.auto_sni_san_validation:
            validation = Validation(
                validation.trust,
                DnsNames((sni,)),
                validation.certificate_sha256,
                validation.spki_sha256,
            )
        return self._params(socket, alpn=alpn, validation=validation)

    def _params(
        self,
        tls: UpstreamTls | DownstreamTls,
        *,
        alpn: tuple[str, ...],
        validation: Validation | None,
    ) -> TlsParams:
        parameters = tls.parameters
        return TlsParams(
            certificate=self._certificate(tls.certificate),
            validation=validation,
            alpn=alpn,
            minimum_version=parameters.minimum_version,
            maximum_version=parameters.maximum_version,
            cipher_suites=parameters.cipher_suites,
            ecdh_curves=parameters.ecdh_curves,
            require_client_certificate=(
                isinstance(tls, DownstreamTls) and tls.require_client_certificate
            ),
        )

    # -- what a name means (FEED.md 2.5) ----------------------------------------------------

    def _certificate(self, source: CertificateSource | None) -> SvidChoice | TlsCertificate | None:
        match source:
            case None:
                return None
            case TlsCertificateNoun():
                return _tls_certificate(source)
            case SdsSecret(name=name) if name.startswith(_FILE_CERT):
                chain, _, key = name.removeprefix(_FILE_CERT).partition("~")
                return TlsCertificate.from_pem(_file(chain), _file(key))
            case SdsSecret(name="default"):
                return OUR_SVID
            case SdsSecret() if source.by_stream:
                found = self._secret(source.name)
                if not isinstance(found, TlsCertificateNoun):
                    raise IdentityError(f"secret {source.name} holds no certificate")
                return _tls_certificate(found)
            case _:
                # A provider instance, or an SDS source beside us (SPIRE): our own identity.
                return OUR_SVID

    def _validation(
        self, validation: CertificateValidation | None, digest: bytes, server: bool
    ) -> Validation | None:
        if validation is None:
            return None
        if validation.secret is not None and validation.secret.by_stream:
            found = self._secret(validation.secret.name)
            if not isinstance(found, CertificateValidation):
                raise IdentityError(f"secret {validation.secret.name} holds no validation context")
            validation = validation.merged(found)
        allowed: PeerMatcher = ANY_PEER
        if validation.san_matchers:
            allowed = AllowedSans(digest, validation)
        return Validation(
            _trust(validation, server),
            allowed,
            validation.certificate_sha256,
            validation.spki_sha256,
        )

    def _secret(self, name: str) -> SecretValue:
        found = self._secrets().get(name)
        if isinstance(found, Secret):
            return found.value
        why = "has not arrived" if found is None else found.reason
        raise IdentityError(f"secret {name}: {why}")


def _trust(validation: CertificateValidation, server: bool) -> SpiffeTrust | CaTrust:
    """Whose roots count. A server's clients, and peers that are named by SPIFFE IDs, must be SVIDs
    that a root of their own trust domain signed."""
    named = _trust_domains(validation)
    if validation.spiffe_bundles is not None:
        bundles = {td: TrustBundle.from_pem(_bytes(pem)) for td, pem in validation.spiffe_bundles}
        return SpiffeTrust(frozenset(bundles), TrustBundles.by_name(bundles))
    if validation.system_roots:
        return CaTrust(None)
    secret = validation.secret
    if secret is not None and secret.name.startswith(_FILE_ROOT):
        path = secret.name.removeprefix(_FILE_ROOT)
        return CaTrust(None if path == "system" else TrustBundle.from_pem(_file(path)))
    if validation.trusted_ca is not None:
        roots = TrustBundle.from_pem(_bytes(validation.trusted_ca), _crl(validation))
        if server or named:
            return SpiffeTrust(named, TrustBundles(flat=roots))
        return CaTrust(roots)
    return SpiffeTrust(named)


def _trust_domains(validation: CertificateValidation) -> frozenset[str]:
    """Trust domains that a SAN list names: a flat bundle counts for them too (DESIGN.md 9.3)."""
    found: set[str] = set()
    for san in validation.san_matchers:
        text = san.exact or san.prefix
        if text is not None and text.startswith(_SPIFFE):
            domain, slash, _ = text.removeprefix(_SPIFFE).partition("/")
            if domain and (slash or san.exact is not None):
                found.add(domain)
    return frozenset(found)


def _tls_certificate(noun: TlsCertificateNoun) -> TlsCertificate:
    return TlsCertificate.from_pem(_bytes(noun.certificate_chain), _bytes(noun.private_key))


def _crl(validation: CertificateValidation) -> bytes:
    return b"" if validation.crl is None else _bytes(validation.crl)


def _bytes(source: DataSource) -> bytes:
    if source.inline is not None:
        return source.inline
    if source.filename:
        return _file(source.filename)
    raise ConfigError(source.environment_variable, "credentials in the environment are refused")


def _file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from error
