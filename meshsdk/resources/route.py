"""Route: a match and what becomes of the requests that it takes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.resources.filter_overrides import Overrides, parse_filter_overrides
from meshsdk.resources.header_mutations import HeaderMutations, parse_header_mutations
from meshsdk.resources.metadata import Metadata, parse_metadata
from meshsdk.resources.route_action import RouteAction, parse_route_action
from meshsdk.resources.route_match import RouteMatch, parse_route_match
from meshsdk.resources.route_reply import (
    DirectResponse,
    Redirect,
    parse_direct_response,
    parse_redirect,
)

_REPLAY: Final = ignored("tuning: bodies are kept for a repeat up to 1 MiB")
ROUTE: Final = MessageTable(
    "envoy.config.route.v3.Route",
    {
        **honoured(
            "name",
            "match",
            "route",
            "redirect",
            "direct_response",
            "non_forwarding_action",
            "metadata",
            "typed_per_filter_config",
            "request_headers_to_add",
            "request_headers_to_remove",
            "response_headers_to_add",
            "response_headers_to_remove",
        ),
        "per_request_buffer_limit_bytes": _REPLAY,
        "request_body_buffer_limit": _REPLAY,
        "filter_action": not_built("actions of filters"),
        "decorator": ignored("telemetry"),
        "tracing": ignored("telemetry"),
        "stat_prefix": ignored("telemetry"),
        "route_specifiers": not_built("route specifier extensions"),
    },
)
TABLES: Final = (ROUTE,)


@dataclass(frozen=True, slots=True)
class NonForwarding:
    """non_forwarding_action: the route of a server's own requests; a proxy can do nothing."""


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """An action whose code does not exist; the route's `not_built` names it."""


Action: TypeAlias = RouteAction | Redirect | DirectResponse | NonForwarding | Unbuilt


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled route."""

    name: str
    match: RouteMatch
    action: Action
    metadata: Metadata
    overrides: Overrides
    request_headers: HeaderMutations
    response_headers: HeaderMutations
    request_body_buffer_limit: int | None = None
    """Bytes of a request body that are kept for a retry; None: the virtual host's."""
    not_built: tuple[str, ...] = ()

    def cluster_names(self) -> Iterator[str]:
        """The clusters that it names; those that a request field names are not known."""
        action = self.action
        if not isinstance(action, RouteAction):
            return
        if action.cluster:
            yield action.cluster
        if action.weighted_clusters is not None:
            yield from (c.name for c in action.weighted_clusters.clusters if c.name)
        yield from (mirror.cluster for mirror in action.mirror_policies or () if mirror.cluster)


def parse_route(reader: Reader, extensions: Extensions, max_body: int) -> Route:
    """A Route; ConfigError where Envoy refuses it."""
    missing = check(reader, ROUTE)
    match = parse_route_match(reader.required_message("match"), extensions)
    action = _action(reader, match, extensions, max_body)
    request = parse_header_mutations(reader, "request")
    response = parse_header_mutations(reader, "response")
    not_built_here = () if isinstance(action, NonForwarding | Unbuilt) else action.not_built
    return Route(
        reader.string("name"),
        match,
        action,
        parse_metadata(reader.message("metadata")),
        parse_filter_overrides(reader, extensions),
        request,
        response,
        parse_buffer_limit(reader),
        (*missing, *not_built_here, *request.not_built, *response.not_built),
    )


def _action(reader: Reader, match: RouteMatch, extensions: Extensions, max_body: int) -> Action:
    kind = reader.required(
        "route", "redirect", "direct_response", "filter_action", "non_forwarding_action"
    )
    found = reader.required_message(kind)
    match kind:
        case "route":
            return parse_route_action(found, match, extensions)
        case "redirect":
            return parse_redirect(found, match)
        case "direct_response":
            return parse_direct_response(found, max_body)
        case "non_forwarding_action":
            return NonForwarding()
        case _:
            return Unbuilt()


def parse_buffer_limit(reader: Reader) -> int | None:
    """request_body_buffer_limit of a route or virtual host, or its older name."""
    limit = reader.optional_integer("request_body_buffer_limit")
    return reader.optional_integer("per_request_buffer_limit_bytes") if limit is None else limit
