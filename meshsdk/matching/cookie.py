"""envoy.config.route.v3.CookieMatcher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.call.message import Request
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

TABLE: Final = MessageTable(
    "envoy.config.route.v3.CookieMatcher",
    honoured("name", "string_match", "invert_match"),
    security=True,
)


def cookies(request: Request) -> dict[str, str]:
    """The first value of each cookie of a request; a quoted value loses its quotes.

    Source: Envoy, Utility::parseCookies: split at `;`, outer blanks trimmed, a pair without `=` skipped.
    """
    found: dict[str, str] = {}
    for field in request.headers.values("cookie"):
        for pair in field.split(";"):
            name, equals, value = pair.strip(" \t").partition("=")
            if not equals:
                continue
            if len(value) >= 2 and value[0] == value[-1] == '"':
                value = value[1:-1]
            found.setdefault(name, value)
    return found


@dataclass(frozen=True, slots=True)
class CookieMatcher:
    """One cookie's value."""

    name: str
    value: StringMatcher
    invert: bool = False

    def matches(self, found: Mapping[str, str]) -> bool:
        """Whether the cookies (`cookies`) match; an absent cookie matches only inverted."""
        value = found.get(self.name)
        return (value is not None and self.value.matches(value)) is not self.invert


def parse_cookie_matcher(reader: Reader) -> CookieMatcher:
    """The matcher of an envoy.config.route.v3.CookieMatcher."""
    check(reader, TABLE)
    return CookieMatcher(
        octets(reader.required_string("name")),
        parse_string_matcher(reader.required_message("string_match")),
        reader.boolean("invert_match"),
    )
