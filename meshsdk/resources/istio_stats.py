"""Istio's stats filter: which of its metrics are wanted, and with which labels.

Source: istio/proxy, stats.PluginConfig; istiod makes it of Telemetry resources.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader

TYPE_URL: Final = "type.googleapis.com/stats.PluginConfig"
PLUGIN_CONFIG: Final = MessageTable(
    "stats.PluginConfig",
    {
        **honoured("metrics"),
        "disable_host_header_fallback": ignored("only calls that we make fall back to the host"),
        "tcp_reporting_duration": ignored("there are no metrics of TCP"),
    },
)
METRIC_CONFIG: Final = MessageTable(
    "stats.MetricConfig",
    {
        **honoured("name", "tags_to_remove", "drop"),
        "dimensions": ignored("labels by expressions (CEL) are not made"),
    },
)
TABLES: Final = (PLUGIN_CONFIG, METRIC_CONFIG)


@dataclass(frozen=True, slots=True)
class IstioStats:
    """By the name of a metric less its prefix (`requests_total`); the empty name is every metric."""

    dropped: frozenset[str] = frozenset()
    removed: tuple[tuple[str, frozenset[str]], ...] = ()
    """Labels that a metric does not have."""

    def labels_without(self, metric: str) -> frozenset[str] | None:
        """Labels that a metric does not have; None: it is not wanted at all."""
        if metric in self.dropped or "" in self.dropped:
            return None
        found = [labels for name, labels in self.removed if name in ("", metric)]
        return frozenset(label for labels in found for label in labels)


ALL: Final = IstioStats()


def parse_stats(reader: Reader) -> IstioStats:
    """The filter's config."""
    check(reader, PLUGIN_CONFIG)
    dropped: set[str] = set()
    removed: list[tuple[str, frozenset[str]]] = []
    for metric in reader.messages("metrics"):
        check(metric, METRIC_CONFIG)
        name = metric.string("name").removeprefix("istio_")
        if metric.boolean("drop"):
            dropped.add(name)
        removed.append((name, frozenset(metric.strings("tags_to_remove"))))
    return IstioStats(frozenset(dropped), tuple(each for each in removed if each[1]))
