"""Transport sockets: UpstreamTlsContext, DownstreamTlsContext, raw_buffer.

These nouns say what is asked for; `identity/` makes contexts of them.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import check
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.resources.certificate_validation import (
    CertificateValidation,
    check_roots,
    parse_certificate_validation,
)
from meshsdk.resources.tls_certificate import (
    CertificateSource,
    SdsSecret,
    parse_certificate_provider,
    parse_sds_secret,
    parse_tls_certificate,
)
from meshsdk.resources.tls_fields import (
    COMBINED_VALIDATION,
    COMMON_TLS,
    DOWNSTREAM_TLS,
    TLS_PARAMETERS,
    TRANSPORT_SOCKET,
    UPSTREAM_TLS,
)

UPSTREAM_TLS_URL: Final = (
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
)
DOWNSTREAM_TLS_URL: Final = (
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
)
RAW_BUFFER_URL: Final = (
    "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
)
_RAW_BUFFER_NAME: Final = "envoy.transport_sockets.raw_buffer"

TlsVersion: TypeAlias = Literal["TLSv1_2", "TLSv1_3"]
_PROTOCOLS: Final = {
    name: name for name in ("TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3")
}


@dataclass(frozen=True, slots=True)
class TlsParameters:
    """Versions and algorithms; empty lists are OpenSSL's own choice."""

    minimum_version: TlsVersion = "TLSv1_2"
    """Never below: older versions do not exist here."""
    maximum_version: TlsVersion = "TLSv1_3"
    cipher_suites: tuple[str, ...] = ()
    """TLS 1.2 suites by OpenSSL's names; `[A|B]` is an equal-preference group."""
    ecdh_curves: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpstreamTls:
    """TLS to an endpoint. Equal `digest`, equal context."""

    sni: str = ""
    auto_host_sni: bool = False
    """SNI is the endpoint's host name, where it has one."""
    auto_sni_san_validation: bool = False
    """The certificate must name the SNI; then `san_matchers` do not count."""
    alpn: tuple[str, ...] = ()
    parameters: TlsParameters = TlsParameters()
    certificate: CertificateSource | None = None
    """None: we present none."""
    validation: CertificateValidation | None = None
    """None: the peer is not verified, as in Envoy."""
    digest: bytes = b""

    def __hash__(self) -> int:
        return hash((self.digest, self.sni))


@dataclass(frozen=True, slots=True)
class DownstreamTls:
    """TLS that a filter chain accepts."""

    require_client_certificate: bool = False
    """False with a validation: a certificate that is presented must verify."""
    alpn: tuple[str, ...] = ()
    parameters: TlsParameters = TlsParameters()
    certificate: CertificateSource | None = None
    validation: CertificateValidation | None = None
    digest: bytes = b""

    def __hash__(self) -> int:
        return hash(self.digest)


def secrets(socket: UpstreamTls | DownstreamTls | None) -> tuple[SdsSecret, ...]:
    """The secrets that a socket refers to by name."""
    if socket is None:
        return ()
    found = [socket.certificate] if isinstance(socket.certificate, SdsSecret) else []
    if socket.validation is not None and socket.validation.secret is not None:
        found.append(socket.validation.secret)
    return tuple(found)


def parse_transport_socket(
    reader: Reader, extensions: Extensions
) -> UpstreamTls | DownstreamTls | None:
    """The socket of a TransportSocket message; None is plaintext (raw_buffer)."""
    del extensions
    check(reader, TRANSPORT_SOCKET)
    config = reader.typed("typed_config")
    if config is None:
        if reader.string("name") == _RAW_BUFFER_NAME:
            return None
        raise reader.error_at("typed_config", "expected a transport socket's config, found none")
    match config.type_url:
        case url if url == RAW_BUFFER_URL:
            return None
        case url if url == UPSTREAM_TLS_URL:
            return _upstream(config)
        case url if url == DOWNSTREAM_TLS_URL:
            return _downstream(config)
        case url:
            raise UnknownExtensionError(config.path, f"no transport socket takes {url}", url)


def _upstream(reader: Reader) -> UpstreamTls:
    check(reader, UPSTREAM_TLS)
    sni = reader.string("sni")
    if len(sni.encode()) > 255:
        raise reader.error_at("sni", "expected at most 255 octets")
    common = _common(reader)
    if reader.boolean("auto_sni_san_validation") and common.validation is None:
        raise reader.error_at(
            "auto_sni_san_validation", "expected a validation context beside it, found none"
        )
    return UpstreamTls(
        sni=sni,
        auto_host_sni=reader.boolean("auto_host_sni"),
        auto_sni_san_validation=reader.boolean("auto_sni_san_validation"),
        alpn=common.alpn,
        parameters=common.parameters,
        certificate=common.certificate,
        validation=common.validation,
        digest=_digest(reader),
    )


