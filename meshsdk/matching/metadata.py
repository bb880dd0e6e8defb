"""envoy.type.matcher.v3.MetadataMatcher and ValueMatcher."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

Metadata = Mapping[str, Mapping[str, object]]
_VALUE_KINDS: Final = (
    "null_match",
    "double_match",
    "string_match",
    "bool_match",
    "present_match",
    "list_match",
    "or_match",
)
TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.MetadataMatcher",
    honoured("filter", "path", "value", "invert"),
    security=True,
)
VALUE_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.ValueMatcher", honoured(*_VALUE_KINDS), security=True
)
_SEGMENT_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.MetadataMatcher.PathSegment", honoured("key"), security=True
)
_DOUBLE_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.DoubleMatcher", honoured("range", "exact"), security=True
)
_RANGE_TABLE: Final = MessageTable(
    "envoy.type.v3.DoubleRange", honoured("start", "end"), security=True
)
_LIST_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.ListMatcher", honoured("one_of"), security=True
)
_OR_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.OrMatcher", honoured("value_matchers"), security=True
)


class _Missing:
    """A path that leads nowhere, which is not the same as null."""


MISSING: Final = _Missing()


class ValueMatcher(Protocol):
    """What a value is held against; `MISSING` is a value too."""

    def matches(self, value: object) -> bool: ...
    def describe(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Null:
    """JSON null."""

    def matches(self, value: object) -> bool:
        return value is None

    def describe(self) -> str:
        return "null"


@dataclass(frozen=True, slots=True)
class Number:
    """A number in [start, end), or equal to start where end is None."""

    start: float
    end: float | None

    def matches(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return value == self.start if self.end is None else self.start <= value < self.end

    def describe(self) -> str:
        return f"{self.start:g}" if self.end is None else f"in [{self.start:g}, {self.end:g})"


@dataclass(frozen=True, slots=True)
class Text:
    """A string; lists and numbers never match."""

    matcher: StringMatcher

    def matches(self, value: object) -> bool:
        return isinstance(value, str) and self.matcher.matches(octets(value))

    def describe(self) -> str:
        return self.matcher.describe()


@dataclass(frozen=True, slots=True)
class Boolean:
    """true or false."""

    wanted: bool

    def matches(self, value: object) -> bool:
        return value is self.wanted

    def describe(self) -> str:
        return "true" if self.wanted else "false"


@dataclass(frozen=True, slots=True)
class Present:
    """A value of any kind, null too; `present_match: false` matches nothing (observed)."""

    wanted: bool

    def matches(self, value: object) -> bool:
        return self.wanted and value is not MISSING

    def describe(self) -> str:
        return "present" if self.wanted else "never"


@dataclass(frozen=True, slots=True)
class OneOf:
    """A list with an item that matches."""

    item: ValueMatcher

    def matches(self, value: object) -> bool:
        if not isinstance(value, list | tuple):
            return False
        return any(self.item.matches(item) for item in cast("Sequence[object]", value))

    def describe(self) -> str:
        return f"list with {self.item.describe()}"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several matchers."""

    matchers: tuple[ValueMatcher, ...]

    def matches(self, value: object) -> bool:
        return any(matcher.matches(value) for matcher in self.matchers)

    def describe(self) -> str:
        return " or ".join(matcher.describe() for matcher in self.matchers)


@dataclass(frozen=True, slots=True)
class MetadataMatcher:
    """A value inside one namespace of metadata."""

    namespace: str
    path: tuple[str, ...]
    value: ValueMatcher
    invert: bool = False

    def matches(self, metadata: Metadata) -> bool:
        """Whether the value at the path matches."""
        return self.value.matches(self.value_in(metadata)) is not self.invert

    def value_in(self, metadata: Metadata) -> object:
        """The value at the path, or MISSING."""
        found: object = metadata.get(self.namespace, MISSING)
        for key in self.path:
            found = _child(found, key)
        return found

    def describe(self) -> str:
        """For people."""
        where = "".join(f"[{key}]" for key in self.path)
        text = f"metadata {self.namespace}{where} {self.value.describe()}"
        return f"not({text})" if self.invert else text


def _child(value: object, key: str) -> object:
    if not isinstance(value, Mapping):
        return MISSING
    return cast("Mapping[str, object]", value).get(key, MISSING)


def parse_metadata_matcher(reader: Reader) -> MetadataMatcher:
    """The matcher of an envoy.type.matcher.v3.MetadataMatcher."""
    check(reader, TABLE)
    return MetadataMatcher(
        reader.required_string("filter"),
        reader.each("path", _segment, at_least=1),
        parse_value_matcher(reader.required_message("value")),
        reader.boolean("invert"),
    )


def _segment(reader: Reader) -> str:
    check(reader, _SEGMENT_TABLE)
    return reader.required_string("key")


def parse_value_matcher(reader: Reader) -> ValueMatcher:
    """The matcher of an envoy.type.matcher.v3.ValueMatcher."""
    check(reader, VALUE_TABLE)
    kind = reader.required(*_VALUE_KINDS)
    match kind:
        case "null_match":
            return Null()
        case "double_match":
            return _double(reader.required_message(kind))
        case "string_match":
            return Text(parse_string_matcher(reader.required_message(kind)))
        case "bool_match":
            return Boolean(reader.boolean(kind))
        case "present_match":
            return Present(reader.boolean(kind))
        case "list_match":
            items = reader.required_message(kind)
            check(items, _LIST_TABLE)
            items.required("one_of")
            return OneOf(parse_value_matcher(items.required_message("one_of")))
        case _:
            several = reader.required_message(kind)
            check(several, _OR_TABLE)
            return AnyOf(several.each("value_matchers", parse_value_matcher, at_least=2))


def _double(reader: Reader) -> Number:
    check(reader, _DOUBLE_TABLE)
    if reader.required("range", "exact") == "exact":
        return Number(reader.number("exact"), None)
    bounds = reader.required_message("range")
    check(bounds, _RANGE_TABLE)
    return Number(bounds.number("start"), bounds.number("end"))
