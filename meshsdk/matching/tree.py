"""xds.type.matcher.v3.Matcher: lists and trees of predicates that lead to an action."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeAlias, TypeVar

from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.matching.cidr import CidrRange, any_contains, parse_cidr
from meshsdk.matching.octets import octets
from meshsdk.matching.strings import parse_string_matcher

C = TypeVar("C")
A = TypeVar("A")
Ac = TypeVar("Ac", covariant=True)
Cc = TypeVar("Cc", contravariant=True)

Input: TypeAlias = Callable[[C], str | None]
"""What a predicate looks at; None: the thing is not there, and nothing matches it."""
Predicate: TypeAlias = Callable[[C], bool]

_IP_URL: Final = "type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip"
_TRIE_URL: Final = "type.googleapis.com/xds.type.matcher.v3.IPMatcher"


def _table(message: str, *fields: str) -> MessageTable:
    return MessageTable(message, honoured(*fields), security=True)


_P: Final = "xds.type.matcher.v3.Matcher.MatcherList.Predicate"
TABLES: Final = (
    _table("xds.type.matcher.v3.Matcher", "matcher_list", "matcher_tree", "on_no_match"),
    _table("xds.type.matcher.v3.Matcher.MatcherList", "matchers"),
    _table("xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher", "predicate", "on_match"),
    _table(_P, "single_predicate", "or_matcher", "and_matcher", "not_matcher"),
    _table(f"{_P}.SinglePredicate", "input", "value_match", "custom_match"),
    _table(f"{_P}.PredicateList", "predicate"),
    _table(
        "xds.type.matcher.v3.Matcher.MatcherTree",
        "input",
        "exact_match_map",
        "prefix_match_map",
        "custom_match",
    ),
    _table("xds.type.matcher.v3.Matcher.MatcherTree.MatchMap", "map"),
    MessageTable(
        "xds.type.matcher.v3.Matcher.OnMatch",
        {
            **honoured("matcher", "action"),
            "keep_matching": refused("an action that does not end the matching"),
        },
        security=True,
    ),
    _table("envoy.extensions.matching.input_matchers.ip.v3.Ip", "cidr_ranges", "stat_prefix"),
    _table("xds.type.matcher.v3.IPMatcher", "range_matchers"),
    _table("xds.type.matcher.v3.IPMatcher.IPRangeMatcher", "ranges", "on_match", "exclusive"),
    _table("xds.core.v3.TypedExtensionConfig", "name", "typed_config"),
)
_BY_NAME: Final = {table.message.removeprefix("xds.type.matcher.v3."): table for table in TABLES}


class Matcher(Protocol[Cc, Ac]):
    """A compiled matcher."""

    def find(self, context: Cc, /) -> Ac | None:
        """The action for a context; None: nothing matched."""
        ...


@dataclass(frozen=True, slots=True)
class Action(Generic[A]):
    """Where a matcher ends."""

    action: A

    def find(self, _: object, /) -> A:
        return self.action


@dataclass(frozen=True, slots=True)
class MatcherList(Generic[C, A]):
    """The first predicate that holds and whose own matcher finds something."""

    matchers: tuple[tuple[Predicate[C], Matcher[C, A]], ...]
    on_no_match: Matcher[C, A] | None = None

    def find(self, context: C, /) -> A | None:
        for holds, on_match in self.matchers:
            if holds(context):
                found = on_match.find(context)
                if found is not None:
                    return found
        return None if self.on_no_match is None else self.on_no_match.find(context)


@dataclass(frozen=True, slots=True)
class ExactMap(Generic[C, A]):
    """By the whole input."""

    read: Input[C]
    entries: Mapping[str, Matcher[C, A]]
    on_no_match: Matcher[C, A] | None = None

    def find(self, context: C, /) -> A | None:
        value = self.read(context)
        entry = None if value is None else self.entries.get(value)
        found = None if entry is None else entry.find(context)
        if found is None and self.on_no_match is not None:
            return self.on_no_match.find(context)
        return found


@dataclass(frozen=True, slots=True)
class PrefixMap(Generic[C, A]):
    """By the longest prefix of the input."""

    read: Input[C]
    entries: tuple[tuple[str, Matcher[C, A]], ...]
    """Longest prefix first."""
    on_no_match: Matcher[C, A] | None = None

    def find(self, context: C, /) -> A | None:
        value = self.read(context)
        if value is not None:
            for prefix, entry in self.entries:
                if value.startswith(prefix):
                    found = entry.find(context)
                    if found is not None:
                        return found
        return None if self.on_no_match is None else self.on_no_match.find(context)


@dataclass(frozen=True, slots=True)
class IpTrie(Generic[C, A]):
    """By the longest range that holds the input."""

    read: Input[C]
    ranges: tuple[tuple[CidrRange, Matcher[C, A], bool], ...]
    """Longest prefix first; True: an exclusive range, whose failure ends the search."""
    on_no_match: Matcher[C, A] | None = None

    def find(self, context: C, /) -> A | None:
        value = self.read(context)
        if value is not None:
            for cidr, entry, exclusive in self.ranges:
                if cidr.contains(value):
                    found = entry.find(context)
                    if found is not None:
                        return found
                    if exclusive:
                        break
        return None if self.on_no_match is None else self.on_no_match.find(context)


@dataclass(frozen=True, slots=True)
class TreeParser(Generic[C, A]):
    """Parses matchers over one kind of context and action."""

    inputs: Mapping[str, Callable[[Reader], Input[C]]]
    """By type URL of the input's typed config."""
    action: Callable[[Reader], A]
    """Reads the typed config of an action."""

    def parse(self, reader: Reader) -> Matcher[C, A]:
        """The matcher of an xds.type.matcher.v3.Matcher."""
        check(reader, _BY_NAME["Matcher"])
        below = reader.message("on_no_match")
        on_no_match = None if below is None else self._on_match(below)
        kind = reader.one_of("matcher_list", "matcher_tree")
        if kind == "matcher_list":
            matchers = reader.required_message("matcher_list")
            check(matchers, _BY_NAME["Matcher.MatcherList"])
            return MatcherList(matchers.each("matchers", self._field, at_least=1), on_no_match)
        if kind == "matcher_tree":
            return self._tree(reader.required_message("matcher_tree"), on_no_match)
        # Envoy: a matcher with neither is its on_no_match (AnyMatcher).
        return MatcherList((), on_no_match)

    def _on_match(self, reader: Reader) -> Matcher[C, A]:
        check(reader, _BY_NAME["Matcher.OnMatch"])
        if reader.required("matcher", "action") == "matcher":
            return self.parse(reader.required_message("matcher"))
        return Action(self.action(_extension(reader.required_message("action"))))

    def _field(self, reader: Reader) -> tuple[Predicate[C], Matcher[C, A]]:
        check(reader, _BY_NAME["Matcher.MatcherList.FieldMatcher"])
        return (
            self._predicate(reader.required_message("predicate")),
            self._on_match(reader.required_message("on_match")),
        )

    def _predicate(self, reader: Reader) -> Predicate[C]:
        check(reader, _BY_NAME["Matcher.MatcherList.Predicate"])
        kind = reader.required("single_predicate", "or_matcher", "and_matcher", "not_matcher")
        inner = reader.required_message(kind)
        if kind == "single_predicate":
            return self._single(inner)
        if kind == "not_matcher":
            negated = self._predicate(inner)
            return lambda context: not negated(context)
        check(inner, _BY_NAME["Matcher.MatcherList.Predicate.PredicateList"])
        parts = inner.each("predicate", self._predicate, at_least=2)
        if kind == "or_matcher":
            return lambda context: any(part(context) for part in parts)
        return lambda context: all(part(context) for part in parts)

    def _single(self, reader: Reader) -> Predicate[C]:
        check(reader, _BY_NAME["Matcher.MatcherList.Predicate.SinglePredicate"])
        read = self._input(reader.required_message("input"))
        if reader.required("value_match", "custom_match") == "value_match":
            test = parse_string_matcher(reader.required_message("value_match")).test()
        else:
            test = _ip_test(_extension(reader.required_message("custom_match")))

        def holds(context: C) -> bool:
            value = read(context)
            return value is not None and test(value)

        return holds

    def _input(self, reader: Reader) -> Input[C]:
        config = _extension(reader)
        parse = self.inputs.get(config.type_url)
        if parse is None:
            raise UnknownExtensionError(
                config.path, f"no input takes {config.type_url}", config.type_url
            )
        return parse(config)

    def _tree(self, reader: Reader, on_no_match: Matcher[C, A] | None) -> Matcher[C, A]:
        check(reader, _BY_NAME["Matcher.MatcherTree"])
        read = self._input(reader.required_message("input"))
        kind = reader.required("exact_match_map", "prefix_match_map", "custom_match")
        if kind == "custom_match":
            trie = _extension(reader.required_message(kind))
            return IpTrie(read, self._ranges(trie), on_no_match)
        entries_of = reader.required_message(kind)
        check(entries_of, _BY_NAME["Matcher.MatcherTree.MatchMap"])
        entries = {octets(key): self._on_match(item) for key, item in entries_of.entries("map")}
        if not entries:
            raise entries_of.error_at("map", "expected at least 1 entry, found none")
        if kind == "exact_match_map":
            return ExactMap(read, entries, on_no_match)
        longest_first = sorted(entries.items(), key=lambda entry: -len(entry[0]))
        return PrefixMap(read, tuple(longest_first), on_no_match)

    def _ranges(self, reader: Reader) -> tuple[tuple[CidrRange, Matcher[C, A], bool], ...]:
        if reader.type_url != _TRIE_URL:
            raise UnknownExtensionError(
                reader.path, f"no custom matcher takes {reader.type_url}", reader.type_url
            )
        check(reader, _BY_NAME["IPMatcher"])
        found: list[tuple[CidrRange, Matcher[C, A], bool]] = []
        for item in reader.messages("range_matchers"):
            check(item, _BY_NAME["IPMatcher.IPRangeMatcher"])
            on_match = self._on_match(item.required_message("on_match"))
            exclusive = item.boolean("exclusive")
            found += [
                (cidr, on_match, exclusive) for cidr in item.each("ranges", parse_cidr, at_least=1)
            ]
        return tuple(sorted(found, key=lambda entry: -entry[0].prefix_length))


def _extension(reader: Reader) -> Reader:
    """The typed config of a TypedExtensionConfig."""
    check(reader, _BY_NAME["xds.core.v3.TypedExtensionConfig"])
    config = reader.typed("typed_config")
    if config is None:
        raise reader.error_at("typed_config", "expected a typed message, found none")
    return config


def _ip_test(reader: Reader) -> Callable[[str], bool]:
    if reader.type_url != _IP_URL:
        raise UnknownExtensionError(
            reader.path, f"no input matcher takes {reader.type_url}", reader.type_url
        )
    check(reader, _BY_NAME["envoy.extensions.matching.input_matchers.ip.v3.Ip"])
    ranges = reader.each("cidr_ranges", parse_cidr, at_least=1)
    return lambda value: any_contains(ranges, value)
