"""RouteConfiguration: the virtual hosts of a connection manager, matchers compiled.

Source: envoy.config.route.v3.RouteConfiguration.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.resources import (
    filter_overrides,
    hash_policy,
    header_mutations,
    path_rewrite,
    route,
    route_action,
    route_match,
    route_reply,
    route_tree,
    virtual_host,
    weighted_cluster,
)
from meshsdk.resources.filter_overrides import Overrides, parse_filter_overrides
from meshsdk.resources.header_mutations import HeaderMutations, parse_header_mutations
from meshsdk.resources.metadata import Metadata, parse_metadata
from meshsdk.resources.route_action import MirrorPolicy, parse_mirror_policies
from meshsdk.resources.virtual_host import VirtualHost, parse_virtual_host

TYPE_URL: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_MAX_DIRECT_RESPONSE: Final = 4096  # RouteConfiguration.max_direct_response_body_size_bytes

ROUTE_CONFIGURATION: Final = MessageTable(
    "envoy.config.route.v3.RouteConfiguration",
    {
        **honoured(
            "name",
            "virtual_hosts",
            "internal_only_headers",
            "response_headers_to_add",
            "response_headers_to_remove",
            "request_headers_to_add",
            "request_headers_to_remove",
            "most_specific_header_mutations_wins",
            "max_direct_response_body_size_bytes",
            "request_mirror_policies",
            "ignore_port_in_host_matching",
            "vhost_header",
            "ignore_path_parameters_in_path_matching",
            "typed_per_filter_config",
            "metadata",
        ),
        "validate_clusters": ignored("a route to a missing cluster answers, flag NC"),
        "vhds": not_built("virtual hosts on demand"),
        "cluster_specifier_plugins": not_built("cluster specifier plugins"),
        "route_specifiers": not_built("route specifier extensions"),
    },
)
TABLES: Final = (
    ROUTE_CONFIGURATION,
    *virtual_host.TABLES,
    *route.TABLES,
    *route_match.TABLES,
    *route_action.TABLES,
    *route_reply.TABLES,
    *route_tree.TABLES,
    *path_rewrite.TABLES,
    *hash_policy.TABLES,
    *weighted_cluster.TABLES,
    *header_mutations.TABLES,
    *filter_overrides.TABLES,
)
"""Every message that a route configuration is made of, for the coverage report."""


@dataclass(frozen=True, slots=True)
class RouteConfiguration:
    """A compiled route configuration."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    cluster_names: frozenset[str]
    """Every cluster that it names outright."""
    internal_only_headers: tuple[str, ...]
    """Request fields that only internal callers may send."""
    most_specific_header_mutations_wins: bool
    request_headers: HeaderMutations
    response_headers: HeaderMutations
    mirror_policies: tuple[MirrorPolicy, ...] | None
    ignore_port_in_host_matching: bool
    ignore_path_parameters_in_path_matching: bool
    vhost_header: str
    """The request field whose value finds the virtual host; empty: the authority."""
    overrides: Overrides
    metadata: Metadata
    not_built: tuple[str, ...] = ()


def parse(reader: Reader, extensions: Extensions) -> RouteConfiguration:
    """A RouteConfiguration; ConfigError where Envoy refuses it."""
    missing = check(reader, ROUTE_CONFIGURATION)
    max_body = reader.integer(
        "max_direct_response_body_size_bytes", _MAX_DIRECT_RESPONSE, at_least=0
    )
    hosts = tuple(
        parse_virtual_host(host, extensions, max_body) for host in reader.messages("virtual_hosts")
    )
    _refuse_duplicates(reader, hosts)
    request = parse_header_mutations(reader, "request")
    response = parse_header_mutations(reader, "response")
    mirrors = parse_mirror_policies(reader, extensions)
    names = {
        name for host in hosts for found in host.all_routes() for name in found.cluster_names()
    }
    for policies in (mirrors, *(host.mirror_policies for host in hosts)):
        names.update(policy.cluster for policy in policies or () if policy.cluster)
    return RouteConfiguration(
        name=reader.string("name"),
        virtual_hosts=hosts,
        cluster_names=frozenset(names),
        internal_only_headers=tuple(
            lower(octets(name)) for name in reader.strings("internal_only_headers")
        ),
        most_specific_header_mutations_wins=reader.boolean("most_specific_header_mutations_wins"),
        request_headers=request,
        response_headers=response,
        mirror_policies=mirrors,
        ignore_port_in_host_matching=reader.boolean("ignore_port_in_host_matching"),
        ignore_path_parameters_in_path_matching=reader.boolean(
            "ignore_path_parameters_in_path_matching"
        ),
        vhost_header=lower(octets(reader.string("vhost_header"))),
        overrides=parse_filter_overrides(reader, extensions),
        metadata=parse_metadata(reader.message("metadata")),
        not_built=(*missing, *request.not_built, *response.not_built),
    )


def _refuse_duplicates(reader: Reader, hosts: tuple[VirtualHost, ...]) -> None:
    """Only unique values for domains are permitted (Envoy, RouteMatcher)."""
    seen: dict[str, str] = {}
    for i, host in enumerate(hosts):
        for j, domain in enumerate(host.domains):
            if domain in seen:
                raise reader.error_at(
                    f"virtual_hosts[{i}].domains[{j}]",
                    f"expected each domain once, found {domain} in {seen[domain]} too",
                )
            seen[domain] = host.name
