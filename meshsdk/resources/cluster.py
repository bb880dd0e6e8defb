"""Cluster: where calls go, how a host is chosen, and how its connections look (CDS)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from meshsdk.call.endpoint import NO_METADATA
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import check
from meshsdk.config.reader import Reader
from meshsdk.resources.circuit_breakers import CircuitBreakers, parse_circuit_breakers
from meshsdk.resources.cluster_discovery import DiscoveryType, DnsOptions, parse_discovery
from meshsdk.resources.cluster_fields import (
    CLUSTER,
    COMMON_LB,
    CONNECTION,
    EDS,
    KEEPALIVE,
    ORIGINAL_DST,
    SOCKET_MATCH,
    TABLES,
    ZONE_AWARE,
)
from meshsdk.resources.http_protocol_options import (
    HttpProtocolOptions,
    parse_http_protocol_options,
)
from meshsdk.resources.lb_policy import LbPolicy, parse_lb_policy
from meshsdk.resources.load_assignment import LoadAssignment
from meshsdk.resources.load_assignment import parse as parse_load_assignment
from meshsdk.resources.outlier_detection import OutlierDetection, parse_outlier_detection
from meshsdk.resources.tls import UpstreamTls, parse_transport_socket

__all__ = ["TABLES", "TYPE_URL", "Cluster", "DiscoveryType", "DnsOptions", "parse"]

TYPE_URL: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
_SOCKET_MATCH_NAMESPACE: Final = "envoy.transport_socket_match"
_DEFAULT_CONNECT_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class OriginalDst:
    """Where an ORIGINAL_DST cluster finds the address to dial."""

    http_header: str | None = None
    """The field that names `ip:port`; None: the address that the application dialled."""
    port_override: int | None = None


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """SO_KEEPALIVE settings; None: the machine's own. Seconds."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


@dataclass(frozen=True, slots=True)
class CommonLbConfig:
    """What holds for every load balancing policy."""

    healthy_panic_threshold: int = 50
    """Percent; 0: never panic."""
    fail_traffic_on_panic: bool = False
    override_host_status: frozenset[str] = frozenset({"UNKNOWN", "HEALTHY", "DEGRADED"})


@dataclass(frozen=True, slots=True)
class TransportSocketMatch:
    """Endpoints whose metadata has all of `match` use this socket."""

    name: str
    match: Mapping[str, object]
    socket: UpstreamTls | None


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """One version of a cluster. Seconds."""

    name: str
    type: DiscoveryType
    eds_name: str
    """What to subscribe to in EDS; empty for other types."""
    load_assignment: LoadAssignment | None
    """Inline endpoints; None for EDS and ORIGINAL_DST."""
    lb_policy: LbPolicy | None
    """What the policy's extension parsed (lb_policies); None: the cluster's type decides."""
    connect_timeout: float
    common_lb: CommonLbConfig
    circuit_breakers: CircuitBreakers
    outlier_detection: OutlierDetection | None
    http: HttpProtocolOptions
    transport_socket: UpstreamTls | None
    transport_socket_matches: tuple[TransportSocketMatch, ...]
    metadata: Mapping[str, Mapping[str, object]]
    dns: DnsOptions
    original_dst: OriginalDst
    tcp_keepalive: TcpKeepalive | None
    alt_stat_name: str
    not_built: tuple[str, ...]

    def socket_for(self, metadata: Mapping[str, Mapping[str, object]]) -> UpstreamTls | None:
        """The transport socket of an endpoint with this filter metadata; None: plaintext.

        The first match that is a subset of `envoy.transport_socket_match`, else `transport_socket`.
        """
        labels = metadata.get(_SOCKET_MATCH_NAMESPACE, {})
        for entry in self.transport_socket_matches:
            if all(key in labels and labels[key] == want for key, want in entry.match.items()):
                return entry.socket
        return self.transport_socket


