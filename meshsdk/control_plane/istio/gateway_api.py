"""What HTTPRoute and GRPCRoute of the Gateway API share: parents, backends, filters. Only routes
that are bound to a Service are built (GAMMA)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from meshsdk.control_plane.istio.documents import Metadata
from meshsdk.control_plane.istio.hostnames import DOMAIN
from meshsdk.control_plane.istio.http_actions import (
    Cors,
    Destination,
    DirectResponse,
    HeaderOperations,
    Operations,
    Redirect,
    Retries,
    Rewrite,
)
from meshsdk.control_plane.istio.http_fault import Mirror, Share
from meshsdk.control_plane.istio.http_match import HttpMatch
from meshsdk.control_plane.istio.http_rule import HttpRule, RouteDestination
from meshsdk.control_plane.istio.spec_fields import Fields, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.string_match import StringMatch, checked_regex

GROUP: Final = "gateway.networking.k8s.io"
PARENT: Final = fields("group", "kind", "namespace", "name", "port", "sectionName")
BACKEND: Final = fields("group", "kind", "namespace", "name", "port", "weight", "filters")
_NOT_BUILT: Final = "not built, and the route would do something else"
FILTER: Final = fields(
    "type", "requestHeaderModifier", "responseHeaderModifier", "requestMirror",
    "requestRedirect", "urlRewrite", "cors",
    refused={"extensionRef": _NOT_BUILT, "externalAuth": _NOT_BUILT},
)  # fmt: skip
_MODIFIER: Final = fields("set", "add", "remove")
_VALUE: Final = fields("name", "value")
_MIRROR: Final = fields("backendRef", "percent", "fraction")
_FRACTION: Final = fields("numerator", "denominator")
_REDIRECT: Final = fields("scheme", "hostname", "path", "port", "statusCode")
_REWRITE: Final = fields("hostname", "path")
_CORS: Final = fields(
    "allowOrigins", "allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials"
)
_PATH: Final = fields("type", "replaceFullPath", "replacePrefixMatch")
_HEADER: Final = fields("type", "name", "value")
_TYPES: Final = {"Exact": "exact", "RegularExpression": "regex"}


@dataclass(frozen=True, slots=True)
class Parent:
    """A Service whose callers follow a route."""

    host: str
    namespace: str
    port: int = 0
    """0 is all of its ports."""


@dataclass(frozen=True, slots=True)
class MeshRoute:
    """A route, its rules in the order of the document, each with one match at most."""

    metadata: Metadata
    parents: tuple[Parent, ...]
    rules: tuple[HttpRule, ...]


@dataclass(frozen=True, slots=True)
class Filters:
    """All filters of a rule, or of a backend."""

    headers: HeaderOperations = field(default_factory=HeaderOperations)
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    prefix: str | None = None
    """What stands instead of the prefix that matched; of `redirect` or `rewrite`."""
    mirrors: tuple[Mirror, ...] = ()
    cors: Cors | None = None


def parse_parents(spec: SpecReader, namespace: str) -> tuple[Parent, ...]:
    """Services; SpecError for a Gateway."""
    found: list[Parent] = []
    for reader in spec.messages("parentRefs", PARENT, at_least=1):
        kind = reader.string("kind", "Gateway")
        group = reader.string("group", "" if kind == "Service" else GROUP)
        if (group, kind) != ("", "Service"):
            problem = f"routes of {kind} are not built: expected a Service of group ''"
            raise reader.error(problem)
        place = reader.string("namespace") or namespace
        host = f"{reader.required_string('name')}.{place}.svc.{DOMAIN}"
        port = reader.integer("port", 0, at_least=1, at_most=65535)
        found.append(Parent(host, place, port))
    return tuple(found)


def parse_headers(reader: SpecReader) -> dict[str, StringMatch]:
    """`headers` of a match; of one name twice the first counts."""
    found: dict[str, StringMatch] = {}
    for each in reader.messages("headers", _HEADER):
        found.setdefault(*parse_named(each))
    return found


def parse_query(reader: SpecReader) -> dict[str, StringMatch]:
    """`queryParams` of a match; of one name twice the first counts."""
    found: dict[str, StringMatch] = {}
    for each in reader.messages("queryParams", _HEADER):
        found.setdefault(*parse_named(each))
    return found


def parse_named(reader: SpecReader) -> tuple[str, StringMatch]:
    """One header or parameter."""
    how = reader.enum("type", _TYPES, "Exact")
    name = reader.required_string("name")
    if how == "regex":
        return name, StringMatch("regex", checked_regex(reader, "value"))
    return name, StringMatch("exact", reader.required_string("value"))


def parse_filters(reader: SpecReader, namespace: str) -> Filters:
    """All of them, in one."""
    found = Filters()
    for each in reader.messages("filters", FILTER):
        kind = each.required_string("type")
        match kind:
            case "RequestHeaderModifier":
                request = _operations(each.required_message("requestHeaderModifier", _MODIFIER))
                found = replace(found, headers=replace(found.headers, request=request))
            case "ResponseHeaderModifier":
                response = _operations(each.required_message("responseHeaderModifier", _MODIFIER))
                found = replace(found, headers=replace(found.headers, response=response))
            case "RequestRedirect":
                found = _redirect(each.required_message("requestRedirect", _REDIRECT), found)
            case "URLRewrite":
                found = _rewrite(each.required_message("urlRewrite", _REWRITE), found)
            case "RequestMirror":
                mirror = _mirror(each.required_message("requestMirror", _MIRROR), namespace)
                found = replace(found, mirrors=(*found.mirrors, *mirror))
            case "CORS":
                found = replace(found, cors=_cors(each.required_message("cors", _CORS)))
            case _:
                raise each.error_at("type", f"{kind} is not built")
    return found


def _operations(reader: SpecReader) -> Operations:
    def values(name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in reader.messages(name, _VALUE):  # of one name twice the first counts
            found.setdefault(each.required_string("name").lower(), each.string("value"))
        return found

    return Operations(values("set"), values("add"), reader.strings("remove"))


def _cors(reader: SpecReader) -> Cors:
    age = reader.integer("maxAge", 0, at_least=0)
    return Cors(
        tuple(StringMatch("exact", each) for each in reader.strings("allowOrigins") if each),
        reader.strings("allowMethods"),
        reader.strings("allowHeaders"),
        reader.strings("exposeHeaders"),
        float(age) if age else None,
        reader.boolean("allowCredentials") or None,
    )


def _redirect(reader: SpecReader, found: Filters) -> Filters:
    path = reader.message("path", _PATH)
    scheme = reader.string("scheme")
    if scheme not in ("", "http", "https"):
        raise reader.error_at("scheme", f"expected http or https, found {scheme!r}")
    code = reader.integer("statusCode", 302)
    if code not in (301, 302, 303, 307, 308):
        raise reader.error_at("statusCode", f"expected 301, 302, 303, 307 or 308, found {code}")
    port = reader.integer("port", 0, at_least=1, at_most=65535)
    uri, prefix = ("", None) if path is None else _path(path)
    redirect = Redirect(
        uri, reader.string("hostname"), port, not port and not scheme, scheme, code, prefix
    )
    return replace(found, redirect=redirect)


def _rewrite(reader: SpecReader, found: Filters) -> Filters:
    path = reader.message("path", _PATH)
    uri, prefix = ("", None) if path is None else _path(path)
    rewrite = Rewrite("", reader.string("hostname"), ("/.*", uri) if uri else None)
    return replace(found, rewrite=rewrite, prefix=prefix)


def _path(reader: SpecReader) -> tuple[str, str | None]:
    """The whole new path, or a new prefix."""
    if reader.required_string("type") == "ReplaceFullPath":
        return reader.required_string("replaceFullPath"), None
    if reader.string("type") != "ReplacePrefixMatch":
        expected = "expected ReplaceFullPath or ReplacePrefixMatch"
        raise reader.error_at("type", f"{expected}, found {reader.string('type')!r}")
    return "", reader.string("replacePrefixMatch").removesuffix("/") or "/"


def _mirror(reader: SpecReader, namespace: str) -> tuple[Mirror, ...]:
    destination = parse_backend(reader.required_message("backendRef", BACKEND), namespace)
    share = Share(100, False)
    if reader.has("percent"):
        share = Share(reader.integer("percent", at_least=0, at_most=100) * 10000)
    fraction = reader.message("fraction", _FRACTION)
    if fraction is not None:
        whole = fraction.integer("denominator", 100, at_least=1)
        part = fraction.integer("numerator", at_least=0, at_most=whole)
        share = Share(part * 1_000_000 // whole)
    return (Mirror(destination, share),) if share.numerator else ()


def parse_backend(reader: SpecReader, namespace: str) -> Destination:
    """A Service, or a Hostname of Istio."""
    group, kind = reader.string("group"), reader.string("kind", "Service")
    name = reader.required_string("name")
    port = reader.integer("port", 0, at_least=1, at_most=65535)
    if not port:
        raise reader.error("expected port, found none")
    if (group, kind) == ("networking.istio.io", "Hostname"):
        return Destination(name, "", port)
    if (group, kind) != ("", "Service"):
        raise reader.error_at("kind", f"{kind} of {group or 'core'} is not built")
    return Destination(f"{name}.{reader.string('namespace') or namespace}.svc.{DOMAIN}", "", port)


def parse_backends(reader: SpecReader, namespace: str) -> tuple[RouteDestination, ...]:
    """Weights are 1 where unset."""
    found: list[RouteDestination] = []
    for each in reader.messages("backendRefs", BACKEND):
        filters = parse_filters(each, namespace)
        if filters != Filters(filters.headers):
            raise each.error_at("filters", "a backend's filters may change headers alone")
        weight = each.integer("weight", 1, at_least=0)
        found.append(RouteDestination(parse_backend(each, namespace), weight, filters.headers))
    return tuple(found)


def rules_of(
    name: str,
    matches: Iterable[HttpMatch],
    filters: Filters,
    routes: tuple[RouteDestination, ...],
    timeout: float | None,
    retries: Retries | None,
) -> Iterable[HttpRule]:
    """One rule a match, so that they can be sorted."""
    is_nowhere = not any(each.weight for each in routes) and filters.redirect is None
    for match in matches:
        yield HttpRule(
            name,
            (match,),
            () if is_nowhere or filters.redirect is not None else _weighed(routes),
            filters.redirect,
            DirectResponse(500) if is_nowhere else None,
            rewrite=_rewrite_of(match, filters),
            timeout=timeout,
            retries=retries,
            mirrors=filters.mirrors,
            cors=filters.cors,
            headers=filters.headers,
            is_gateway_api=True,
        )


def _weighed(routes: tuple[RouteDestination, ...]) -> tuple[RouteDestination, ...]:
    return routes if len(routes) > 1 else tuple(replace(each, weight=0) for each in routes)


def _rewrite_of(match: HttpMatch, filters: Filters) -> Rewrite | None:
    rewrite = filters.rewrite
    if rewrite is None or filters.prefix is None:
        return rewrite
    if filters.prefix != "/":
        return replace(rewrite, uri=filters.prefix)
    # The whole prefix goes, and its slash stays. Source: istiod, applyRewrite.
    prefix = "" if match.uri is None else match.uri.value.removesuffix("/")
    return replace(rewrite, regex=(f"^{_quoted(prefix)}(/?)(.*)", r"/\2"))


def _quoted(text: str) -> str:
    """As Go's regexp.QuoteMeta."""
    return "".join(f"\\{c}" if c in r"\.+*?()|[]{}^$" else c for c in text)


def precedence(rule: HttpRule) -> tuple[int, int, bool, int, int]:
    """Sorts the most specific first. Source: istiod, sortHTTPRoutes."""
    match = rule.matches[0]
    ranks: Mapping[str, int] = {"exact": -3, "prefix": -2, "regex": -1}
    uri = match.uri
    return (
        1 if uri is None else ranks.get(uri.how, 1),
        0 if uri is None else -len(uri.value),
        match.method is None,
        -len(match.headers),
        -len(match.query_params),
    )


RULE_FIELDS: Final[Fields] = fields("name", "matches", "filters", "backendRefs")
