"""WeightedCluster: several clusters of one route, drawn by weight."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.filter_overrides import Overrides, parse_filter_overrides
from meshsdk.resources.header_mutations import HeaderMutations, parse_header_mutations
from meshsdk.resources.metadata import Criteria, parse_criteria

WEIGHTED_CLUSTER: Final = MessageTable(
    "envoy.config.route.v3.WeightedCluster",
    {
        **honoured("clusters", "runtime_key_prefix", "header_name", "use_hash_policy"),
        "total_weight": ignored("Envoy takes the sum of the weights"),
    },
)
CLUSTER_WEIGHT: Final = MessageTable(
    "envoy.config.route.v3.WeightedCluster.ClusterWeight",
    honoured(
        "name",
        "cluster_header",
        "weight",
        "metadata_match",
        "request_headers_to_add",
        "request_headers_to_remove",
        "response_headers_to_add",
        "response_headers_to_remove",
        "typed_per_filter_config",
        "host_rewrite_literal",
    ),
)
TABLES: Final = (WEIGHTED_CLUSTER, CLUSTER_WEIGHT)
_MAX_WEIGHT: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class ClusterWeight:
    """One of the clusters, with what the route does only when it is drawn."""

    name: str
    cluster_header: str
    """Names the cluster where `name` is empty."""
    weight: int
    metadata_match: Criteria | None
    request_headers: HeaderMutations
    response_headers: HeaderMutations
    overrides: Overrides
    host_rewrite_literal: str
    not_built: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightedCluster:
    """The clusters and how one is drawn."""

    clusters: tuple[ClusterWeight, ...]
    bounds: tuple[int, ...]
    """Running sums of the weights: entry i is drawn by values below bounds[i]."""
    header_name: str = ""
    """A request field that holds the value to draw with (its digits), lower case."""
    use_hash_policy: bool = False

    @property
    def total(self) -> int:
        """The sum of the weights."""
        return self.bounds[-1]


def parse_weighted_cluster(reader: Reader, extensions: Extensions) -> WeightedCluster:
    """The weighted clusters of a route; ConfigError where Envoy refuses them."""
    check(reader, WEIGHTED_CLUSTER)
    if reader.has("header_name") and reader.boolean("use_hash_policy"):
        raise reader.error("header_name and use_hash_policy exclude each other")
    runtime = extensions.runtime or {}
    prefix = reader.string("runtime_key_prefix")
    clusters = tuple(
        _cluster_weight(item, extensions, runtime, prefix)
        for item in reader.messages("clusters", at_least=1)
    )
    configured = sum(item.integer("weight") for item in reader.messages("clusters"))
    bounds = tuple(accumulate(cluster.weight for cluster in clusters))
    if configured == 0:
        raise reader.error("Sum of weights in the weighted_cluster must be greater than 0.")
    if configured > _MAX_WEIGHT:
        raise reader.error(f"expected a sum of weights of at most {_MAX_WEIGHT}")
    return WeightedCluster(
        clusters,
        bounds,
        header_name=lower(octets(reader.string("header_name"))),
        use_hash_policy=reader.boolean("use_hash_policy"),
    )


def _cluster_weight(
    reader: Reader, extensions: Extensions, runtime: Mapping[str, object], prefix: str
) -> ClusterWeight:
    missing = check(reader, CLUSTER_WEIGHT)
    name = reader.string("name")
    header = lower(octets(reader.string("cluster_header")))
    if bool(name) is bool(header):
        raise reader.error("expected exactly one of name and cluster_header")
    weight = reader.integer("weight", at_least=0)
    if prefix and name:
        override = runtime.get(f"{prefix}.{name}")
        if isinstance(override, int | float) and not isinstance(override, bool):
            weight = int(override)
    request = parse_header_mutations(reader, "request")
    response = parse_header_mutations(reader, "response")
    return ClusterWeight(
        name,
        header,
        weight,
        parse_criteria(reader.message("metadata_match")),
        request,
        response,
        parse_filter_overrides(reader, extensions),
        octets(reader.string("host_rewrite_literal")),
        (*missing, *request.not_built, *response.not_built),
    )
