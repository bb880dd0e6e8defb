"""RouteAction: to which cluster a route sends, and how. Times are seconds.

Source: envoy.config.route.v3.RouteAction.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.config.extension import Extensions, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.fraction import ALWAYS, Fraction, parse_runtime_fraction
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.hash_policy import HashPolicy, parse_hash_policy
from meshsdk.resources.header_mutations import (
    HeaderAddition,
    HeaderMutations,
    parse_header_addition,
)
from meshsdk.resources.metadata import Criteria, parse_criteria
from meshsdk.resources.path_rewrite import (
    HostFormat,
    HostRewrite,
    PathRewrite,
    parse_host_rewrite,
    parse_path_rewrite,
)
from meshsdk.resources.rate_limit import RateLimit, parse_rate_limits
from meshsdk.resources.retry_policy import (
    HedgePolicy,
    RetryPolicy,
    parse_hedge_policy,
    parse_retry_policy,
)
from meshsdk.resources.route_cors import parse_route_cors
from meshsdk.resources.route_match import RouteMatch
from meshsdk.resources.weighted_cluster import WeightedCluster, parse_weighted_cluster

Priority: TypeAlias = Literal["DEFAULT", "HIGH"]
_PRIORITIES: Final[dict[str, Priority]] = {"DEFAULT": "DEFAULT", "HIGH": "HIGH"}
DEFAULT_TIMEOUT: Final = 15.0  # RouteAction.timeout
_STATUS: Final = {"SERVICE_UNAVAILABLE": 503, "NOT_FOUND": 404, "INTERNAL_SERVER_ERROR": 500}
_CLUSTER_KINDS: Final = (
    "cluster",
    "cluster_header",
    "weighted_clusters",
    "cluster_specifier_plugin",
    "inline_cluster_specifier_plugin",
)

ROUTE_ACTION: Final = MessageTable(
    "envoy.config.route.v3.RouteAction",
    {
        **honoured(
            "cluster",
            "cluster_header",
            "weighted_clusters",
            "cluster_not_found_response_code",
            "metadata_match",
            "prefix_rewrite",
            "regex_rewrite",
            "path_rewrite_policy",
            "path_rewrite",
            "host_rewrite_literal",
            "auto_host_rewrite",
            "host_rewrite_header",
            "host_rewrite_path_regex",
            "host_rewrite",
            "append_x_forwarded_host",
            "timeout",
            "idle_timeout",
            "retry_policy",
            "request_mirror_policies",
            "priority",
            "hash_policy",
            "max_grpc_timeout",
            "grpc_timeout_offset",
            "upgrade_configs",
            "hedge_policy",
            "max_stream_duration",
            "rate_limits",
            "include_vh_rate_limits",
            "cors",
        ),
        "cluster_specifier_plugin": not_built("cluster specifier plugins"),
        "inline_cluster_specifier_plugin": not_built("cluster specifier plugins"),
        "flush_timeout": ignored("a matter of sockets"),
        "early_data_policy": ignored("no TLS early data is sent"),
        "retry_policy_typed_config": not_built("retry policies of another type"),
        "internal_redirect_policy": not_built("redirects followed by the mesh"),
        "internal_redirect_action": not_built("redirects followed by the mesh"),
        "max_internal_redirects": ignored("counts only where redirects are followed"),
    },
)
MIRROR_POLICY: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
    {
        **honoured(
            "cluster",
            "cluster_header",
            "runtime_fraction",
            "disable_shadow_host_suffix_append",
            "host_rewrite_literal",
            "request_headers_mutations",
        ),
        "trace_sampled": ignored("telemetry"),
    },
)
HEADER_MUTATION: Final = MessageTable(
    "envoy.config.common.mutation_rules.v3.HeaderMutation",
    honoured("remove", "append") | {"remove_on_match": refused("removal by a matcher")},
)
UPGRADE_CONFIG: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.UpgradeConfig",
    {
        **honoured("upgrade_type", "enabled"),
        "connect_config": not_built("CONNECT turned into raw bytes"),
    },
)
MAX_STREAM_DURATION: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.MaxStreamDuration",
    honoured("max_stream_duration", "grpc_timeout_header_max", "grpc_timeout_header_offset"),
)
TABLES: Final = (
    ROUTE_ACTION,
    MIRROR_POLICY,
    HEADER_MUTATION,
    UPGRADE_CONFIG,
    MAX_STREAM_DURATION,
)


@dataclass(frozen=True, slots=True)
class MirrorPolicy:
    """A copy of the request for another cluster, whose answer nobody sees."""

    cluster: str
    cluster_header: str
    fraction: Fraction
    append_shadow_suffix: bool
    """Whether the copy's host ends in `-shadow`."""
    host_rewrite_literal: str = ""
    headers: tuple[HeaderMutations, ...] = ()