def _downstream(reader: Reader) -> DownstreamTls:
    check(reader, DOWNSTREAM_TLS)
    common = _common(reader)
    required = reader.boolean("require_client_certificate")
    if required and (common.validation is None or not common.validation.has_roots):
        # Envoy takes it and then accepts any certificate at all.
        raise reader.error_at(
            "require_client_certificate",
            "refused: without a validation context no certificate is verified",
        )
    if common.certificate is None:
        raise reader.error_at("common_tls_context", "a server needs a certificate, found none")
    return DownstreamTls(
        require_client_certificate=required,
        alpn=common.alpn,
        parameters=common.parameters,
        certificate=common.certificate,
        validation=common.validation,
        digest=_digest(reader),
    )


@dataclass(frozen=True, slots=True)
class _Common:
    alpn: tuple[str, ...]
    parameters: TlsParameters
    certificate: CertificateSource | None
    validation: CertificateValidation | None


def _common(context: Reader) -> _Common:
    reader = context.message("common_tls_context") or Reader(
        {}, f"{context.path}.common_tls_context"
    )
    check(reader, COMMON_TLS)
    parameters = reader.message("tls_params")
    return _Common(
        reader.strings("alpn_protocols"),
        TlsParameters() if parameters is None else _parameters(parameters),
        _certificate(reader),
        _validation(reader),
    )


def _parameters(reader: Reader) -> TlsParameters:
    check(reader, TLS_PARAMETERS)
    minimum = reader.enum("tls_minimum_protocol_version", _PROTOCOLS, "TLS_AUTO")
    maximum = reader.enum("tls_maximum_protocol_version", _PROTOCOLS, "TLS_AUTO")
    if maximum in ("TLSv1_0", "TLSv1_1"):
        raise reader.error_at(
            "tls_maximum_protocol_version", f"expected TLSv1_2 or TLSv1_3, found {maximum}"
        )
    if minimum == "TLSv1_3" and maximum == "TLSv1_2":
        raise reader.error("expected a minimum version that is not above the maximum")
    return TlsParameters(
        "TLSv1_3" if minimum == "TLSv1_3" else "TLSv1_2",
        "TLSv1_2" if maximum == "TLSv1_2" else "TLSv1_3",
        reader.strings("cipher_suites"),
        reader.strings("ecdh_curves"),
    )


def _certificate(reader: Reader) -> CertificateSource | None:
    found: list[CertificateSource] = [
        *reader.each("tls_certificates", parse_tls_certificate),
        *reader.each("tls_certificate_sds_secret_configs", parse_sds_secret),
    ]
    # gRPC's feed sets the old and the new field (A29); the new one counts.
    provider = reader.message("tls_certificate_provider_instance") or reader.message(
        "tls_certificate_certificate_provider_instance"
    )
    if provider is not None:
        found.append(parse_certificate_provider(provider))
    if len(found) > 1:
        raise reader.error(f"expected at most one certificate, found {len(found)}")
    return found[0] if found else None


def _validation(reader: Reader) -> CertificateValidation | None:
    kind = reader.one_of(
        "validation_context",
        "validation_context_sds_secret_config",
        "combined_validation_context",
        "validation_context_certificate_provider_instance",
    )
    if kind is None:
        return None
    config = reader.required_message(kind)
    match kind:
        case "validation_context":
            validation = parse_certificate_validation(config)
        case "validation_context_sds_secret_config":
            validation = CertificateValidation(secret=parse_sds_secret(config))
        case "combined_validation_context":
            validation = _combined(config)
        case _:
            validation = CertificateValidation(provider=parse_certificate_provider(config))
    check_roots(validation, config)
    return validation


def _combined(reader: Reader) -> CertificateValidation:
    check(reader, COMBINED_VALIDATION)
    default = parse_certificate_validation(reader.required_message("default_validation_context"))
    provider = reader.message("validation_context_certificate_provider_instance")
    secret = reader.message("validation_context_sds_secret_config")
    if provider is not None:
        return default.merged(CertificateValidation(provider=parse_certificate_provider(provider)))
    if secret is None:
        raise reader.error_at(
            "validation_context_sds_secret_config", "expected a message, found none"
        )
    return CertificateValidation(
        trusted_ca=default.trusted_ca,
        provider=default.provider,
        system_roots=default.system_roots,
        spiffe_bundles=default.spiffe_bundles,
        secret=parse_sds_secret(secret),
        san_matchers=default.san_matchers,
        certificate_sha256=default.certificate_sha256,
        spki_sha256=default.spki_sha256,
        crl=default.crl,
    )


def _digest(reader: Reader) -> bytes:
    return hashlib.sha256(json.dumps(reader.value, sort_keys=True).encode()).digest()
