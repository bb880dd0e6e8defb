"""envoy.config.route.v3.HeaderMatcher."""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from meshsdk.call.message import Request
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.regex import parse_regex_matcher
from meshsdk.matching.strings import (
    Contains,
    Exact,
    Prefix,
    SafeRegex,
    StringMatcher,
    Suffix,
    parse_string_matcher,
)

_KINDS: Final = (
    "exact_match",
    "safe_regex_match",
    "range_match",
    "present_match",
    "prefix_match",
    "suffix_match",
    "contains_match",
    "string_match",
)
TABLE: Final = MessageTable(
    "envoy.config.route.v3.HeaderMatcher",
    honoured("name", "invert_match", "treat_missing_header_as_empty", *_KINDS),
    security=True,
)
_RANGE_TABLE: Final = MessageTable(
    "envoy.type.v3.Int64Range", honoured("start", "end"), security=True
)
_INTEGER: Final = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]{1,19})[ \t\n\v\f\r]*")
_BAD_NAME: Final = re.compile(r"[\x00\r\n]")


class ValueMatcher(Protocol):
    """What one value of a field is held against."""

    def matches(self, value: str) -> bool: ...
    def describe(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Range:
    """A whole number in [start, end); anything else is no match."""

    start: int
    end: int

    def matches(self, value: str) -> bool:
        found = _INTEGER.fullmatch(value)
        return found is not None and self.start <= int(found[1]) < self.end

    def describe(self) -> str:
        return f"in [{self.start}, {self.end})"


@dataclass(frozen=True, slots=True)
class HeaderMatcher:
    """A field by name. Of a repeated field any one value may match; the lines are never joined.

    Source: Envoy 1.40 (observed). A missing field matches no value, inverted or not, unless it
    counts as empty.
    """

    name: str
    """Lower case; pseudo headers as `:path`."""
    value: ValueMatcher | None
    """None: only whether the field is there."""
    present: bool = True
    """What is expected where `value` is None."""
    invert: bool = False
    missing_is_empty: bool = False

    def matches(self, request: Request) -> bool:
        """Whether a request's field matches."""
        return self.matches_values(request.field(self.name))

    def matches_values(self, values: tuple[str, ...]) -> bool:
        """The same for the field's values."""
        value = self.value
        if value is None:
            return ((bool(values) or self.missing_is_empty) is self.present) is not self.invert
        if not values:
            if not self.missing_is_empty:
                return False
            values = ("",)
        for found in values:
            if value.matches(found):
                return not self.invert
        return self.invert

    def describe(self) -> str:
        """For people: `x-role exact "admin"`."""
        kind = self.value.describe() if self.value else "present" if self.present else "absent"
        return f"not({self.name} {kind})" if self.invert else f"{self.name} {kind}"


def parse_header_matcher(reader: Reader) -> HeaderMatcher:
    """The matcher of a route.v3.HeaderMatcher; no kind set means that the field is there."""
    check(reader, TABLE)
    name = octets(reader.required_string("name"))
    if _BAD_NAME.search(name):
        raise reader.error_at("name", f"expected a field name, found {name!r}")
    kind = reader.one_of(*_KINDS)
    value = _value(reader, kind)
    return HeaderMatcher(
        lower(name),
        value,
        present=reader.boolean("present_match", True),
        invert=reader.boolean("invert_match"),
        missing_is_empty=reader.boolean("treat_missing_header_as_empty"),
    )


def _value(reader: Reader, kind: str | None) -> ValueMatcher | None:
    match kind:
        case None | "present_match":
            return None
        case "exact_match" if not reader.string("exact_match"):
            # Observed: the deprecated field, set but empty, asks only whether the header is there.
            return None
        case "range_match":
            bounds = reader.required_message("range_match")
            check(bounds, _RANGE_TABLE)
            return Range(bounds.integer("start"), bounds.integer("end"))
        case "string_match":
            return parse_string_matcher(reader.required_message("string_match"))
        case _:
            return _deprecated(reader, kind)


def _deprecated(reader: Reader, kind: str) -> StringMatcher:
    match kind:
        case "safe_regex_match":
            return SafeRegex(parse_regex_matcher(reader.required_message(kind)))
        case "prefix_match":
            return Prefix(octets(reader.required_string(kind)))
        case "suffix_match":
            return Suffix(octets(reader.required_string(kind)))
        case "contains_match":
            return Contains(octets(reader.required_string(kind)))
        case _:
            return Exact(octets(reader.string(kind)))
