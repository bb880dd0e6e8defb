"""YAML (and so JSON) as values that know their place: every error can say FILE:LINE:COL.

Bounded: depth, aliases and size, so that no text of some kilobytes becomes gigabytes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import yaml

from meshsdk.errors import ConfigError

Scalar: TypeAlias = str | bool | int | float | None
Value: TypeAlias = "Scalar | tuple[Node, ...] | Mapping[str, Node]"

_LOADER: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_CHARACTERS: Final = 64 << 20
_MAX_DEPTH: Final = 100
_MAX_ALIASES: Final = 100
_MAX_VALUES: Final = 5_000_000  # of one document, aliases followed
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
# As go-yaml v2, which Istio's tools read with: YAML 1.1 without octal colons and without dates.
_TRUE: Final = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE: Final = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})
_INT: Final = re.compile(r"[-+]?(0x[0-9a-fA-F]+|0o?[0-7]+|0|[1-9][0-9]{0,30})\Z")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_TAGS: Final = frozenset(
    {"str", "int", "float", "bool", "null", "map", "seq", "timestamp", "merge"}
)


class _Position(Protocol):
    """PyYAML's mark, of its parser in C or in Python; counts from 0."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class SpecError(ConfigError):
    """A document that cannot be honoured: `FILE:LINE:COL: field.path: problem`."""

    def __init__(self, mark: Mark, field_path: str, problem: str) -> None:
        super().__init__(f"{mark}: {field_path}" if field_path else str(mark), problem)
        self.mark = mark
        self.field_path = field_path


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place. Keys of mappings are their text: `{8080: x}` has the key "8080"."""

    value: Value
    mark: Mark
    keys: Mapping[str, Mark] = field(default_factory=dict[str, Mark])
    """Where the key of each entry of a mapping stands."""
    size: int = 1
    """Values in it, itself counted, aliases followed."""

    def plain(self) -> object:
        """The same as dicts, lists and scalars."""
        match self.value:
            case Mapping():
                return {key: item.plain() for key, item in self.value.items()}
            case tuple():
                return [item.plain() for item in self.value]
            case _:
                return self.value


def read_nodes(text: str, file: str, first_line: int = 1) -> Iterator[Node]:
    """Every document of a text that is not empty; SpecError at the first place that is no YAML.

    `first_line`: the line of `file` that the text begins with.
    """
    start = Mark(file, first_line, 1)
    if len(text) > _MAX_CHARACTERS:
        raise SpecError(start, "", f"expected at most {_MAX_CHARACTERS} characters")
    builder = _Builder(file, first_line, yaml.parse(text, Loader=_LOADER))
    try:
        yield from builder.documents()
    except yaml.MarkedYAMLError as error:
        where = builder.mark(error.problem_mark or error.context_mark)
        last = first_line + text.rstrip().count("\n")
        where = min(where, Mark(file, last, 1), key=lambda mark: mark.line)  # libyaml adds a line
        raise SpecError(where, "", f"not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:  # such as a character that YAML does not allow
        raise SpecError(start, "", f"not YAML: {str(error).splitlines()[0]}") from error
    except UnicodeError as error:
        raise SpecError(start, "", f"not text: {error}") from error


class _Builder:
    """Makes nodes of YAML events."""

    def __init__(self, file: str, first_line: int, events: Iterator[yaml.Event]) -> None:
        self._file = file
        self._first_line = first_line
        self._events = events
        self._anchors: dict[str, Node | None] = {}
        self._aliases = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            match event:
                case yaml.DocumentStartEvent():
                    self._anchors, self._aliases = {}, 0
                case yaml.DocumentEndEvent() | yaml.StreamStartEvent() | yaml.StreamEndEvent():
                    continue
                case _:
                    node = self._node(event, 0)
                    if node.value is not None:
                        yield node

    def mark(self, found: "_Position | None") -> Mark:
        line, column = (0, 0) if found is None else (found.line, found.column)
        return Mark(self._file, line + self._first_line, column + 1)

    def _error(self, event: yaml.Event, problem: str) -> SpecError:
        return SpecError(self.mark(event.start_mark), "", problem)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent) and not event.anchor:  # most of them
            return self._scalar(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if not isinstance(event, yaml.NodeEvent):
            raise self._error(event, "expected a value")
        if depth > _MAX_DEPTH:
            raise self._error(event, f"expected a depth of at most {_MAX_DEPTH}")
        if event.anchor:
            self._anchors[event.anchor] = None  # until its end: no value may hold itself
        node = self._value(event, depth)
        if node.size > _MAX_VALUES:
            raise self._error(event, f"expected at most {_MAX_VALUES} values")
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _check_tag(self, event: yaml.Event, tag: object) -> None:
        if isinstance(tag, str) and not self._is_known(tag):
            raise self._error(event, f"the tag {tag} is not for configuration")

    def _is_known(self, tag: str) -> bool:
        return tag == "!" or tag.removeprefix("tag:yaml.org,2002:") in _TAGS

    def _alias(self, event: yaml.AliasEvent) -> Node:
        self._aliases += 1
        if self._aliases > _MAX_ALIASES:
            raise self._error(event, f"expected at most {_MAX_ALIASES} aliases")
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise self._error(event, f"the alias *{event.anchor} has no value before it")
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> Node:
        self._check_tag(event, event.tag)
        return Node(_scalar(event), self.mark(event.start_mark))

    def _value(self, event: yaml.Event, depth: int) -> Node:
        match event:
            case yaml.ScalarEvent():
                return self._scalar(event)
            case yaml.SequenceStartEvent():
                self._check_tag(event, event.tag)
                items = tuple(self._items(depth))
                size = 1 + sum(item.size for item in items)
                return Node(items, self.mark(event.start_mark), size=size)
            case yaml.MappingStartEvent():
                self._check_tag(event, event.tag)
                return self._mapping(event, depth)
            case _:
                raise self._error(event, "expected a value")

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _mapping(self, start: yaml.Event, depth: int) -> Node:
        found: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        merged: list[Node] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._error(event, "expected a key that is a word")
            key = event.value
            value = self._node(next(self._events), depth + 1)
            if key == "<<" and event.implicit[0]:
                merged += value.value if isinstance(value.value, tuple) else [value]
                continue
            if key in found:
                raise self._error(event, f"the key {key!r} is there twice")
            found[key], keys[key] = value, self.mark(event.start_mark)
        for other in merged:
            if not isinstance(other.value, Mapping):
                raise self._error(start, "expected a mapping to merge with <<")
            found = {**other.value, **found}
            keys = {**other.keys, **keys}
        size = 1 + sum(item.size for item in found.values())
        return Node(found, self.mark(start.start_mark), keys, size)


def _scalar(event: yaml.ScalarEvent) -> Scalar:
    text: str = event.value
    tag = (event.tag or "").removeprefix("tag:yaml.org,2002:")
    if tag in ("str", "!", "timestamp") or (not tag and not event.implicit[0]):
        return text
    if text in _NULLS:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        return float(text)
    return text


def _integer(text: str) -> int:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    if digits.startswith("0x"):
        return sign * int(digits, 16)
    is_octal = len(digits) > 1 and digits.startswith("0")
    return sign * int(digits.removeprefix("0o") if is_octal else digits, 8 if is_octal else 10)
