"""Traffic policies: how connections to a service are made. FEED.md 3.6."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.connection_pool import (
    OUTLIER,
    POOL,
    ConnectionPool,
    OutlierDetection,
    parse_connection_pool,
    parse_outlier_detection,
)
from meshsdk.control_plane.istio.load_balancer import (
    LOAD_BALANCER,
    LoadBalancer,
    parse_load_balancer,
)
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

TlsMode: TypeAlias = Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]

_PARTS: Final = ("loadBalancer", "connectionPool", "outlierDetection", "tls")
POLICY: Final = fields(*_PARTS, "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget")
_PORT_LEVEL: Final = fields(*_PARTS, "port")
_PORT: Final = fields("number")
_TLS: Final = fields(
    "mode", "clientCertificate", "privateKey", "caCertificates", "credentialName",
    "subjectAltNames", "sni", "insecureSkipVerify",
    refused={"caCrl": "not built, and revoked certificates would be taken"},
)  # fmt: skip
_TUNNEL: Final = fields("protocol", "targetHost", "targetPort")
_PROXY_PROTOCOL: Final = fields("version")
_BUDGET: Final = fields("percent", "minRetryConcurrency")
_MODES: Final[Mapping[str, TlsMode]] = {
    "DISABLE": "DISABLE",
    "SIMPLE": "SIMPLE",
    "MUTUAL": "MUTUAL",
    "ISTIO_MUTUAL": "ISTIO_MUTUAL",
}


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS towards a service, as the document wants it."""

    mode: TlsMode
    client_certificate: str = ""
    """Paths of files, as are the two below."""
    private_key: str = ""
    ca_certificates: str = ""
    credential_name: str = ""
    subject_alt_names: tuple[str, ...] = ()
    sni: str = ""
    insecure_skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Tunnel:
    """HTTP CONNECT or POST to a proxy, for TCP."""

    protocol: Literal["CONNECT", "POST"]
    target_host: str
    target_port: int


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """None leaves a part to the level above, or to the mesh."""

    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None
    ports: Mapping[int, "TrafficPolicy"] = field(default_factory=dict[int, "TrafficPolicy"])
    """`portLevelSettings`: they replace, and inherit nothing."""
    tunnel: Tunnel | None = None
    proxy_protocol: Literal["", "V1", "V2"] = ""
    retry_budget: tuple[float, int] | None = None
    """Percent and the least number of retries at once."""

    def of_port(self, port: int) -> "TrafficPolicy":
        """What holds on one port of the service."""
        found = self.ports.get(port)
        if found is None:
            return replace(self, ports={})
        return replace(
            found,
            tunnel=self.tunnel,
            proxy_protocol=self.proxy_protocol,
            retry_budget=self.retry_budget,
        )


def merged(policy: TrafficPolicy | None, subset: TrafficPolicy | None, port: int) -> TrafficPolicy:
    """A rule's policy with a subset's over it, for one port. Source: istiod,
    MergeTrafficPolicy."""
    base = (policy or TrafficPolicy()).of_port(port)
    if subset is None:
        return base
    above = TrafficPolicy(
        subset.load_balancer or base.load_balancer,
        subset.connection_pool or base.connection_pool,
        subset.outlier_detection or base.outlier_detection,
        subset.tls or base.tls,
        subset.ports,
        subset.tunnel or base.tunnel,
        subset.proxy_protocol or base.proxy_protocol,
        subset.retry_budget or base.retry_budget,
    )
    return above.of_port(port)


def parse_traffic_policy(reader: SpecReader) -> TrafficPolicy:
    """A `trafficPolicy`, opened with `POLICY`."""
    if not reader.names():
        raise reader.error("expected at least one setting, found none")
    ports: dict[int, TrafficPolicy] = {}
    for each in reader.messages("portLevelSettings", _PORT_LEVEL):
        number = each.required_message("port", _PORT).integer("number", at_least=1, at_most=65535)
        ports.setdefault(number, _parts(each))
    tunnel = reader.message("tunnel", _TUNNEL)
    return replace(
        _parts(reader),
        ports=ports,
        tunnel=None if tunnel is None else _tunnel(tunnel),
        proxy_protocol=_proxy_protocol(reader),
        retry_budget=_retry_budget(reader),
    )


def _parts(reader: SpecReader) -> TrafficPolicy:
    balancer = reader.message("loadBalancer", LOAD_BALANCER)
    pool = reader.message("connectionPool", POOL)
    outlier = reader.message("outlierDetection", OUTLIER)
    tls = reader.message("tls", _TLS)
    return TrafficPolicy(
        None if balancer is None else parse_load_balancer(balancer),
        None if pool is None else parse_connection_pool(pool),
        None if outlier is None else parse_outlier_detection(outlier),
        None if tls is None else _tls(tls),
    )


def _tls(reader: SpecReader) -> ClientTls:
    """Source: istiod, ValidateTLS."""
    found = ClientTls(
        reader.enum("mode", _MODES, "DISABLE"),
        reader.string("clientCertificate"),
        reader.string("privateKey"),
        reader.string("caCertificates"),
        reader.string("credentialName"),
        reader.strings("subjectAltNames"),
        reader.string("sni"),
        reader.boolean("insecureSkipVerify"),
    )
    if found.insecure_skip_verify:
        if found.mode not in ("SIMPLE", "MUTUAL"):
            raise reader.error_at("insecureSkipVerify", "is for SIMPLE and MUTUAL")
        if found.ca_certificates or found.subject_alt_names:
            problem = "cannot be together with caCertificates or subjectAltNames"
            raise reader.error_at("insecureSkipVerify", problem)
    files = found.client_certificate or found.private_key or found.ca_certificates
    if found.mode == "ISTIO_MUTUAL" and files:
        raise reader.error("ISTIO_MUTUAL brings its own certificates: name none")
    if found.credential_name:
        if found.mode == "MUTUAL" and files:
            raise reader.error_at("credentialName", "expected it or files, found both")
        if found.mode in ("SIMPLE", "MUTUAL"):
            note = (
                "a sidecar calls in PLAINTEXT unless the rule has a workloadSelector: otherwise "
                "istiod reads it for gateways only"
            )
            reader.note_at("credentialName", note)
    elif found.mode == "MUTUAL":
        for name, value in (
            ("clientCertificate", found.client_certificate),
            ("privateKey", found.private_key),
        ):
            if not value:
                raise reader.error(f"MUTUAL needs {name}, found none")
    return found


def _tunnel(reader: SpecReader) -> Tunnel:
    protocols: dict[str, Literal["CONNECT", "POST"]] = {"CONNECT": "CONNECT", "POST": "POST"}
    return Tunnel(
        reader.enum("protocol", protocols, "CONNECT"),
        reader.required_string("targetHost"),
        reader.integer("targetPort", at_least=1, at_most=65535),
    )


def _proxy_protocol(reader: SpecReader) -> Literal["", "V1", "V2"]:
    found = reader.message("proxyProtocol", _PROXY_PROTOCOL)
    versions: dict[str, Literal["", "V1", "V2"]] = {"V1": "V1", "V2": "V2"}
    return "" if found is None else found.enum("version", versions, "V1")


def _retry_budget(reader: SpecReader) -> tuple[float, int] | None:
    found = reader.message("retryBudget", _BUDGET)
    if found is None:
        return None
    percent = found.number("percent", 20.0)
    if not 0 <= percent <= 100:
        raise found.error_at("percent", f"expected 0 to 100, found {percent:g}")
    return percent, found.integer("minRetryConcurrency", 3, at_least=0)