@dataclass(frozen=True, slots=True)
class MaxStreamDuration:
    """How long a stream may last; None is unset, 0 unbounded."""

    max_stream_duration: float | None = None
    grpc_timeout_header_max: float | None = None
    grpc_timeout_header_offset: float = 0.0


@dataclass(frozen=True, slots=True)
class RouteAction:
    """Exactly one of cluster, cluster_header and weighted_clusters is set, or a plugin is asked
    for, which `not_built` says."""

    cluster: str
    cluster_header: str
    weighted_clusters: WeightedCluster | None
    cluster_not_found_response_code: int
    metadata_match: Criteria | None
    path_rewrite: PathRewrite | None
    host_rewrite: HostRewrite | None
    append_x_forwarded_host: bool
    timeout: float
    """0: none."""
    idle_timeout: float | None
    """None: the connection manager's stream_idle_timeout."""
    max_grpc_timeout: float | None
    grpc_timeout_offset: float
    max_stream_duration: MaxStreamDuration | None
    retry_policy: RetryPolicy | None
    """None: the virtual host's."""
    hedge_policy: HedgePolicy | None
    priority: Priority
    hash_policies: tuple[HashPolicy, ...]
    mirror_policies: tuple[MirrorPolicy, ...] | None
    """None: the virtual host's or the route configuration's."""
    upgrades: tuple[tuple[str, bool], ...]
    """Upgrade types in lower case, and whether they may pass."""
    rate_limits: tuple[RateLimit, ...] = ()
    include_virtual_host_rate_limits: bool = False
    cors: Override | None = None
    """Counts where no level overrides the cors filter."""
    not_built: tuple[str, ...] = ()


