"""RouteMatch: which requests a route takes. Source: envoy.config.route.v3.RouteMatch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.cookie import cookies, parse_cookie_matcher
from meshsdk.matching.fraction import Fraction, parse_runtime_fraction
from meshsdk.matching.headers import HeaderMatcher, parse_header_matcher
from meshsdk.matching.metadata import parse_metadata_matcher
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.path import without_query
from meshsdk.matching.query import parse_query_parameter_matcher, query_parameters
from meshsdk.matching.regex import parse_regex_matcher
from meshsdk.matching.strings import parse_string_matcher
from meshsdk.matching.uri_template import UriTemplate, parse_uri_template

PathKind: TypeAlias = Literal[
    "prefix", "path", "safe_regex", "connect_matcher", "path_separated_prefix", "path_match_policy"
]
PathTest: TypeAlias = Callable[[str], bool]
"""On a path without its query."""
Condition: TypeAlias = Callable[[Request, CallContext], bool]

_KINDS: Final[dict[str, PathKind]] = {
    "prefix": "prefix",
    "path": "path",
    "safe_regex": "safe_regex",
    "connect_matcher": "connect_matcher",
    "path_separated_prefix": "path_separated_prefix",
    "path_match_policy": "path_match_policy",
}
ROUTE_MATCH: Final = MessageTable(
    "envoy.config.route.v3.RouteMatch",
    honoured(
        *_KINDS,
        "case_sensitive",
        "runtime_fraction",
        "headers",
        "query_parameters",
        "cookies",
        "grpc",
        "tls_context",
        "dynamic_metadata",
        "filter_state",
    ),
    security=True,
)
TLS_CONTEXT: Final = MessageTable(
    "envoy.config.route.v3.RouteMatch.TlsContextMatchOptions",
    honoured("presented", "validated"),
    security=True,
)
FILTER_STATE: Final = MessageTable(
    "envoy.type.matcher.v3.FilterStateMatcher", honoured("key", "string_match"), security=True
)
PATH_MATCH_POLICY: Final = MessageTable(
    "envoy.config.core.v3.TypedExtensionConfig", honoured("name", "typed_config"), security=True
)
TABLES: Final = (ROUTE_MATCH, TLS_CONTEXT, FILTER_STATE, PATH_MATCH_POLICY)

URI_TEMPLATE_MATCH: Final = (
    "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
)
_GRPC: Final = "application/grpc"


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """A compiled match. Everything in it must hold."""

    kind: PathKind
    text: str
    """The prefix, path or pattern as configured; empty for connect_matcher."""
    test: PathTest
    case_sensitive: bool = True
    conditions: tuple[Condition, ...] = ()
    fraction: Fraction | None = None
    template: UriTemplate | None = None
    headers: tuple[HeaderMatcher, ...] = ()
    """Already among `conditions`; kept for those who explain or index."""

    def matches(self, request: Request, path: str, context: CallContext, draw: int) -> bool:
        """Whether a request matches; `path` is without query, `draw` uniform in [0, 2**53)."""
        if self.kind == "connect_matcher":
            if request.method != "CONNECT":
                return False
        elif self.template is not None:
            # Envoy never leaves out path parameters here.
            if not self.template.matches(without_query(request.path)):
                return False
        elif not path or not self.test(path):
            return False
        fraction = self.fraction
        if fraction is not None and draw % fraction.denominator >= fraction.numerator:
            return False
        return not self.conditions or all(
            condition(request, context) for condition in self.conditions
        )

    def matched(self, path: str) -> str | None:
        """The part of a path (without query) that a prefix_rewrite replaces; None where the match
        is not in it as it stands (path parameters were left out)."""
        if self.kind not in ("prefix", "path", "path_separated_prefix"):
            return path
        found = path[: len(self.text)]
        is_there = found == self.text or (
            not self.case_sensitive and found.lower() == self.text.lower()
        )
        return found if is_there else None

    def describe(self) -> str:
        """For people: `prefix "/api"`."""
        extra = f" and {len(self.conditions)} more" if self.conditions else ""
        return f'{self.kind} "{self.text}"{extra}'


def parse_route_match(reader: Reader, extensions: Extensions) -> RouteMatch:
    """A RouteMatch; ConfigError where Envoy refuses it."""
    check(reader, ROUTE_MATCH)
    kind = _KINDS[reader.required(*_KINDS)]
    case_sensitive = reader.boolean("case_sensitive", True)
    template = None
    text = ""
    match kind:
        case "connect_matcher":
            test: PathTest = bool
        case "safe_regex":
            regex = parse_regex_matcher(reader.required_message(kind))
            text, test = regex.pattern, regex.fullmatch
        case "path_match_policy":
            template = _template(reader.required_message(kind))
            text, test = template.text, template.matches
        case _:
            text = octets(reader.string(kind))
            test = _literal(reader, kind, text, case_sensitive)
    headers = reader.each("headers", parse_header_matcher)
    fraction = reader.message("runtime_fraction")
    return RouteMatch(
        kind,
        text,
        test,
        case_sensitive,
        conditions=(*_grpc(reader), *_headers(headers), *_conditions(reader)),
        fraction=None if fraction is None else parse_runtime_fraction(fraction, extensions.runtime),
        template=template,
        headers=headers,
    )


def _literal(reader: Reader, kind: PathKind, text: str, case_sensitive: bool) -> PathTest:
    if kind == "path_separated_prefix" and (
        len(text) < 2 or "?" in text or "#" in text or text.endswith("/")
    ):
        # Proto rule: ^[^?#]+[^?#/]$
        raise reader.error_at(
            kind, f"expected a path without query, fragment and final slash, found {text!r}"
        )
    if case_sensitive:
        return _LITERAL[kind](text)
    folded = _LITERAL[kind](lower(text))
    return lambda path: folded(lower(path))


def _separated(text: str) -> PathTest:
    below = text + "/"
    return lambda path: path == text or path.startswith(below)


def _prefixed(text: str) -> PathTest:
    return lambda path: path.startswith(text)


def _equal(text: str) -> PathTest:
    return lambda path: path == text


_LITERAL: Final[dict[str, Callable[[str], PathTest]]] = {
    "prefix": _prefixed,
    "path": _equal,
    "path_separated_prefix": _separated,
}


def _template(reader: Reader) -> UriTemplate:
    check(reader, PATH_MATCH_POLICY)
    config = reader.typed("typed_config")
    if config is None or config.type_url != URI_TEMPLATE_MATCH:
        found = "none" if config is None else config.type_url
        raise reader.error_at("typed_config", f"expected {URI_TEMPLATE_MATCH}, found {found}")
    return parse_uri_template(config)


def _headers(matchers: tuple[HeaderMatcher, ...]) -> list[Condition]:
    def one(matcher: HeaderMatcher) -> Condition:
        return lambda request, _: matcher.matches(request)

    return [one(matcher) for matcher in matchers]


def _conditions(reader: Reader) -> list[Condition]:
    """What is looked at less often than headers."""
    conditions: list[Condition] = []
    parameters = reader.each("query_parameters", parse_query_parameter_matcher)
    if parameters:

        def query(request: Request, _: CallContext) -> bool:
            found = query_parameters(request.path)
            return all(parameter.matches(found) for parameter in parameters)

        conditions.append(query)
    cookie_matchers = reader.each("cookies", parse_cookie_matcher)
    if cookie_matchers:

        def cookie(request: Request, _: CallContext) -> bool:
            found = cookies(request)
            return all(matcher.matches(found) for matcher in cookie_matchers)

        conditions.append(cookie)
    metadata = reader.each("dynamic_metadata", parse_metadata_matcher)
    if metadata:
        conditions.append(
            lambda _, context: all(m.matches(context.dynamic_metadata) for m in metadata)
        )
    conditions.extend(reader.each("filter_state", _filter_state))
    tls = reader.message("tls_context")
    if tls is not None:
        conditions.extend(_tls(tls))
    return conditions


def _grpc(reader: Reader) -> list[Condition]:
    return [lambda request, _: is_grpc(request)] if reader.message("grpc") is not None else []


def is_grpc(request: Request) -> bool:
    """Envoy, Grpc::Common::isGrpcRequestHeaders: `application/grpc` or `application/grpc+...`."""
    content_type = request.headers.get("content-type")
    return (
        content_type is not None
        and content_type.startswith(_GRPC)
        and content_type[len(_GRPC) : len(_GRPC) + 1] in ("", "+")
    )


def _filter_state(reader: Reader) -> Condition:
    check(reader, FILTER_STATE)
    key = reader.required_string("key")
    reader.required("string_match")
    matcher = parse_string_matcher(reader.required_message("string_match"))

    def condition(_: Request, context: CallContext) -> bool:
        found = context.filter_state.get(key)
        return found is not None and matcher.matches(found)

    return condition


def _tls(reader: Reader) -> list[Condition]:
    """Whether the client presented a certificate, and whether it was verified.

    Only a certificate that was verified becomes a `Peer`'s, so both ask the same. Plaintext is
    "not presented" (Envoy 1.40, observed).
    """
    check(reader, TLS_CONTEXT)
    found = [reader.boolean(name) for name in ("presented", "validated") if reader.has(name)]
    return [_presented(wanted) for wanted in found]


def _presented(wanted: bool) -> Condition:
    return lambda _, context: context.connection.is_mtls is wanted
