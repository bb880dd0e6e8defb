"""Certificates and keys that a TLS context or a secret carries, and references to secrets."""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.resources.config_source import ADS, ConfigSource, parse_config_source
from meshsdk.resources.data_source import DataSource, parse_data_source

TLS_CERTIFICATE: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.TlsCertificate",
    {
        **honoured("certificate_chain", "private_key"),
        "pkcs12": refused("expected PEM"),
        "password": refused("expected a key that is not encrypted"),
        "private_key_provider": refused("keys that stay in a device"),
        "tls_params": refused("parameters per certificate"),
        "watched_directory": ignored("files are watched by their own path"),
        "ocsp_staple": ignored("no staple is sent; who insists says so by ocsp_staple_policy"),
        "signed_certificate_timestamp": ignored("none is sent"),
    },
    security=True,
)
SDS_SECRET_CONFIG: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig",
    honoured("name", "sds_config"),
    security=True,
)
PROVIDER_INSTANCE: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.CertificateProviderPluginInstance",
    honoured("instance_name", "certificate_name"),
    security=True,
)
OLD_PROVIDER_INSTANCE: Final = MessageTable(
    "envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CertificateProviderInstance",
    honoured("instance_name", "certificate_name"),
    security=True,
)


@dataclass(frozen=True, slots=True)
class TlsCertificate:
    """A PEM chain and the PEM key of its first certificate."""

    certificate_chain: DataSource
    private_key: DataSource = field(repr=False)


@dataclass(frozen=True, slots=True)
class SdsSecret:
    """A secret by name.

    Names that Istio knows mean the same whatever the source says (FEED.md 2.5): `default` and
    `ROOTCA` are our own identity, `file-cert:CHAIN~KEY` and `file-root:PATH` files,
    `file-root:system` the operating system's roots. Others come by the stream when `is_ads`.
    """

    name: str
    source: ConfigSource = ADS

    @property
    def is_well_known(self) -> bool:
        """Whether the name itself says where the secret is."""
        return self.name in _OWN or self.name.startswith(_FILES)

    @property
    def by_stream(self) -> bool:
        """Whether to subscribe to the secret on the ADS stream."""
        return self.source.is_ads and not self.is_well_known


_OWN: Final = frozenset({"default", "ROOTCA"})
_FILES: Final = ("file-cert:", "file-root:")


@dataclass(frozen=True, slots=True)
class CertificateProvider:
    """An instance of the bootstrap's certificate_providers (gRPC, A29)."""

    instance_name: str
    certificate_name: str = ""


CertificateSource: TypeAlias = TlsCertificate | SdsSecret | CertificateProvider


def parse_tls_certificate(reader: Reader) -> TlsCertificate:
    """A TlsCertificate message; both halves are needed."""
    check(reader, TLS_CERTIFICATE)
    return TlsCertificate(
        parse_data_source(reader.required_message("certificate_chain")),
        parse_data_source(reader.required_message("private_key")),
    )


def parse_sds_secret(reader: Reader) -> SdsSecret:
    """An SdsSecretConfig message; without `sds_config` the name is a secret of the bootstrap."""
    check(reader, SDS_SECRET_CONFIG)
    name = reader.required_string("name")
    source = reader.message("sds_config")
    if source is None:
        return SdsSecret(name, ConfigSource(is_ads=False))
    return SdsSecret(name, parse_config_source(source))


def parse_certificate_provider(reader: Reader) -> CertificateProvider:
    """A CertificateProviderPluginInstance message, or its older twin."""
    check(reader, PROVIDER_INSTANCE)
    return CertificateProvider(
        reader.string("instance_name") or "default", reader.string("certificate_name")
    )
