"""envoy.filters.http.csrf: a request that changes something must come from its own origin.

Source: Envoy, CsrfFilter.
"""

import re
from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.matching.fraction import Fraction, parse_runtime_fraction
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.csrf.v3.CsrfPolicy",
    {**honoured("filter_enabled", "additional_origins"), "shadow_enabled": ignored("statistics")},
    security=True,
)
TABLES: Final = (TABLE,)
_MODIFYING: Final = frozenset({"POST", "PUT", "DELETE", "PATCH"})
_MISMATCH: Final = LocalReply(403, b"Invalid origin", details="csrf_origin_mismatch")
# As Envoy's URL parser takes it (observed): any scheme, user information dropped, a port as it is
# written, no fragment right behind the host.
_URL: Final = re.compile(
    r"[A-Za-z]+://(?:[A-Za-z0-9\-_.!~*'();:&=+$,%]*@)?"
    r"((?:[A-Za-z0-9\-_.]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9\-_.~%]+)?\])(?::[0-9]{1,5})?)"
    r"(?:[/?][^\x00-\x20\x7f]*)?"
)
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Csrf:
    """Which other origins may change something too."""

    enabled: Fraction
    additional_origins: tuple[StringMatcher, ...] = ()

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """403 for a change that was asked for from elsewhere, or from nobody knows where."""
        if not self.enabled.samples(context.random) or request.method not in _MODIFYING:
            return Continue(request)
        source = _source(request)
        if source == host_and_port(request.authority) and source:
            return Continue(request)
        if any(origin.matches(source) for origin in self.additional_origins):
            return Continue(request)
        return _MISMATCH


def _source(request: Request) -> str:
    """Origin, else Referer, as host and port; empty where neither says anything."""
    for name in ("origin", "referer"):
        found = host_and_port(",".join(request.headers.values(name)))
        if found:
            return found
    return ""


def host_and_port(text: str) -> str:
    """Of a URL; anything else is taken as it stands."""
    found = _URL.fullmatch(text)
    if found is None:
        return text
    place = found[1]
    port = place.rpartition(":")[2] if not place.endswith("]") and ":" in place else ""
    return text if port and int(port) > _MAX_PORT else place


def parse(reader: Reader, extensions: Extensions) -> Csrf:
    """A policy; the filter's own and a route's are of one form."""
    check(reader, TABLE)
    enabled = reader.required_message("filter_enabled")
    shadow = reader.message("shadow_enabled")
    if shadow is not None:
        parse_runtime_fraction(shadow, extensions.runtime)
    return Csrf(
        parse_runtime_fraction(enabled, extensions.runtime),
        reader.each("additional_origins", parse_string_matcher),
    )


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's policy instead of the filter's."""
    policy = parse(reader, extensions)

    def override(_: HttpFilter) -> HttpFilter:
        return policy

    return override


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.csrf",
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy",),
    parse=parse,
    parse_override=parse_override,
)
