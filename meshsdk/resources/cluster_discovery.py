"""How a cluster finds its endpoints."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from meshsdk.config.fields import check
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.resources.cluster_fields import CUSTOM_TYPE, DNS_CLUSTER

_DNS_CLUSTER_URL: Final = "type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster"


class DiscoveryType(Enum):
    """envoy.config.cluster.v3.Cluster.DiscoveryType."""

    STATIC = "STATIC"
    STRICT_DNS = "STRICT_DNS"
    LOGICAL_DNS = "LOGICAL_DNS"
    EDS = "EDS"
    ORIGINAL_DST = "ORIGINAL_DST"


@dataclass(frozen=True, slots=True)
class DnsOptions:
    """How names are resolved; seconds."""

    refresh_rate: float = 5.0
    respect_ttl: bool = False
    failure_refresh_base: float | None = None
    failure_refresh_max: float | None = None
    lookup_family: str = "AUTO"
    """AUTO, V4_ONLY, V6_ONLY, V4_PREFERRED, ALL."""
    jitter: float = 0.0


_TYPES: Final = {kind.value: kind for kind in DiscoveryType}
_FAMILIES: Final = {f: f for f in ("AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL")}
# Names under which Envoy registers its own cluster types.
_NAMED_TYPES: Final = {
    "envoy.cluster.static": DiscoveryType.STATIC,
    "envoy.cluster.strict_dns": DiscoveryType.STRICT_DNS,
    "envoy.cluster.logical_dns": DiscoveryType.LOGICAL_DNS,
    "envoy.cluster.eds": DiscoveryType.EDS,
    "envoy.cluster.original_dst": DiscoveryType.ORIGINAL_DST,
}


def parse_discovery(reader: Reader) -> tuple[DiscoveryType, DnsOptions]:
    """A cluster's type, in its old field or as an extension, and its DNS settings."""
    if reader.one_of("type", "cluster_type") != "cluster_type":
        return reader.enum("type", _TYPES, "STATIC"), _dns(reader)
    custom = reader.required_message("cluster_type")
    check(custom, CUSTOM_TYPE)
    name = custom.required_string("name")
    config = custom.typed("typed_config")
    if config is not None and config.type_url == _DNS_CLUSTER_URL:
        check(config, DNS_CLUSTER)
        single = config.boolean("all_addresses_in_single_endpoint")
        return DiscoveryType.LOGICAL_DNS if single else DiscoveryType.STRICT_DNS, _dns(config)
    if config is None and name in _NAMED_TYPES:
        return _NAMED_TYPES[name], _dns(reader)
    found = name if config is None else config.type_url
    raise UnknownExtensionError(custom.path, f"no cluster type takes {found}", found)


def _dns(reader: Reader) -> DnsOptions:
    """DNS fields have the same names in a cluster and in DnsCluster."""
    refresh = reader.duration("dns_refresh_rate", 5.0)
    if refresh < 0.001:
        raise reader.error_at("dns_refresh_rate", f"expected at least 1 ms, found {refresh:g}s")
    failure = reader.message("dns_failure_refresh_rate")
    base = None if failure is None else failure.optional_duration("base_interval")
    return DnsOptions(
        refresh,
        reader.boolean("respect_dns_ttl"),
        base,
        None if failure is None else failure.optional_duration("max_interval"),
        reader.enum("dns_lookup_family", _FAMILIES, "AUTO"),
        reader.duration("dns_jitter"),
    )
