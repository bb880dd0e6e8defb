"""envoy.type.matcher.v3.StringMatcher, on octets."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.regex import Regex, parse_regex_matcher

Test: TypeAlias = Callable[[str], bool]

TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.StringMatcher",
    {
        **honoured("exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case"),
        "custom": refused("custom string matchers are not known"),
    },
    security=True,
)


class StringMatcher(Protocol):
    """A compiled string matcher."""

    def matches(self, value: str) -> bool:
        """Whether a value matches; `value` is the latin-1 view of its octets."""
        ...

    def describe(self) -> str:
        """For people: `prefix "spiffe://td/"`."""
        ...

    def test(self) -> Test:
        """The bare function behind `matches`, for those who call it often."""
        ...


@dataclass(frozen=True, slots=True)
class Exact:
    """The whole value."""

    text: str

    def matches(self, value: str) -> bool:
        return value == self.text

    def describe(self) -> str:
        return f'exact "{self.text}"'

    def test(self) -> Test:
        return self.text.__eq__


@dataclass(frozen=True, slots=True)
class Prefix:
    """How the value begins."""

    text: str

    def matches(self, value: str) -> bool:
        return value.startswith(self.text)

    def describe(self) -> str:
        return f'prefix "{self.text}"'

    def test(self) -> Test:
        return self.matches


@dataclass(frozen=True, slots=True)
class Suffix:
    """How the value ends."""

    text: str

    def matches(self, value: str) -> bool:
        return value.endswith(self.text)

    def describe(self) -> str:
        return f'suffix "{self.text}"'

    def test(self) -> Test:
        return self.matches


@dataclass(frozen=True, slots=True)
class Contains:
    """A part of the value."""

    text: str

    def matches(self, value: str) -> bool:
        return self.text in value

    def describe(self) -> str:
        return f'contains "{self.text}"'

    def test(self) -> Test:
        return self.matches


@dataclass(frozen=True, slots=True)
class IgnoreCase:
    """Another matcher, with ASCII letters folded; its own text is lower case already."""

    folded: Exact | Prefix | Suffix | Contains

    def matches(self, value: str) -> bool:
        return self.folded.matches(lower(value))

    def describe(self) -> str:
        return f"{self.folded.describe()} (any case)"

    def test(self) -> Test:
        return self.matches


@dataclass(frozen=True, slots=True)
class SafeRegex:
    """The whole value against an RE2 expression."""

    regex: Regex

    def matches(self, value: str) -> bool:
        return self.regex.fullmatch(value)

    def describe(self) -> str:
        return f'regex "{self.regex.pattern}"'

    def test(self) -> Test:
        return self.regex.fullmatch


_KINDS: Final[dict[str, type[Exact | Prefix | Suffix | Contains]]] = {
    "exact": Exact,
    "prefix": Prefix,
    "suffix": Suffix,
    "contains": Contains,
}


def parse_string_matcher(reader: Reader) -> StringMatcher:
    """The matcher of an envoy.type.matcher.v3.StringMatcher; ConfigError where Envoy refuses it."""
    check(reader, TABLE)
    kind = reader.required("exact", "prefix", "suffix", "safe_regex", "contains", "custom")
    ignore_case = reader.boolean("ignore_case")
    if kind == "safe_regex":
        if ignore_case:
            raise reader.error_at("ignore_case", "has no effect on safe_regex; write (?i) instead")
        return SafeRegex(parse_regex_matcher(reader.required_message("safe_regex")))
    text = octets(reader.string("exact") if kind == "exact" else reader.required_string(kind))
    return IgnoreCase(_KINDS[kind](lower(text))) if ignore_case else _KINDS[kind](text)
