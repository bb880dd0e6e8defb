"""MeshConfig: the document without apiVersion and kind. Source: istio.mesh.v1alpha1."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.connection_pool import KEEPALIVE, Keepalive, parse_keepalive
from meshsdk.control_plane.istio.extension_providers import (
    ExtensionProvider,
    parse_extension_providers,
)
from meshsdk.control_plane.istio.http_actions import RETRIES, Retries, parse_retries
from meshsdk.control_plane.istio.load_balancer import LOCALITY, LocalityLb, parse_locality
from meshsdk.control_plane.istio.nodes import Node
from meshsdk.control_plane.istio.spec_fields import Fields, Note, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

PathNormalization: TypeAlias = Literal["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"]

_HERE: Final = "of Istio's installation, not of the feed"
_NO_GATEWAY: Final = "Kubernetes Ingress is not read"
_FIELDS: Final = fields(
    "accessLogEncoding", "accessLogFile", "accessLogFormat", "connectTimeout", "defaultConfig",
    "defaultDestinationRuleExportTo", "defaultHttpRetryPolicy", "defaultProviders",
    "defaultServiceExportTo", "defaultVirtualServiceExportTo", "disableEnvoyListenerLog",
    "dnsRefreshRate", "enableAutoMtls", "enableTracing", "extensionProviders", "h2UpgradePolicy",
    "inboundClusterStatName", "inboundTrafficPolicy", "localityLbSetting", "meshMTLS",
    "outboundClusterStatName", "outboundTrafficPolicy", "pathNormalization",
    "protocolDetectionTimeout", "proxyInboundListenPort", "proxyListenPort", "rootNamespace",
    "tcpKeepalive", "trustDomain", "trustDomainAliases", "verifyCertificateAtClient",
    refused={
        "compliancePolicy": "not built, and TLS would be weaker than it asks for",
        "tlsDefaults": "not built, and TLS would be weaker than it asks for",
    },
    ignored={
        "ca": _HERE, "certificates": _HERE, "configSources": _HERE,
        "enablePrometheusMerge": _HERE, "ingressClass": _NO_GATEWAY,
        "ingressControllerMode": _NO_GATEWAY, "ingressSelector": _NO_GATEWAY,
        "ingressService": _NO_GATEWAY,
        "caCertificates": "further roots are not handed out, so their peers are refused",
        "discoverySelectors": "the documents of all namespaces are read",
        "enableEnvoyAccessLogService": "not built",
        "proxyHttpPort": "there is no listener for HTTP proxy requests",
        "serviceScopeConfigs": "ambient mode is not built",
        "serviceSettings": "there is one cluster",
    },
)  # fmt: skip
# Source: istio.mesh.v1alpha1.ProxyConfig.
_DEFAULT_CONFIG: Final = fields(
    "availabilityZone", "binaryPath", "caCertificatesPem", "concurrency", "configPath",
    "controlPlaneAuthPolicy", "customConfigFile", "discoveryAddress", "discoveryRefreshDelay",
    "drainDuration", "envoyAccessLogService", "envoyMetricsService", "extraStatTags",
    "fileFlushInterval", "fileFlushMinSizeKb", "gatewayTopology",
    "holdApplicationUntilProxyStarts", "image", "interceptionMode", "meshId",
    "parentShutdownDuration", "privateKeyProvider", "proxyAdminPort",
    "proxyBootstrapTemplatePath", "proxyHeaders", "proxyMetadata", "proxyStatsMatcher",
    "readinessProbe", "runtimeValues", "sds", "serviceCluster", "statNameLength",
    "statsCompression", "statsdUdpAddress", "statusPort", "terminationDrainDuration", "tracing",
    "tracingServiceName", "zipkinAddress",
)  # fmt: skip
_MODE: Final = fields("mode")
_NORMALIZATION: Final = fields("normalization")
_PROVIDERS: Final = fields("accessLogging", "metrics", "tracing")
_TLS: Final = fields("cipherSuites", "ecdhCurves", "minProtocolVersion")
_MODES: Final[Mapping[str, Literal["REGISTRY_ONLY", "ALLOW_ANY"]]] = {
    "REGISTRY_ONLY": "REGISTRY_ONLY",
    "ALLOW_ANY": "ALLOW_ANY",
}
_NORMALIZATIONS: Final[Mapping[str, PathNormalization]] = {
    "DEFAULT": "BASE",  # istiod's default
    "NONE": "NONE",
    "BASE": "BASE",
    "MERGE_SLASHES": "MERGE_SLASHES",
    "DECODE_AND_MERGE_SLASHES": "DECODE_AND_MERGE_SLASHES",
}
_VERSIONS: Final = {"TLS_AUTO": "TLSv1_2", "TLSV1_2": "TLSv1_2", "TLSV1_3": "TLSv1_3"}


@dataclass(frozen=True, slots=True)
class DefaultProviders:
    """Providers used where no Telemetry names others."""

    access_logging: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    tracing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """The mesh-wide settings, Istio's defaults where unset."""

    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"
    enable_auto_mtls: bool = True
    outbound_traffic_policy: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "ALLOW_ANY"
    inbound_traffic_policy: Literal["PASSTHROUGH", "LOCALHOST"] = "PASSTHROUGH"
    path_normalization: PathNormalization = "BASE"
    extension_providers: tuple[ExtensionProvider, ...] = ()
    default_providers: DefaultProviders = DefaultProviders()
    access_log_file: str = ""
    access_log_format: str = ""
    access_log_encoding: Literal["TEXT", "JSON"] = "TEXT"
    disable_envoy_listener_log: bool = False
    enable_tracing: bool = True
    connect_timeout: float = 10.0
    protocol_detection_timeout: float = 0.0
    dns_refresh_rate: float = 60.0
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = "DO_NOT_UPGRADE"
    proxy_listen_port: int = 15001
    proxy_inbound_listen_port: int = 15006
    verify_certificate_at_client: bool = True
    mesh_mtls_min_version: str = "TLSv1_2"
    """As Envoy spells it."""
    mesh_mtls_cipher_suites: tuple[str, ...] = ()
    mesh_mtls_ecdh_curves: tuple[str, ...] = ()
    default_service_export_to: tuple[str, ...] = ("*",)
    default_virtual_service_export_to: tuple[str, ...] = ("*",)
    default_destination_rule_export_to: tuple[str, ...] = ("*",)
    default_http_retry_policy: Retries | None = None
    """Of routes that say nothing of retries; None is istiod's own default."""
    inbound_cluster_stat_name: str = ""
    outbound_cluster_stat_name: str = ""
    default_config: Mapping[str, object] = field(default_factory=dict[str, object])
    """ProxyConfig as it was written, camelCase: names checked, types not."""
    locality_lb: LocalityLb = field(default_factory=LocalityLb)
    keepalive: Keepalive | None = None
    """None leaves it to the system."""

    def provider(self, name: str) -> ExtensionProvider | None:
        """The extension provider of a name."""
        return next((each for each in self.extension_providers if each.name == name), None)

    @property
    def trust_domains(self) -> tuple[str, ...]:
        """The trust domain and its aliases."""
        return (self.trust_domain, *self.trust_domain_aliases)