def parse(reader: Reader, extensions: Extensions) -> Cluster:
    """The cluster in a message; ConfigError names the field where Envoy would refuse it."""
    missing = list(check(reader, CLUSTER))
    name = reader.required_string("name")
    kind, dns = parse_discovery(reader)
    eds_name = _eds_name(reader, name, kind)
    assignment = _inline_assignment(reader, kind, extensions)
    policy = parse_lb_policy(reader, extensions)
    if (policy is None) != (kind is DiscoveryType.ORIGINAL_DST):
        raise reader.error_at(
            "lb_policy", f"CLUSTER_PROVIDED goes with ORIGINAL_DST and only so, found {kind.value}"
        )
    _check_hostname_hashing(reader, kind)
    breakers = parse_circuit_breakers(reader.message("circuit_breakers"))
    outlier = parse_outlier_detection(reader.message("outlier_detection"))
    http = parse_http_protocol_options(reader)
    original_dst = _original_dst(reader, missing)
    missing.extend(_filters(reader))
    for part in (policy, breakers, outlier, http, assignment):
        missing.extend(() if part is None else part.not_built)
    return Cluster(
        name=name,
        type=kind,
        eds_name=eds_name,
        load_assignment=assignment,
        lb_policy=policy,
        connect_timeout=_connect_timeout(reader),
        common_lb=_common_lb(reader.message("common_lb_config")),
        circuit_breakers=breakers,
        outlier_detection=outlier,
        http=http,
        transport_socket=_socket(reader, extensions),
        transport_socket_matches=_socket_matches(reader, extensions),
        metadata=_metadata(reader),
        dns=dns,
        original_dst=original_dst,
        tcp_keepalive=_tcp_keepalive(reader.message("upstream_connection_options")),
        alt_stat_name=reader.string("alt_stat_name"),
        not_built=tuple(missing),
    )


def _eds_name(reader: Reader, name: str, kind: DiscoveryType) -> str:
    config = reader.message("eds_cluster_config")
    if kind is not DiscoveryType.EDS:
        if config is not None:
            raise reader.error_at("eds_cluster_config", f"expected none in a {kind.value} cluster")
        return ""
    if config is None:
        raise reader.error_at("eds_cluster_config", "expected a message in an EDS cluster")
    check(config, EDS)
    return config.string("service_name") or name


def _inline_assignment(
    reader: Reader, kind: DiscoveryType, extensions: Extensions
) -> LoadAssignment | None:
    inline = reader.message("load_assignment")
    if kind is DiscoveryType.EDS:
        return None
    if kind is DiscoveryType.ORIGINAL_DST:
        if inline is not None:
            raise reader.error_at("load_assignment", "expected none in an ORIGINAL_DST cluster")
        return None
    if inline is None:
        if kind is DiscoveryType.LOGICAL_DNS:
            raise reader.error_at(
                "load_assignment", "expected one endpoint in a LOGICAL_DNS cluster"
            )
        return LoadAssignment(reader.string("name"))
    is_static = kind is DiscoveryType.STATIC
    found = parse_load_assignment(
        inline, extensions, is_static=is_static, allows_names=not is_static
    )
    if kind is DiscoveryType.LOGICAL_DNS and len(found.endpoints) != 1:
        raise inline.error_at(
            "endpoints",
            f"expected one endpoint in a LOGICAL_DNS cluster, found {len(found.endpoints)}",
        )
    return found


def _check_hostname_hashing(reader: Reader, kind: DiscoveryType) -> None:
    common = reader.message("common_lb_config")
    hashing = None if common is None else common.message("consistent_hashing_lb_config")
    if hashing is None or kind is DiscoveryType.STRICT_DNS:
        return
    if hashing.boolean("use_hostname_for_hashing"):
        raise hashing.error_at(
            "use_hostname_for_hashing", f"expected a STRICT_DNS cluster, found {kind.value}"
        )


def _connect_timeout(reader: Reader) -> float:
    seconds = reader.duration("connect_timeout", _DEFAULT_CONNECT_TIMEOUT)
    if seconds <= 0:
        raise reader.error_at("connect_timeout", f"expected above 0s, found {seconds:g}s")
    return seconds


