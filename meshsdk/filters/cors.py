"""envoy.filters.http.cors: which origins may read answers, told to browsers.

Source: Envoy, CorsFilter.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, HttpFilter, OnResponse, Verdict
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters.not_built import INERT, Inert
from meshsdk.matching.fraction import ALWAYS, Fraction, parse_runtime_fraction
from meshsdk.matching.octets import octets
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

_FIELDS: Final = {
    **honoured(
        "allow_origin_string_match",
        "allow_methods",
        "allow_headers",
        "expose_headers",
        "max_age",
        "allow_credentials",
        "filter_enabled",
        "allow_private_network_access",
        "forward_not_matching_preflights",
    ),
    "shadow_enabled": ignored("statistics"),
}
TABLE: Final = MessageTable("envoy.extensions.filters.http.cors.v3.Cors", {}, security=True)
POLICY_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.cors.v3.CorsPolicy", _FIELDS, security=True
)
ROUTE_TABLE: Final = MessageTable("envoy.config.route.v3.CorsPolicy", _FIELDS, security=True)
TABLES: Final = (TABLE, POLICY_TABLE, ROUTE_TABLE)
_ROUTE_URL: Final = "type.googleapis.com/envoy.config.route.v3.CorsPolicy"

_ALLOW_ORIGIN: Final = "access-control-allow-origin"
_ALLOW_CREDENTIALS: Final = "access-control-allow-credentials"
_REQUEST_METHOD: Final = "access-control-request-method"


@dataclass(frozen=True, slots=True)
class Cors:
    """The policy in force. Empty and None: unset, so that a less specific level's counts."""

    allow_origins: tuple[StringMatcher, ...] = ()
    allow_methods: str = ""
    allow_headers: str = ""
    expose_headers: str = ""
    max_age: str = ""
    allow_credentials: bool | None = None
    allow_private_network_access: bool | None = None
    forward_not_matching_preflights: bool | None = None
    enabled: Fraction = ALWAYS
    """Of the most specific level alone."""

    def over(self, broader: "Cors") -> "Cors":
        """This policy with what it leaves unset from a less specific one."""
        return Cors(
            self.allow_origins or broader.allow_origins,
            self.allow_methods or broader.allow_methods,
            self.allow_headers or broader.allow_headers,
            self.expose_headers or broader.expose_headers,
            self.max_age or broader.max_age,
            _first(self.allow_credentials, broader.allow_credentials),
            _first(self.allow_private_network_access, broader.allow_private_network_access),
            _first(self.forward_not_matching_preflights, broader.forward_not_matching_preflights),
            self.enabled,
        )

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Answer preflights; note on the answers to other cross-origin calls who may read them."""
        origin = _field(request, "origin")
        if not origin or context.route is None or not self.enabled.samples(context.random):
            return Continue(request)
        allowed = self._allows(origin)
        is_preflight = request.method == "OPTIONS" and bool(_field(request, _REQUEST_METHOD))
        if is_preflight and (allowed or self.forward_not_matching_preflights is False):
            return self._preflight(request, origin if allowed else "")
        return Continue(request, self._telling(origin) if allowed else None)

    def _allows(self, origin: str) -> bool:
        # A matcher that takes `*` itself takes every origin.
        return any(m.matches("*") or m.matches(origin) for m in self.allow_origins)

    def _preflight(self, request: Request, origin: str) -> LocalReply:
        """The answer to a preflight; `origin` is empty where it is not allowed."""
        pairs = [(_ALLOW_ORIGIN, origin)] if origin else []
        if self.allow_credentials:
            pairs.append((_ALLOW_CREDENTIALS, "true"))
        for name, configured, asked in (
            ("access-control-allow-methods", self.allow_methods, _REQUEST_METHOD),
            ("access-control-allow-headers", self.allow_headers, "access-control-request-headers"),
        ):
            if configured:
                pairs.append((name, _field(request, asked) if configured == "*" else configured))
        if self.max_age:
            pairs.append(("access-control-max-age", self.max_age))
        private = _field(request, "access-control-request-private-network") == "true"
        if self.allow_private_network_access and private:
            pairs.append(("access-control-allow-private-network", "true"))
        told = self._told(origin, Headers(pairs)) if origin else pairs
        return LocalReply(200, headers=tuple(told), details="cors_response", as_is=True)

    def _telling(self, origin: str) -> OnResponse:
        def on_response(response: Response, context: CallContext) -> Response:
            del context
            return response.with_headers(self._told(origin, response.headers))

        return on_response

    def _told(self, origin: str, headers: Headers) -> Headers:
        headers = headers.set(_ALLOW_ORIGIN, origin)
        if self.allow_credentials:
            headers = headers.set(_ALLOW_CREDENTIALS, "true")
        if self.expose_headers:
            headers = headers.set("access-control-expose-headers", self.expose_headers)
        return headers


def _first(specific: bool | None, broader: bool | None) -> bool | None:
    return broader if specific is None else specific


def _field(request: Request, name: str) -> str:
    """A field of which there is one line; repeats are joined, as Envoy keeps it."""
    return ",".join(request.headers.values(name))


def parse(reader: Reader, extensions: Extensions) -> Inert:
    """The filter itself has no policy: routes bring theirs."""
    del extensions
    check(reader, TABLE)
    return INERT


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's policy, over those of less specific levels."""
    check(reader, ROUTE_TABLE if reader.type_url == _ROUTE_URL else POLICY_TABLE)
    enabled = reader.message("filter_enabled")
    policy = Cors(
        reader.each("allow_origin_string_match", parse_string_matcher),
        octets(reader.string("allow_methods")),
        octets(reader.string("allow_headers")),
        octets(reader.string("expose_headers")),
        octets(reader.string("max_age")),
        _flag(reader, "allow_credentials"),
        _flag(reader, "allow_private_network_access"),
        _flag(reader, "forward_not_matching_preflights"),
        ALWAYS if enabled is None else parse_runtime_fraction(enabled, extensions.runtime),
    )

    def override(broader: HttpFilter) -> HttpFilter:
        return policy.over(broader) if isinstance(broader, Cors) else policy

    return override


def _flag(reader: Reader, name: str) -> bool | None:
    return reader.boolean(name) if reader.has(name) else None


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.cors",
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors",),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy",
        _ROUTE_URL,
    ),
)