def parse_mesh_config(node: Node, notes: list[Note]) -> MeshConfig:
    """The settings of a MeshConfig document."""
    reader = SpecReader(node, "", _FIELDS, notes)
    mesh_mtls = _message(reader, "meshMTLS", _TLS)
    locality = reader.message("localityLbSetting", LOCALITY)
    keepalive = reader.message("tcpKeepalive", KEEPALIVE)
    return MeshConfig(
        trust_domain=reader.string("trustDomain") or "cluster.local",
        trust_domain_aliases=reader.strings("trustDomainAliases"),
        root_namespace=reader.string("rootNamespace") or "istio-system",
        enable_auto_mtls=reader.boolean("enableAutoMtls", True),
        outbound_traffic_policy=_outbound(reader),
        inbound_traffic_policy=_inbound(reader),
        path_normalization=_normalization(reader),
        extension_providers=parse_extension_providers(reader),
        default_providers=_default_providers(reader),
        access_log_file=reader.string("accessLogFile"),
        access_log_format=reader.string("accessLogFormat"),
        access_log_encoding=reader.enum(
            "accessLogEncoding", {"TEXT": "TEXT", "JSON": "JSON"}, "TEXT"
        ),
        disable_envoy_listener_log=reader.boolean("disableEnvoyListenerLog"),
        enable_tracing=reader.boolean("enableTracing", True),
        connect_timeout=_positive(reader, "connectTimeout", 10.0),
        protocol_detection_timeout=_positive(reader, "protocolDetectionTimeout", 0.0),
        dns_refresh_rate=_positive(reader, "dnsRefreshRate", 60.0),
        h2_upgrade_policy=reader.enum(
            "h2UpgradePolicy",
            {"DO_NOT_UPGRADE": "DO_NOT_UPGRADE", "UPGRADE": "UPGRADE"},
            "DO_NOT_UPGRADE",
        ),
        proxy_listen_port=_port(reader, "proxyListenPort", 15001),
        proxy_inbound_listen_port=_port(reader, "proxyInboundListenPort", 15006),
        verify_certificate_at_client=reader.boolean("verifyCertificateAtClient", True),
        mesh_mtls_min_version=mesh_mtls.enum("minProtocolVersion", _VERSIONS, "TLS_AUTO"),
        mesh_mtls_cipher_suites=mesh_mtls.strings("cipherSuites"),
        mesh_mtls_ecdh_curves=mesh_mtls.strings("ecdhCurves"),
        default_service_export_to=_export_to(reader, "defaultServiceExportTo"),
        default_virtual_service_export_to=_export_to(reader, "defaultVirtualServiceExportTo"),
        default_destination_rule_export_to=_export_to(reader, "defaultDestinationRuleExportTo"),
        default_http_retry_policy=_retries(reader),
        inbound_cluster_stat_name=reader.string("inboundClusterStatName"),
        outbound_cluster_stat_name=reader.string("outboundClusterStatName"),
        default_config=_plain(reader, "defaultConfig", _DEFAULT_CONFIG),
        locality_lb=LocalityLb() if locality is None else parse_locality(locality),
        keepalive=None if keepalive is None else parse_keepalive(keepalive),
    )