def _common_lb(reader: Reader | None) -> CommonLbConfig:
    if reader is None:
        return CommonLbConfig()
    check(reader, COMMON_LB)
    reader.one_of("zone_aware_lb_config", "locality_weighted_lb_config")
    zone_aware = reader.message("zone_aware_lb_config")
    if zone_aware is not None:
        check(zone_aware, ZONE_AWARE)
    override = reader.message("override_host_status")
    statuses = (
        ("UNKNOWN", "HEALTHY", "DEGRADED") if override is None else override.strings("statuses")
    )
    return CommonLbConfig(
        _panic_threshold(reader.message("healthy_panic_threshold")),
        zone_aware is not None and zone_aware.boolean("fail_traffic_on_panic"),
        frozenset(statuses),
    )


def _panic_threshold(percent: Reader | None) -> int:
    if percent is None:
        return 50
    value = percent.number("value")
    if not 0.0 <= value <= 100.0:
        raise percent.error_at("value", f"expected 0 to 100, found {value:g}")
    return int(value)


def _original_dst(reader: Reader, missing: list[str]) -> OriginalDst:
    config = reader.message("original_dst_lb_config")
    if config is None:
        return OriginalDst()
    missing.extend(check(config, ORIGINAL_DST))
    if config.has("http_header_name") and not config.boolean("use_http_header"):
        raise config.error_at("http_header_name", "expected use_http_header with it")
    header = config.string("http_header_name") or "x-envoy-original-dst-host"
    port = config.optional_integer("upstream_port_override")
    if port is not None and not 0 <= port <= 65535:
        raise config.error_at("upstream_port_override", f"expected at most 65535, found {port}")
    return OriginalDst(header.lower() if config.boolean("use_http_header") else None, port)


# Upstream network filters that only exchange telemetry facts between proxies.
_TELEMETRY_FILTERS: Final = frozenset(
    {
        "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
    }
)


def _filters(reader: Reader) -> list[str]:
    missing: list[str] = []
    for item in reader.messages("filters"):
        config = item.typed("typed_config")
        if config is None or not _is_telemetry(config):
            missing.append(f"{item.path} ({item.string('name')})")
    return missing


def _is_telemetry(config: Reader) -> bool:
    """Istio's metadata exchange, as itself or wrapped in a TypedStruct."""
    if config.type_url.endswith("TypedStruct"):
        return config.string("type_url").endswith(".MetadataExchange")
    return config.type_url in _TELEMETRY_FILTERS


def _socket(reader: Reader, extensions: Extensions) -> UpstreamTls | None:
    found = reader.message("transport_socket")
    return None if found is None else _upstream_tls(found, extensions)


def _upstream_tls(reader: Reader, extensions: Extensions) -> UpstreamTls | None:
    found = parse_transport_socket(reader, extensions)
    if found is None or isinstance(found, UpstreamTls):
        return found
    raise reader.error("expected an upstream transport socket, found a downstream one")


def _socket_matches(reader: Reader, extensions: Extensions) -> tuple[TransportSocketMatch, ...]:
    return tuple(
        _socket_match(item, extensions) for item in reader.messages("transport_socket_matches")
    )


def _socket_match(reader: Reader, extensions: Extensions) -> TransportSocketMatch:
    check(reader, SOCKET_MATCH)
    return TransportSocketMatch(
        reader.required_string("name"),
        reader.struct("match"),
        _upstream_tls(reader.required_message("transport_socket"), extensions),
    )


def _metadata(reader: Reader) -> Mapping[str, Mapping[str, object]]:
    found = reader.message("metadata")
    if found is None:
        return NO_METADATA
    return cast("Mapping[str, Mapping[str, object]]", found.struct("filter_metadata"))


def _tcp_keepalive(reader: Reader | None) -> TcpKeepalive | None:
    if reader is None:
        return None
    check(reader, CONNECTION)
    found = reader.message("tcp_keepalive")
    if found is None:
        return None
    check(found, KEEPALIVE)
    return TcpKeepalive(
        found.optional_integer("keepalive_probes"),
        found.optional_integer("keepalive_time"),
        found.optional_integer("keepalive_interval"),
    )
