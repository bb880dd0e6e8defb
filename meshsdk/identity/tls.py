"""Building TLS contexts: immutable snapshots, never changed after they were built.

Changing a live context lets requests in flight crash the process, and cannot remove a root
(HTTP.md 1.3), so each version of identity and settings is a context of its own.
"""

import base64
import os
import ssl
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Final, cast

from cryptography import x509

from meshsdk.call.certificate import Certificate
from meshsdk.errors import ConfigError, IdentityError
from meshsdk.identity.leaf import read_certificate
from meshsdk.identity.svid import Svid, TlsCertificate
from meshsdk.identity.tls_objects import MeshSSLObject, MeshSSLSocket
from meshsdk.identity.tls_params import (
    CaTrust,
    SpiffeTrust,
    SvidChoice,
    TlsParams,
    TlsVersion,
    Validation,
)
from meshsdk.identity.trust_bundle import TrustBundle
from meshsdk.identity.verify import Verifier, all_roots
from meshsdk.identity.x509_context import X509Context

_VERSIONS: Final[dict[TlsVersion, ssl.TLSVersion]] = {
    "TLSv1_2": ssl.TLSVersion.TLSv1_2,
    "TLSv1_3": ssl.TLSVersion.TLSv1_3,
}

# Names of BoringSSL's groups, with OpenSSL's where `set_ecdh_curve` has one.
_CURVES: Final = {
    "P-256": "prime256v1",
    "P-384": "secp384r1",
    "P-521": "secp521r1",
    "X25519": "X25519",
    "X25519MLKEM768": None,
    "X25519Kyber768Draft00": None,
    "P-224": None,
}


@dataclass(frozen=True, slots=True)
class TlsSnapshot:
    """One built context. `identity` is what it was built from, None where it needs none of ours."""

    context: ssl.SSLContext
    identity: X509Context | None
    expires: float
    """When the certificate that it presents ends; epoch seconds."""


def build_snapshot(
    params: TlsParams, identity: X509Context | None, now: Callable[[], float], *, server: bool
) -> TlsSnapshot:
    """1 to 2 ms. Raises `IdentityError` (ours is missing or expired) or `ConfigError` (params)."""
    certificate = _certificate(params, identity, now())
    verifier = _verifier(params, identity, now)
    _check_shape(params, certificate, server=server)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    _set_protocol(context, params, server=server)
    context.check_hostname = False  # by SAN matchers, in the handshake
    context.verify_mode = _verify_mode(params, server=server)
    _load_roots(context, params.validation, verifier, server=server)
    if certificate is not None:
        _load_certificate(context, certificate)
    expires = float("inf") if certificate is None else certificate.not_after
    facts = {
        "verifier": verifier,
        "peer_required": context.verify_mode is ssl.CERT_REQUIRED,
        "own_expiry": expires,
        "own_digest": b"" if certificate is None else certificate.digest,
        "own_certificate": None if certificate is None else _read(certificate),
    }
    # On the instance of a plain SSLContext: anyio wraps subclasses in a thread (HTTP.md 1.4).
    context.sslobject_class = cast(
        "type[ssl.SSLObject]", type("MeshSSLObject", (MeshSSLObject,), facts)
    )
    context.sslsocket_class = cast(
        "type[ssl.SSLSocket]", type("MeshSSLSocket", (MeshSSLSocket,), facts)
    )
    return TlsSnapshot(context, identity if _needs_identity(params) else None, expires)


def _read(certificate: TlsCertificate) -> Certificate:
    leaf = x509.load_der_x509_certificate(certificate.leaf)
    try:
        return read_certificate(leaf, certificate.leaf)
    except ValueError as error:
        raise IdentityError(f"own certificate: unreadable: {error}") from error


def _needs_identity(params: TlsParams) -> bool:
    trust = params.validation.trust if params.validation else None
    ours_verifies = isinstance(trust, SpiffeTrust) and trust.bundles is None
    return ours_verifies or isinstance(params.certificate, SvidChoice)


def _own_trust_domains(params: TlsParams, identity: X509Context | None) -> set[str]:
    """Those of the identities that this context speaks for: a flat bundle counts for them."""
    own = set(identity.trust_domains) if identity and _needs_identity(params) else set[str]()
    if isinstance(params.certificate, TlsCertificate):
        with suppress(IdentityError):  # an ordinary certificate has none
            own.add(Svid.of(params.certificate).spiffe_id.trust_domain)
    return own


def _check_shape(params: TlsParams, certificate: TlsCertificate | None, *, server: bool) -> None:
    if server and certificate is None:
        raise ConfigError("common_tls_context.tls_certificates", "a server needs a certificate")
    if params.validation is not None:
        return
    if not server or params.require_client_certificate:
        raise ConfigError(
            "common_tls_context.validation_context",
            "required: TLS that does not verify its peer is refused",
        )


def _certificate(
    params: TlsParams, identity: X509Context | None, now: float
) -> TlsCertificate | None:
    choice = params.certificate
    if isinstance(choice, SvidChoice):
        if identity is None:
            raise IdentityError("no identity yet: expected an SVID to present, found none")
        svid = identity.svid(hint=choice.hint, spiffe_id=choice.spiffe_id)
        what, certificate = str(svid.spiffe_id), svid.certificate
    elif choice is None:
        return None
    else:
        what, certificate = "the TLS context's certificate", choice
    if certificate.not_after <= now:
        raise IdentityError(
            f"{what} has expired: expected notAfter in the future,"
            f" found {now - certificate.not_after:.0f} s ago"
        )
    return certificate