def _message(reader: SpecReader, name: str, known: Fields) -> SpecReader:
    found = reader.message(name, known)
    if found is not None:
        return found
    return SpecReader(Node({}, reader.mark), reader.at(name), known, reader.notes)


def _retries(reader: SpecReader) -> Retries | None:
    found = reader.message("defaultHttpRetryPolicy", RETRIES)
    return None if found is None else parse_retries(found)


def _plain(reader: SpecReader, name: str, known: Fields) -> Mapping[str, object]:
    found = reader.message(name, known)
    return {} if found is None else {key: item.plain() for key, item in found.value.items()}


def _outbound(reader: SpecReader) -> Literal["REGISTRY_ONLY", "ALLOW_ANY"]:
    policy = reader.message("outboundTrafficPolicy", _MODE)
    if policy is None:
        return "ALLOW_ANY"
    return policy.enum("mode", _MODES, "REGISTRY_ONLY")  # the enum's zero


def _inbound(reader: SpecReader) -> Literal["PASSTHROUGH", "LOCALHOST"]:
    modes: dict[str, Literal["PASSTHROUGH", "LOCALHOST"]] = {
        "PASSTHROUGH": "PASSTHROUGH",
        "LOCALHOST": "LOCALHOST",
    }
    return _message(reader, "inboundTrafficPolicy", _MODE).enum("mode", modes, "PASSTHROUGH")


def _normalization(reader: SpecReader) -> PathNormalization:
    found = _message(reader, "pathNormalization", _NORMALIZATION)
    return found.enum("normalization", _NORMALIZATIONS, "DEFAULT")


def _export_to(reader: SpecReader, name: str) -> tuple[str, ...]:
    return reader.strings(name) or ("*",)


def _port(reader: SpecReader, name: str, default: int) -> int:
    return reader.integer(name, default, at_least=1, at_most=65535)


def _positive(reader: SpecReader, name: str, default: float) -> float:
    seconds = reader.duration(name, default)
    if seconds < 0 or 0 < seconds < 0.001:
        raise reader.error_at(name, f"expected at least 1ms, found {seconds:g}s")
    return seconds


def _default_providers(reader: SpecReader) -> DefaultProviders:
    found = _message(reader, "defaultProviders", _PROVIDERS)
    return DefaultProviders(
        found.strings("accessLogging"), found.strings("metrics"), found.strings("tracing")
    )
