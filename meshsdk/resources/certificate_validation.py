"""CertificateValidationContext: what a peer's certificate must be."""

import base64
import binascii
import re
from dataclasses import dataclass, replace
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.resources.data_source import DataSource, optional_data_source, parse_data_source
from meshsdk.resources.subject_alt_names import SanMatcher, parse_typed_san, parse_untyped_san
from meshsdk.resources.tls_certificate import (
    CertificateProvider,
    SdsSecret,
    parse_certificate_provider,
)

CERTIFICATE_VALIDATION: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext",
    {
        **honoured(
            "trusted_ca",
            "ca_certificate_provider_instance",
            "system_root_certs",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "crl",
            "trust_chain_verification",
            "custom_validator_config",
        ),
        "watched_directory": ignored("files are watched by their own path"),
        "suppress_client_ca_list": ignored("the list is advice to clients"),
        "require_signed_certificate_timestamp": refused("timestamps are not verified"),
        "allow_expired_certificate": refused("an expired certificate is never accepted"),
        "only_verify_leaf_cert_crl": refused("every issuer of a chain needs its list"),
        "max_verify_depth": refused("the length of chains is not limited by configuration"),
    },
    security=True,
)
SPIFFE_VALIDATOR: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    {**honoured("trust_domains"), "trust_bundles": refused("expected trust_domains")},
    security=True,
)
TRUST_DOMAIN: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain",
    {
        **honoured("name", "trust_bundle"),
        "workload_trust_domain": refused("a bundle speaks for its own trust domain only"),
    },
    security=True,
)
_SPIFFE_URL: Final = (
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"
)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SAN_LISTS: Final = ("match_typed_subject_alt_names", "match_subject_alt_names")


@dataclass(frozen=True, slots=True)
class CertificateValidation:
    """All that is given must hold; `san_matchers`: one of them."""

    trusted_ca: DataSource | None = None
    """PEM roots."""
    provider: CertificateProvider | None = None
    """Roots of a certificate provider."""
    system_roots: bool = False
    spiffe_bundles: tuple[tuple[str, DataSource], ...] | None = None
    """PEM bundles by trust domain (envoy.tls.cert_validator.spiffe): each speaks for its own."""
    secret: SdsSecret | None = None
    """A validation context that is still to be merged in, or `ROOTCA` and its kin."""
    san_matchers: tuple[SanMatcher, ...] = ()
    certificate_sha256: frozenset[str] = frozenset()
    """verify_certificate_hash: lower-case hex without colons."""
    spki_sha256: frozenset[str] = frozenset()
    """verify_certificate_spki: base64. With both lists a match in either is enough."""
    crl: DataSource | None = None

    @property
    def has_roots(self) -> bool:
        """Whether there is anything to verify a chain against."""
        return (
            self.trusted_ca is not None
            or self.provider is not None
            or self.system_roots
            or self.spiffe_bundles is not None
            or self.secret is not None
        )

    def merged(self, dynamic: "CertificateValidation") -> "CertificateValidation":
        """This default context with the one that its secret brought (combined_validation_context).

        As MergeFrom does: a field of `dynamic` replaces, a list of it is added.
        """
        return replace(
            self,
            trusted_ca=dynamic.trusted_ca or self.trusted_ca,
            provider=dynamic.provider or self.provider,
            system_roots=dynamic.system_roots or self.system_roots,
            spiffe_bundles=(
                self.spiffe_bundles if dynamic.spiffe_bundles is None else dynamic.spiffe_bundles
            ),
            secret=None,
            san_matchers=(*self.san_matchers, *dynamic.san_matchers),
            certificate_sha256=self.certificate_sha256 | dynamic.certificate_sha256,
            spki_sha256=self.spki_sha256 | dynamic.spki_sha256,
            crl=dynamic.crl or self.crl,
        )

    def describe(self) -> str:
        """Whom this allows, for people."""
        return " or ".join(san.describe() for san in self.san_matchers) or "any identity"


def parse_certificate_validation(reader: Reader) -> CertificateValidation:
    """A CertificateValidationContext message."""
    check(reader, CERTIFICATE_VALIDATION)
    if reader.string("trust_chain_verification", "VERIFY_TRUST_CHAIN") != "VERIFY_TRUST_CHAIN":
        raise reader.error_at(
            "trust_chain_verification", "refused: a chain that is not trusted is never accepted"
        )
    provider = reader.message("ca_certificate_provider_instance")
    return CertificateValidation(
        trusted_ca=optional_data_source(reader, "trusted_ca"),
        provider=None if provider is None else parse_certificate_provider(provider),
        system_roots=reader.has("system_root_certs"),
        spiffe_bundles=_spiffe_bundles(reader),
        san_matchers=_san_matchers(reader),
        certificate_sha256=frozenset(_certificate_hashes(reader)),
        spki_sha256=frozenset(_spki_hashes(reader)),
        crl=optional_data_source(reader, "crl"),
    )


def check_roots(validation: CertificateValidation, reader: Reader) -> None:
    """Names and revocation say nothing of a chain that nobody verifies: refused, as in Envoy."""
    if validation.has_roots:
        return
    if validation.san_matchers:
        raise reader.error("expected a trusted CA beside the subject alternative names, found none")
    if validation.crl is not None:
        raise reader.error_at("crl", "expected a trusted CA beside the revocation list, found none")


def _san_matchers(reader: Reader) -> tuple[SanMatcher, ...]:
    reader.one_of(*(name for name in _SAN_LISTS if reader.messages(name)))
    return (
        *reader.each("match_typed_subject_alt_names", parse_typed_san),
        *reader.each("match_subject_alt_names", parse_untyped_san),
    )


def _certificate_hashes(reader: Reader) -> tuple[str, ...]:
    found: list[str] = []
    for i, text in enumerate(reader.strings("verify_certificate_hash")):
        plain = text.replace(":", "").lower()
        if _SHA256.fullmatch(plain) is None:
            raise reader.error_at(
                f"verify_certificate_hash[{i}]", f"expected a SHA-256 in hex, found {text!r}"
            )
        found.append(plain)
    return tuple(found)


def _spki_hashes(reader: Reader) -> tuple[str, ...]:
    found = reader.strings("verify_certificate_spki")
    for i, text in enumerate(found):
        try:
            octets = base64.b64decode(text, validate=True)
        except binascii.Error:
            octets = b""
        if len(octets) != 32:
            raise reader.error_at(
                f"verify_certificate_spki[{i}]", f"expected a SHA-256 in base64, found {text!r}"
            )
    return found


def _spiffe_bundles(reader: Reader) -> tuple[tuple[str, DataSource], ...] | None:
    custom = reader.message("custom_validator_config")
    if custom is None:
        return None
    config = custom.typed("typed_config")
    if config is None or config.type_url != _SPIFFE_URL:
        url = "" if config is None else config.type_url
        raise UnknownExtensionError(custom.path, f"no certificate validator takes {url}", url)
    check(config, SPIFFE_VALIDATOR)
    bundles: dict[str, DataSource] = {}
    for entry in config.messages("trust_domains", at_least=1):
        check(entry, TRUST_DOMAIN)
        name = entry.required_string("name")
        if name in bundles:
            raise entry.error_at("name", f"trust domain {name!r} is given twice")
        bundles[name] = parse_data_source(entry.required_message("trust_bundle"))
    return tuple(sorted(bundles.items()))
