"""HTTPRoute of a VirtualService: conditions, and what happens where one of them holds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from meshsdk.control_plane.istio.http_actions import (
    CORS,
    DESTINATION,
    DIRECT,
    HEADERS,
    REDIRECT,
    RETRIES,
    REWRITE,
    Cors,
    Destination,
    DirectResponse,
    HeaderOperations,
    Redirect,
    Retries,
    Rewrite,
    parse_cors,
    parse_destination,
    parse_direct_response,
    parse_header_operations,
    parse_redirect,
    parse_retries,
    parse_rewrite,
    positive,
)
from meshsdk.control_plane.istio.http_fault import (
    FAULT,
    Fault,
    Mirror,
    parse_fault,
    parse_mirrors,
)
from meshsdk.control_plane.istio.http_match import MATCH, HttpMatch, parse_http_match
from meshsdk.control_plane.istio.spec_fields import Fields, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

T = TypeVar("T")

HTTP: Final = fields(
    "name", "match", "route", "redirect", "directResponse", "delegate", "rewrite", "timeout",
    "retries", "fault", "mirror", "mirrors", "mirrorPercent", "mirrorPercentage", "corsPolicy",
    "headers",
    refused={"websocketUpgrade": "gone from Istio, WebSocket works without it"},
)  # fmt: skip
_ROUTE: Final = fields("destination", "weight", "headers")
_DELEGATE: Final = fields("name", "namespace")


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """One of the destinations of a rule."""

    destination: Destination
    weight: int = 0
    headers: HeaderOperations = field(default_factory=HeaderOperations)


@dataclass(frozen=True, slots=True)
class HttpRule:
    """One rule; the first that matches is taken."""

    name: str = ""
    matches: tuple[HttpMatch, ...] = ()
    """Any of them; empty is everything."""
    routes: tuple[RouteDestination, ...] = ()
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    delegate: tuple[str, str] | None = None
    """Namespace and name of the VirtualService that says more."""
    rewrite: Rewrite | None = None
    timeout: float | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None
    headers: HeaderOperations | None = None
    is_gateway_api: bool = False
    """A destination that does not exist is answered with 500, not 503."""


def parse_http_rule(reader: SpecReader, namespace: str) -> HttpRule:
    """A rule, or why istiod would refuse it."""
    reader.one_of("route", "redirect", "directResponse", "delegate")
    rule = HttpRule(
        reader.string("name"),
        tuple(parse_http_match(each, namespace) for each in reader.messages("match", MATCH)),
        tuple(_route(each, namespace) for each in reader.messages("route", _ROUTE)),
        _optional(reader, "redirect", REDIRECT, parse_redirect),
        _optional(reader, "directResponse", DIRECT, parse_direct_response),
        _delegate(reader, namespace),
        _optional(reader, "rewrite", REWRITE, parse_rewrite),
        positive(reader, "timeout"),
        _optional(reader, "retries", RETRIES, parse_retries),
        _optional(reader, "fault", FAULT, parse_fault),
        parse_mirrors(reader, namespace),
        _optional(reader, "corsPolicy", CORS, parse_cors),
        _optional(reader, "headers", HEADERS, parse_header_operations),
    )
    _check(reader, rule)
    return rule


def _optional(
    reader: SpecReader, name: str, known: Fields, parse: Callable[[SpecReader], T]
) -> T | None:
    found = reader.message(name, known)
    return None if found is None else parse(found)


def _check(reader: SpecReader, rule: HttpRule) -> None:
    if rule.redirect is None and rule.direct_response is None and rule.delegate is None:
        if not rule.routes:
            raise reader.error("expected route, redirect, directResponse or delegate, found none")
        if len(rule.routes) > 1 and not sum(each.weight for each in rule.routes):
            raise reader.error_at("route", "expected weights whose sum is more than 0")
    if rule.redirect is not None and rule.fault is not None:
        raise reader.error_at("fault", "not with redirect")
    if (rule.redirect or rule.direct_response) and rule.rewrite is not None:
        raise reader.error_at("rewrite", "not with redirect or directResponse")


def _route(reader: SpecReader, namespace: str) -> RouteDestination:
    headers = reader.message("headers", HEADERS)
    return RouteDestination(
        parse_destination(reader.required_message("destination", DESTINATION), namespace),
        reader.integer("weight", at_least=0),
        HeaderOperations() if headers is None else parse_header_operations(headers),
    )


def _delegate(reader: SpecReader, namespace: str) -> tuple[str, str] | None:
    found = reader.message("delegate", _DELEGATE)
    if found is None:
        return None
    return found.string("namespace") or namespace, found.required_string("name")