def parse_route_action(reader: Reader, match: RouteMatch, extensions: Extensions) -> RouteAction:
    """A RouteAction; ConfigError where Envoy refuses it."""
    missing = check(reader, ROUTE_ACTION)
    kind = reader.required(*_CLUSTER_KINDS)
    weighted = reader.message("weighted_clusters")
    clusters = None if weighted is None else parse_weighted_cluster(weighted, extensions)
    retry = reader.message("retry_policy")
    hedge = reader.message("hedge_policy")
    retry_policy = None if retry is None else parse_retry_policy(retry)
    hedge_policy = None if hedge is None else parse_hedge_policy(hedge)
    host_rewrite = parse_host_rewrite(reader)
    rate_limits = parse_rate_limits(reader, extensions)
    return RouteAction(
        cluster=reader.required_string("cluster") if kind == "cluster" else "",
        cluster_header=_cluster_header(reader) if kind == "cluster_header" else "",
        weighted_clusters=clusters,
        cluster_not_found_response_code=reader.enum(
            "cluster_not_found_response_code", _STATUS, "SERVICE_UNAVAILABLE"
        ),
        metadata_match=parse_criteria(reader.message("metadata_match")),
        path_rewrite=parse_path_rewrite(reader, match),
        host_rewrite=host_rewrite,
        append_x_forwarded_host=reader.boolean("append_x_forwarded_host"),
        timeout=reader.duration("timeout", DEFAULT_TIMEOUT),
        idle_timeout=reader.optional_duration("idle_timeout"),
        max_grpc_timeout=reader.optional_duration("max_grpc_timeout"),
        grpc_timeout_offset=reader.duration("grpc_timeout_offset"),
        max_stream_duration=_max_stream_duration(reader.message("max_stream_duration")),
        retry_policy=retry_policy,
        hedge_policy=hedge_policy,
        priority=reader.enum("priority", _PRIORITIES, "DEFAULT"),
        hash_policies=tuple(
            p for p in reader.each("hash_policy", parse_hash_policy) if p is not None
        ),
        mirror_policies=parse_mirror_policies(reader, extensions),
        upgrades=_upgrades(reader),
        rate_limits=rate_limits,
        include_virtual_host_rate_limits=reader.boolean("include_vh_rate_limits"),
        cors=parse_route_cors(reader, extensions),
        not_built=(
            *missing,
            *(path for limit in rate_limits for path in limit.not_built),
            *(retry_policy.not_built if retry_policy else ()),
            *(hedge_policy.not_built if hedge_policy else ()),
            *(host_rewrite.text.not_built if isinstance(host_rewrite, HostFormat) else ()),
            *(
                path
                for config in reader.messages("upgrade_configs")
                for path in check(config, UPGRADE_CONFIG)
            ),
        ),
    )


def _cluster_header(reader: Reader) -> str:
    name = lower(octets(reader.required_string("cluster_header")))
    if any(c in name for c in "\0\r\n"):
        raise reader.error_at("cluster_header", f"expected a field name, found {name!r}")
    return name


def parse_mirror_policies(
    reader: Reader, extensions: Extensions
) -> tuple[MirrorPolicy, ...] | None:
    """request_mirror_policies of any level; None where the level has none."""
    policies = reader.messages("request_mirror_policies")
    return tuple(_mirror(policy, extensions) for policy in policies) or None


def _mirror(reader: Reader, extensions: Extensions) -> MirrorPolicy:
    check(reader, MIRROR_POLICY)
    cluster = reader.string("cluster")
    header = lower(octets(reader.string("cluster_header")))
    if bool(cluster) is bool(header):
        raise reader.error("expected exactly one of cluster and cluster_header")
    fraction = reader.message("runtime_fraction")
    return MirrorPolicy(
        cluster,
        header,
        ALWAYS if fraction is None else parse_runtime_fraction(fraction, extensions.runtime),
        append_shadow_suffix=not reader.boolean("disable_shadow_host_suffix_append"),
        host_rewrite_literal=octets(reader.string("host_rewrite_literal")),
        headers=reader.each("request_headers_mutations", _header_mutation),
    )


def _header_mutation(reader: Reader) -> HeaderMutations:
    check(reader, HEADER_MUTATION)
    if reader.required("remove", "append") == "remove":
        return HeaderMutations(remove=(lower(octets(reader.string("remove"))),))
    addition: HeaderAddition = parse_header_addition(reader.required_message("append"))
    return HeaderMutations(add=(addition,))


def _max_stream_duration(reader: Reader | None) -> MaxStreamDuration | None:
    if reader is None:
        return None
    check(reader, MAX_STREAM_DURATION)
    return MaxStreamDuration(
        reader.optional_duration("max_stream_duration"),
        reader.optional_duration("grpc_timeout_header_max"),
        reader.duration("grpc_timeout_header_offset"),
    )


def _upgrades(reader: Reader) -> tuple[tuple[str, bool], ...]:
    found: dict[str, bool] = {}
    for config in reader.messages("upgrade_configs"):
        kind = config.string("upgrade_type").lower()
        if kind in found:
            raise config.error_at("upgrade_type", f"expected each type once, found {kind!r} twice")
        found[kind] = config.boolean("enabled", True)
    return tuple(found.items())
