"""VirtualHost: domains and their routes. Source: envoy.config.route.v3.VirtualHost."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.matching.headers import HeaderMatcher, parse_header_matcher
from meshsdk.matching.octets import lower, octets
from meshsdk.resources.filter_overrides import Overrides, parse_filter_overrides
from meshsdk.resources.header_mutations import HeaderMutations, parse_header_mutations
from meshsdk.resources.metadata import Metadata, parse_metadata
from meshsdk.resources.rate_limit import RateLimit, parse_rate_limits
from meshsdk.resources.retry_policy import (
    HedgePolicy,
    RetryPolicy,
    parse_hedge_policy,
    parse_retry_policy,
)
from meshsdk.resources.route import Route, parse_buffer_limit, parse_route
from meshsdk.resources.route_action import MirrorPolicy, parse_mirror_policies
from meshsdk.resources.route_cors import parse_route_cors
from meshsdk.resources.route_tree import RouteTree, parse_route_tree

_REPLAY: Final = ignored("tuning: bodies are kept for a repeat up to 1 MiB")
VIRTUAL_HOST: Final = MessageTable(
    "envoy.config.route.v3.VirtualHost",
    {
        **honoured(
            "name",
            "domains",
            "routes",
            "matcher",
            "require_tls",
            "virtual_clusters",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
            "typed_per_filter_config",
            "include_request_attempt_count",
            "include_attempt_count_in_response",
            "include_is_timeout_retry_header",
            "retry_policy",
            "hedge_policy",
            "request_mirror_policies",
            "metadata",
            "rate_limits",
            "cors",
        ),
        "per_request_buffer_limit_bytes": _REPLAY,
        "request_body_buffer_limit": _REPLAY,
        "retry_policy_typed_config": not_built("retry policies of another type"),
        "route_specifiers": not_built("route specifier extensions"),
    },
)
VIRTUAL_CLUSTER: Final = MessageTable(
    "envoy.config.route.v3.VirtualCluster",
    honoured("headers", "name"),
)
TABLES: Final = (VIRTUAL_HOST, VIRTUAL_CLUSTER)


class TlsRequirement(Enum):
    """TlsRequirementType."""

    NONE = "NONE"
    EXTERNAL_ONLY = "EXTERNAL_ONLY"
    ALL = "ALL"


_REQUIREMENTS: Final = {requirement.value: requirement for requirement in TlsRequirement}


@dataclass(frozen=True, slots=True)
class VirtualCluster:
    """Requests that statistics count together."""

    name: str
    headers: tuple[HeaderMatcher, ...]


@dataclass(frozen=True, slots=True)
class VirtualHost:
    """A compiled virtual host. Requests find it by its domains."""

    name: str
    domains: tuple[str, ...]
    """Lower case."""
    routes: tuple[Route, ...]
    tree: RouteTree | None
    """Of `matcher`; then `routes` is empty."""
    require_tls: TlsRequirement
    virtual_clusters: tuple[VirtualCluster, ...]
    metadata: Metadata
    overrides: Overrides
    request_headers: HeaderMutations
    response_headers: HeaderMutations
    include_request_attempt_count: bool
    include_attempt_count_in_response: bool
    include_is_timeout_retry_header: bool
    retry_policy: RetryPolicy | None
    hedge_policy: HedgePolicy | None
    request_body_buffer_limit: int | None
    mirror_policies: tuple[MirrorPolicy, ...] | None
    rate_limits: tuple[RateLimit, ...] = ()
    cors: Override | None = None
    not_built: tuple[str, ...] = ()

    def all_routes(self) -> Iterator[Route]:
        """Every route, whichever way requests find it."""
        yield from self.routes
        if self.tree is not None:
            yield from self.tree.routes

    def virtual_cluster(self, request: Request) -> str:
        """The name of the first virtual cluster that takes a request; empty where none does."""
        for cluster in self.virtual_clusters:
            if all(header.matches(request) for header in cluster.headers):
                return cluster.name
        return ""


def parse_virtual_host(reader: Reader, extensions: Extensions, max_body: int) -> VirtualHost:
    """A VirtualHost; ConfigError where Envoy refuses it."""
    missing = check(reader, VIRTUAL_HOST)
    routes = tuple(parse_route(route, extensions, max_body) for route in reader.messages("routes"))
    matcher = reader.message("matcher")
    if matcher is not None and routes:
        raise reader.error("routes and matcher exclude each other")
    tree = None if matcher is None else parse_route_tree(matcher, extensions, max_body)
    retry = reader.message("retry_policy")
    hedge = reader.message("hedge_policy")
    retry_policy = None if retry is None else parse_retry_policy(retry)
    hedge_policy = None if hedge is None else parse_hedge_policy(hedge)
    request = parse_header_mutations(reader, "request")
    rate_limits = parse_rate_limits(reader, extensions)
    response = parse_header_mutations(reader, "response")
    return VirtualHost(
        # Envoy wants a name; istiod's feed for proxyless gRPC servers gives none (recorded).
        name=reader.string("name"),
        domains=_domains(reader),
        routes=routes,
        tree=tree,
        require_tls=reader.enum("require_tls", _REQUIREMENTS, "NONE"),
        virtual_clusters=reader.each("virtual_clusters", _virtual_cluster),
        metadata=parse_metadata(reader.message("metadata")),
        overrides=parse_filter_overrides(reader, extensions),
        request_headers=request,
        response_headers=response,
        include_request_attempt_count=reader.boolean("include_request_attempt_count"),
        include_attempt_count_in_response=reader.boolean("include_attempt_count_in_response"),
        include_is_timeout_retry_header=reader.boolean("include_is_timeout_retry_header"),
        retry_policy=retry_policy,
        hedge_policy=hedge_policy,
        request_body_buffer_limit=parse_buffer_limit(reader),
        mirror_policies=parse_mirror_policies(reader, extensions),
        rate_limits=rate_limits,
        cors=parse_route_cors(reader, extensions),
        not_built=(
            *missing,
            *(path for limit in rate_limits for path in limit.not_built),
            *(retry_policy.not_built if retry_policy else ()),
            *(hedge_policy.not_built if hedge_policy else ()),
            *request.not_built,
            *response.not_built,
        ),
    )


def _domains(reader: Reader) -> tuple[str, ...]:
    domains = tuple(lower(octets(domain)) for domain in reader.strings("domains"))
    if not domains:
        raise reader.error_at("domains", "expected at least 1 item(s), found 0")
    for i, domain in enumerate(domains):
        if any(c in domain for c in "\0\r\n"):
            raise reader.error_at(f"domains[{i}]", f"expected a domain, found {domain!r}")
    return domains


def _virtual_cluster(reader: Reader) -> VirtualCluster:
    check(reader, VIRTUAL_CLUSTER)
    headers = reader.each("headers", parse_header_matcher)
    if not headers:
        raise reader.error_at("headers", "expected at least 1 item(s), found 0")
    return VirtualCluster(reader.required_string("name"), headers)
