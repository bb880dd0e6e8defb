"""tcp_proxy: a chain that ends in bytes to a cluster."""

from dataclasses import dataclass
from typing import Final

from meshsdk.clock import Random
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader

TYPE_URL: Final = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
_TELEMETRY = ignored("telemetry")
_SOCKETS = ignored("a matter of sockets")
TCP_PROXY: Final = MessageTable(
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    {
        **honoured("cluster", "weighted_clusters", "max_connect_attempts"),
        "stat_prefix": _TELEMETRY,
        "access_log": _TELEMETRY,
        "access_log_flush_interval": _TELEMETRY,
        "flush_access_log_on_connected": _TELEMETRY,
        "access_log_options": _TELEMETRY,
        "idle_timeout": _SOCKETS,
        "downstream_idle_timeout": _SOCKETS,
        "upstream_idle_timeout": _SOCKETS,
        "max_downstream_connection_duration": _SOCKETS,
        "max_downstream_connection_duration_jitter_percentage": _SOCKETS,
        "backoff_options": _SOCKETS,
        "max_early_data_bytes": _SOCKETS,
        "check_drain_close": _SOCKETS,
        "upstream_connect_mode": not_built("when the upstream connection is made"),
        "metadata_match": not_built("endpoint subsets"),
        "on_demand": not_built("clusters on demand"),
        "hash_policy": not_built("hashing of TCP connections"),
        "tunneling_config": not_built("tunnels over HTTP"),
        "proxy_protocol_tlvs": not_built("PROXY protocol towards the upstream"),
        "proxy_protocol_tlv_merge_policy": not_built("PROXY protocol towards the upstream"),
    },
)
WEIGHTED_CLUSTER: Final = MessageTable(
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster", honoured("clusters")
)
CLUSTER_WEIGHT: Final = MessageTable(
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight",
    {**honoured("name", "weight"), "metadata_match": not_built("endpoint subsets")},
)
TABLES: Final = (TCP_PROXY, WEIGHTED_CLUSTER, CLUSTER_WEIGHT)


@dataclass(frozen=True, slots=True)
class TcpProxy:
    """Where a chain's connections go."""

    clusters: tuple[tuple[str, int], ...]
    """Name and weight; at least one."""
    max_connect_attempts: int = 1
    not_built: tuple[str, ...] = ()

    @property
    def cluster_names(self) -> frozenset[str]:
        """Every cluster that a connection may go to."""
        return frozenset(name for name, _ in self.clusters)

    def pick_cluster(self, random: Random) -> str:
        """The cluster of one connection."""
        if len(self.clusters) == 1:
            return self.clusters[0][0]
        left = random.randrange(sum(weight for _, weight in self.clusters))
        for name, weight in self.clusters:
            left -= weight
            if left < 0:
                return name
        return self.clusters[-1][0]


def parse_tcp_proxy(reader: Reader, extensions: Extensions) -> TcpProxy:
    """A TcpProxy message."""
    del extensions
    missing = list(check(reader, TCP_PROXY))
    attempts = reader.integer("max_connect_attempts", 1, at_least=1)
    if reader.required("cluster", "weighted_clusters") == "cluster":
        clusters = ((reader.required_string("cluster"), 1),)
        return TcpProxy(clusters, attempts, tuple(missing))
    weighted = reader.required_message("weighted_clusters")
    missing.extend(check(weighted, WEIGHTED_CLUSTER))
    entries = weighted.messages("clusters", at_least=1)
    for entry in entries:
        missing.extend(check(entry, CLUSTER_WEIGHT))
    return TcpProxy(tuple(map(_weighted, entries)), attempts, tuple(missing))


def _weighted(entry: Reader) -> tuple[str, int]:
    return entry.required_string("name"), entry.integer("weight", at_least=1)
