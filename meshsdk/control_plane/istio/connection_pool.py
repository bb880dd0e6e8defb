"""Connection pools and outlier detection of a traffic policy, and what istiod refuses in them."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

H2Upgrade: TypeAlias = Literal["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"]

POOL: Final = fields("tcp", "http")
_TCP: Final = fields(
    "maxConnections", "connectTimeout", "tcpKeepalive", "maxConnectionDuration", "idleTimeout"
)
KEEPALIVE: Final = fields("probes", "time", "interval")
_HTTP: Final = fields(
    "http1MaxPendingRequests", "http2MaxRequests", "maxRequestsPerConnection", "maxRetries",
    "idleTimeout", "h2UpgradePolicy", "useClientProtocol", "maxConcurrentStreams",
)  # fmt: skip
OUTLIER: Final = fields(
    "splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures",
    "consecutiveGatewayErrors", "consecutive5xxErrors", "interval", "baseEjectionTime",
    "maxEjectionPercent", "minHealthPercent",
    refused={"consecutiveErrors": "removed from Istio: write consecutive5xxErrors"},
)  # fmt: skip
_UPGRADES: Final[dict[str, H2Upgrade]] = {
    "DEFAULT": "DEFAULT",
    "DO_NOT_UPGRADE": "DO_NOT_UPGRADE",
    "UPGRADE": "UPGRADE",
}
_MAX: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Keepalive:
    """TCP keepalive; 0 leaves a value to the system."""

    probes: int = 0
    time: float = 0.0
    interval: float = 0.0


@dataclass(frozen=True, slots=True)
class ConnectionPool:
    """Limits; 0 or None is no limit of its own."""

    max_connections: int = 0
    connect_timeout: float | None = None
    keepalive: Keepalive | None = None
    max_connection_duration: float | None = None
    tcp_idle_timeout: float | None = None
    max_pending_requests: int = 0
    max_requests: int = 0
    max_requests_per_connection: int = 0
    max_retries: int = 0
    http_idle_timeout: float | None = None
    h2_upgrade: H2Upgrade = "DEFAULT"
    use_client_protocol: bool = False
    max_concurrent_streams: int = 0


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint is left alone; None leaves a value to Envoy."""

    split_local_origin: bool = False
    local_origin_failures: int | None = None
    gateway_errors: int | None = None
    errors_5xx: int | None = None
    interval: float | None = None
    base_ejection_time: float | None = None
    max_ejection_percent: int = 0
    min_health_percent: int = 0


def parse_connection_pool(reader: SpecReader) -> ConnectionPool:
    """A `connectionPool`; `reader` may be opened with any list of fields."""
    reader = SpecReader(reader.node, reader.path, POOL, reader.notes)
    if not reader.names():
        raise reader.error("expected tcp or http, found none")
    tcp = reader.message("tcp", _TCP)
    http = reader.message("http", _HTTP)
    found = ConnectionPool()
    if tcp is not None:
        keepalive = tcp.message("tcpKeepalive", KEEPALIVE)
        found = ConnectionPool(
            tcp.integer("maxConnections", at_least=0, at_most=_MAX),
            positive(tcp, "connectTimeout"),
            None if keepalive is None else parse_keepalive(keepalive),
            positive(tcp, "maxConnectionDuration"),
            positive(tcp, "idleTimeout"),
        )
    return found if http is None else _with_http(found, http)


def _with_http(tcp: ConnectionPool, http: SpecReader) -> ConnectionPool:
    upgrade = http.enum("h2UpgradePolicy", _UPGRADES, "DEFAULT")
    use_client = http.boolean("useClientProtocol")
    if use_client and upgrade == "UPGRADE":
        raise http.error_at("useClientProtocol", "cannot be together with UPGRADE")
    return ConnectionPool(
        tcp.max_connections,
        tcp.connect_timeout,
        tcp.keepalive,
        tcp.max_connection_duration,
        tcp.tcp_idle_timeout,
        http.integer("http1MaxPendingRequests", at_least=0, at_most=_MAX),
        http.integer("http2MaxRequests", at_least=0, at_most=_MAX),
        http.integer("maxRequestsPerConnection", at_least=0, at_most=_MAX),
        http.integer("maxRetries", at_least=0, at_most=_MAX),
        positive(http, "idleTimeout"),
        upgrade,
        use_client,
        http.integer("maxConcurrentStreams", at_least=0, at_most=_MAX),
    )


def parse_keepalive(reader: SpecReader) -> Keepalive:
    """A `tcpKeepalive`, opened with `KEEPALIVE`."""
    return Keepalive(
        reader.integer("probes", at_least=0, at_most=_MAX),
        _counted(reader, "time"),
        _counted(reader, "interval"),
    )


def _counted(reader: SpecReader, name: str) -> float:
    """A duration that Envoy gets as a number of seconds."""
    seconds = positive(reader, name) or 0.0
    if seconds > _MAX:
        raise reader.error_at(name, f"expected at most {_MAX}s, found {seconds:.0f}s")
    return seconds


def parse_outlier_detection(reader: SpecReader) -> OutlierDetection:
    """An `outlierDetection`, opened with `OUTLIER`."""
    split = reader.boolean("splitExternalLocalOriginErrors")
    local = reader.optional_integer("consecutiveLocalOriginFailures", at_least=0)
    if local and not split:
        problem = "needs splitExternalLocalOriginErrors"
        raise reader.error_at("consecutiveLocalOriginFailures", problem)
    return OutlierDetection(
        split,
        local,
        reader.optional_integer("consecutiveGatewayErrors", at_least=0),
        reader.optional_integer("consecutive5xxErrors", at_least=0),
        positive(reader, "interval"),
        positive(reader, "baseEjectionTime"),
        reader.integer("maxEjectionPercent", at_least=0, at_most=100),
        reader.integer("minHealthPercent", at_least=0, at_most=100),
    )


def positive(reader: SpecReader, name: str) -> float | None:
    """A duration of at least 1 ms, None when unset. Source: istiod, ValidateDuration."""
    seconds = reader.optional_duration(name)
    if seconds is not None and seconds < 0.001:
        raise reader.error_at(name, f"expected at least 1ms, found {seconds:g}s")
    return seconds
