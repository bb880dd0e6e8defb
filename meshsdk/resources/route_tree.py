"""`matcher` of a virtual host: a tree of matchers whose leaves are routes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.query import query_parameters
from meshsdk.matching.tree import Input, Matcher, TreeParser
from meshsdk.resources.route import Route, parse_route

Accept: TypeAlias = Callable[[Route], bool]
Facts: TypeAlias = tuple[Request, CallContext]

HEADER_INPUT: Final = MessageTable(
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput", honoured("header_name"), security=True
)
QUERY_INPUT: Final = MessageTable(
    "envoy.type.matcher.v3.HttpRequestQueryParamMatchInput", honoured("query_param"), security=True
)
ROUTE_LIST: Final = MessageTable("envoy.config.route.v3.RouteList", honoured("routes"))
TABLES: Final = (HEADER_INPUT, QUERY_INPUT, ROUTE_LIST)

_ROUTE_URL: Final = "type.googleapis.com/envoy.config.route.v3.Route"
_ROUTE_LIST_URL: Final = "type.googleapis.com/envoy.config.route.v3.RouteList"


@dataclass(frozen=True, slots=True)
class RouteTree:
    """A compiled tree."""

    matcher: Matcher[Facts, tuple[Route, ...]]
    routes: tuple[Route, ...]
    """Every leaf's routes."""

    def find(self, request: Request, context: CallContext, accept: Accept) -> Route | None:
        """The first route of the leaf that the tree leads to whose own match accepts."""
        found = self.matcher.find((request, context))
        return next((route for route in found or () if accept(route)), None)


def parse_route_tree(reader: Reader, extensions: Extensions, max_body: int) -> RouteTree:
    """The tree of a virtual host."""
    leaves: list[Route] = []

    def action(config: Reader) -> tuple[Route, ...]:
        if config.type_url == _ROUTE_URL:
            routes: tuple[Route, ...] = (parse_route(config, extensions, max_body),)
        elif config.type_url == _ROUTE_LIST_URL:
            check(config, ROUTE_LIST)
            routes = tuple(parse_route(r, extensions, max_body) for r in config.messages("routes"))
        else:
            raise UnknownExtensionError(
                config.path, f"no route action takes {config.type_url}", config.type_url
            )
        leaves.extend(routes)
        return routes

    parser: TreeParser[Facts, tuple[Route, ...]] = TreeParser(_INPUTS, action)
    return RouteTree(parser.parse(reader), tuple(leaves))


def _header(reader: Reader) -> Input[Facts]:
    check(reader, HEADER_INPUT)
    name = lower(octets(reader.required_string("header_name")))

    def read(facts: Facts) -> str | None:
        values = facts[0].field(name)
        return ",".join(values) if values else None

    return read


def _query(reader: Reader) -> Input[Facts]:
    check(reader, QUERY_INPUT)
    name = octets(reader.required_string("query_param"))
    return lambda facts: query_parameters(facts[0].path).get(name)


_INPUTS: Final[Mapping[str, Callable[[Reader], Input[Facts]]]] = {
    "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput": _header,
    "type.googleapis.com/envoy.type.matcher.v3.HttpRequestQueryParamMatchInput": _query,
}