def _verifier(
    params: TlsParams, identity: X509Context | None, now: Callable[[], float]
) -> Verifier | None:
    validation = params.validation
    if validation is None:
        return None
    trust = validation.trust
    if isinstance(trust, CaTrust):
        return Verifier.of(validation, {}, now)
    bundles = trust.bundles or (identity.bundles if identity else None)
    if bundles is None:
        raise IdentityError("no identity yet: expected a trust bundle, found none")
    named = trust.trust_domains.union(_own_trust_domains(params, identity))
    return Verifier.of(validation, bundles.for_trust_domains(named), now)


def _verify_mode(params: TlsParams, *, server: bool) -> ssl.VerifyMode:
    if params.validation is None:
        return ssl.CERT_NONE
    if server and not params.require_client_certificate:
        return ssl.CERT_OPTIONAL
    return ssl.CERT_REQUIRED


def _load_roots(
    context: ssl.SSLContext,
    validation: Validation | None,
    verifier: Verifier | None,
    *,
    server: bool,
) -> None:
    if validation is None or verifier is None:
        return
    bundles: Iterable[TrustBundle] = verifier.bundles.values()
    if isinstance(validation.trust, CaTrust):
        if validation.trust.bundle is None:
            context.load_default_certs(
                ssl.Purpose.CLIENT_AUTH if server else ssl.Purpose.SERVER_AUTH
            )
            return
        bundles = (validation.trust.bundle,)
    # An intermediate may be an anchor, as in Envoy.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    roots = all_roots(bundles)
    if roots:  # without any, every peer is refused
        context.load_verify_locations(cadata=roots)


def _set_protocol(context: ssl.SSLContext, params: TlsParams, *, server: bool) -> None:
    if params.minimum_version > params.maximum_version:
        raise ConfigError(
            "common_tls_context.tls_params",
            f"minimum {params.minimum_version} is above maximum {params.maximum_version}",
        )
    context.minimum_version = _VERSIONS[params.minimum_version]
    context.maximum_version = _VERSIONS[params.maximum_version]
    # A resumed session hides the chain and outlives a removed root (THREATS T1).
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    if server:
        context.num_tickets = 0
    if params.cipher_suites:
        context.set_ciphers(openssl_ciphers(params.cipher_suites))
    if params.ecdh_curves:
        context.set_ecdh_curve(openssl_curve(params.ecdh_curves))
    if params.alpn:
        try:
            context.set_alpn_protocols(list(params.alpn))
        except ssl.SSLError as error:
            raise ConfigError(
                "common_tls_context.alpn_protocols",
                f"expected names of 1 to 255 bytes, found {list(params.alpn)}",
            ) from error


@cache
def _known_ciphers() -> frozenset[str]:
    probe = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    probe.set_ciphers("ALL:!aNULL:!eNULL")
    return frozenset(
        cipher["name"] for cipher in probe.get_ciphers() if cipher["protocol"] != "TLSv1.3"
    )


def openssl_ciphers(suites: tuple[str, ...]) -> str:
    """OpenSSL's cipher list; `ConfigError` names each suite that OpenSSL does not have.

    OpenSSL knows no equal-preference groups: `[A|B]` becomes A, then B.
    """
    names = [name for suite in suites for name in suite.strip("[]").split("|")]
    unknown = sorted(set(names) - _known_ciphers())
    if unknown:
        raise ConfigError(
            "common_tls_context.tls_params.cipher_suites",
            f"expected TLS 1.2 suites that {ssl.OPENSSL_VERSION} has, found {', '.join(unknown)}",
        )
    return ":".join(names)


def openssl_curve(curves: tuple[str, ...]) -> str:
    """The one curve that the ssl module lets us set, out of those that are allowed.

    P-256 where it is allowed, since every TLS 1.3 peer must have it (RFC 8446, 9.1); else the
    first that OpenSSL has. So never a curve outside the list, but not all of it.
    """
    path = "common_tls_context.tls_params.ecdh_curves"
    unknown = [curve for curve in curves if curve not in _CURVES]
    if unknown:
        raise ConfigError(path, f"expected {', '.join(_CURVES)}, found {', '.join(unknown)}")
    if "P-256" in curves:
        return "prime256v1"
    usable = [name for curve in curves if (name := _CURVES[curve]) is not None]
    if not usable:
        raise ConfigError(path, f"{ssl.OPENSSL_VERSION} has none of {', '.join(curves)}")
    return usable[0]


def _load_certificate(context: ssl.SSLContext, certificate: TlsCertificate) -> None:
    pem = b"".join(
        (
            _pem("PRIVATE KEY", certificate.private_key),
            *(_pem("CERTIFICATE", each) for each in certificate.chain),
        )
    )
    try:
        if sys.platform == "linux":
            _load_by_memfd(context, pem)
        else:
            _load_by_file(context, pem)
    except (OSError, ssl.SSLError) as error:
        raise IdentityError(f"OpenSSL refuses our certificate or key: {error}") from error


def _pem(label: str, der: bytes) -> bytes:
    body = base64.encodebytes(der)
    return b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), body, label.encode())


def _load_by_memfd(context: ssl.SSLContext, pem: bytes) -> None:
    """`load_cert_chain` reads files only; this one never touches a disk (THREATS T10)."""
    fd = os.memfd_create("svid", os.MFD_CLOEXEC)
    try:
        os.write(fd, pem)
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def _load_by_file(context: ssl.SSLContext, pem: bytes) -> None:
    fd, path = tempfile.mkstemp()  # 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(pem)
        context.load_cert_chain(path)
    finally:
        os.unlink(path)


def usable_sni(host: str) -> str | None:
    """The host as SNI, or None where Python cannot encode it (a label over 63 octets)."""
    try:
        host.encode("idna")
    except UnicodeError:
        return None
    return host or None
