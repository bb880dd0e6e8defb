"""One message of an Istio or Kubernetes document, read field by field.

Field names are camelCase; the snake_case of the proto files is taken too, as istiod takes it. A
message is opened with the list of its fields, so that an unknown one is an error where it stands.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from meshsdk.control_plane.istio.nodes import Mark, Node, SpecError
from meshsdk.control_plane.istio.spec_fields import Fields, Note, camel, kind_of, seconds_of

T = TypeVar("T")
_LEAST: Final = -(2**31)
_MOST: Final = 2**32 - 1  # int32 and uint32: no wider field reaches Envoy


class SpecReader:
    """A message. `has` tells an empty message or an explicit zero from an unset field.

    `notes` is shared by all readers of a document. SpecError names the place of what is wrong.
    """

    __slots__ = ("mark", "node", "notes", "path", "value")

    def __init__(self, node: Node, path: str, known: Fields | None, notes: list[Note]) -> None:
        """`known`: None where any name may stand."""
        if not isinstance(node.value, Mapping):
            raise SpecError(node.mark, path, f"expected a message, found {kind_of(node)}")
        self.node = node
        self.mark = node.mark
        self.path = path
        self.notes = notes
        self.value: Mapping[str, Node] = node.value
        if known is not None:
            self.value = self._checked(known)

    def __repr__(self) -> str:
        return f"SpecReader({self.mark}: {self.path}: {', '.join(self.value)})"

    def _checked(self, known: Fields) -> Mapping[str, Node]:
        every = known.every
        found: dict[str, Node] = {}
        for written, item in self.value.items():
            name = written if written in every else camel(written)
            if name not in every:
                nearest = difflib.get_close_matches(name, sorted(every), n=1, cutoff=0.6)
                hint = f", did you mean {nearest[0]}?" if nearest else ""
                raise self._error_key(written, f"unknown field{hint}")
            if name in found:
                raise self._error_key(written, f"{name} is there twice")
            if item.value is None:
                continue
            if name in known.refused:
                raise self._error_key(written, f"refused: {known.refused[name]}")
            if name in known.ignored:
                mark = self.node.keys.get(written, self.mark)
                self.notes.append(
                    Note(mark, self.at(name), f"has no effect: {known.ignored[name]}")
                )
            found[name] = item
        return found

    def _error_key(self, name: str, problem: str) -> SpecError:
        return SpecError(self.node.keys.get(name, self.mark), self.at(name), problem)

    # -- presence ---------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the field is set (present and not null)."""
        return self._find(name) is not None

    def names(self) -> tuple[str, ...]:
        """The fields that are set."""
        return tuple(name for name in self.value if self.has(name))

    def one_of(self, *names: str) -> str | None:
        """Which of a oneof's fields is set; more than one is an error, None when none is."""
        found = [name for name in names if self.has(name)]
        if len(found) > 1:
            expected = f"expected one of {', '.join(names)}, found {' and '.join(found)}"
            raise self.error_at(found[1], expected)
        return found[0] if found else None

    def required(self, *names: str) -> str:
        """Which of a required oneof's fields is set."""
        found = self.one_of(*names)
        if found is None:
            raise self.error(f"expected {' or '.join(names)}, found none")
        return found

    def _find(self, name: str) -> Node | None:
        found = self.value.get(name)
        return None if found is None or found.value is None else found

    # -- scalars ----------------------------------------------------------------------------

    def string(self, name: str, default: str = "") -> str:
        """A string field. A number or a boolean must be in quotes, as istiod wants it."""
        found = self._find(name)
        return default if found is None else self._string(found, self.at(name))

    def required_string(self, name: str) -> str:
        """A string field that must not be empty."""
        found = self.string(name)
        if not found:
            problem = "expected a string that is not empty"
            raise (
                self.error_at(name, problem)
                if self.has(name)
                else self.error(f"expected {name}, found none")
            )
        return found

    def _string(self, node: Node, path: str) -> str:
        if not isinstance(node.value, str):
            raise SpecError(node.mark, path, f"expected a string, found {kind_of(node)}")
        return node.value

    def boolean(self, name: str, default: bool = False) -> bool:
        """A bool or BoolValue field."""
        found = self.optional_boolean(name)
        return default if found is None else found

    def optional_boolean(self, name: str) -> bool | None:
        """A bool or BoolValue field, None when unset."""
        found = self._find(name)
        if found is None:
            return None
        if not isinstance(found.value, bool):
            raise self.error_at(name, f"expected true or false, found {kind_of(found)}")
        return found.value

    def integer(
        self,
        name: str,
        default: int = 0,
        *,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> int:
        """An integer field of 32 bits; integral doubles and digits in a string are taken."""
        found = self.optional_integer(name, at_least=at_least, at_most=at_most)
        return default if found is None else found

    def optional_integer(
        self, name: str, *, at_least: int | None = None, at_most: int | None = None
    ) -> int | None:
        """An integer field, None when unset."""
        found = self._find(name)
        if found is None:
            return None
        number = self._integer(found, self.at(name))
        if at_least is not None and number < at_least:
            raise self.error_at(name, f"expected at least {at_least}, found {number}")
        if at_most is not None and number > at_most:
            raise self.error_at(name, f"expected at most {at_most}, found {number}")
        return number

    def _integer(self, node: Node, path: str) -> int:
        number = _whole(node.value)
        if number is None:
            raise SpecError(node.mark, path, f"expected an integer, found {kind_of(node)}")
        if not _LEAST <= number <= _MOST:
            problem = f"expected an integer of 32 bits, found {kind_of(node)}"
            raise SpecError(node.mark, path, problem)
        return number

    def number(self, name: str, default: float = 0.0) -> float:
        """A double or DoubleValue field, finite."""
        found = self._find(name)
        if found is None:
            return default
        value = found.value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            raise self.error_at(name, f"expected a number, found {kind_of(found)}")
        return float(value)

    def duration(self, name: str, default: float = 0.0) -> float:
        """Seconds of a duration field."""
        found = self.optional_duration(name)
        return default if found is None else found

    def optional_duration(self, name: str) -> float | None:
        """Seconds of a duration field (`1.5s`, `1h30m`, as Go writes them), None when unset."""
        found = self._find(name)
        if found is None:
            return None
        if not isinstance(found.value, str) or (seconds := seconds_of(found.value)) is None:
            raise self.error_at(name, f"expected a duration such as 1.5s, found {kind_of(found)}")
        return seconds

    def enum(self, name: str, members: Mapping[str, T], default: str) -> T:
        """An enum field: the value for the name found; an unknown name is an error."""
        found = self._find(name)
        if found is None:
            return members[default]
        if isinstance(found.value, str) and found.value in members:
            return members[found.value]
        near = difflib.get_close_matches(str(found.value), list(members), n=1)
        hint = f", did you mean {near[0]}?" if near else ""
        expected = f"expected one of {', '.join(members)}, found {kind_of(found)}{hint}"
        raise self.error_at(name, expected)

    # -- messages ---------------------------------------------------------------------------

    def message(self, name: str, known: Fields | None) -> "SpecReader | None":
        """A message field, None when unset; `{}` is a message."""
        found = self._find(name)
        return None if found is None else SpecReader(found, self.at(name), known, self.notes)

    def required_message(self, name: str, known: Fields | None) -> "SpecReader":
        """A message field that must be set."""
        found = self.message(name, known)
        if found is None:
            raise self.error(f"expected {name}, found none")
        return found

    def messages(
        self, name: str, known: Fields | None, *, at_least: int = 0
    ) -> "tuple[SpecReader, ...]":
        """A repeated message field."""
        items = self.items(name)
        if len(items) < at_least:
            raise self.error_at(name, f"expected at least {at_least} item(s), found {len(items)}")
        return tuple(
            SpecReader(item, f"{self.at(name)}[{i}]", known, self.notes)
            for i, item in enumerate(items)
        )

    def each(
        self,
        name: str,
        known: Fields | None,
        parse: "Callable[[SpecReader], T]",
        *,
        at_least: int = 0,
    ) -> tuple[T, ...]:
        """A repeated message field, each parsed."""
        return tuple(parse(item) for item in self.messages(name, known, at_least=at_least))

    def strings(self, name: str) -> tuple[str, ...]:
        """A repeated string field."""
        return tuple(
            self._string(item, f"{self.at(name)}[{i}]") for i, item in enumerate(self.items(name))
        )

    def integers(self, name: str) -> tuple[int, ...]:
        """A repeated integer field."""
        return tuple(
            self._integer(item, f"{self.at(name)}[{i}]") for i, item in enumerate(self.items(name))
        )

    def items(self, name: str) -> tuple[Node, ...]:
        """The items of a repeated field; empty when unset."""
        found = self._find(name)
        if found is None:
            return ()
        if not isinstance(found.value, tuple):
            raise self.error_at(name, f"expected a list, found {kind_of(found)}")
        return found.value

    def entries(self, name: str, known: Fields | None) -> "Iterator[tuple[str, SpecReader]]":
        """A map<string, message> field."""
        found = self.message(name, None)
        for key, item in () if found is None else found.value.items():
            yield key, SpecReader(item, f"{self.at(name)}[{key}]", known, self.notes)

    def string_map(self, name: str) -> dict[str, str]:
        """A map<string, string> field; a null value is an empty string."""
        found = self.message(name, None)
        return {
            key: "" if item.value is None else self._string(item, f"{self.at(name)}[{key}]")
            for key, item in (() if found is None else found.value.items())
        }

    def plain(self, name: str) -> object:
        """A field as dicts, lists and scalars, None when unset."""
        found = self._find(name)
        return None if found is None else found.plain()

    # -- places -----------------------------------------------------------------------------

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}" if self.path else name

    def mark_of(self, name: str, index: int | None = None) -> Mark:
        """Where a field's value (or one item of it) stands; the message where it is unset."""
        found = self.value.get(name)
        if found is None:
            return self.mark
        if index is not None and isinstance(found.value, tuple) and index < len(found.value):
            return found.value[index].mark
        return found.mark

    def error(self, problem: str) -> SpecError:
        """A SpecError at this message."""
        return SpecError(self.mark, self.path, problem)

    def error_at(self, name: str, problem: str, index: int | None = None) -> SpecError:
        """A SpecError at one of its fields, or at one item of a repeated field."""
        path = self.at(name) if index is None else f"{self.at(name)}[{index}]"
        return SpecError(self.mark_of(name, index), path, problem)

    def note_at(self, name: str, text: str, index: int | None = None) -> None:
        """Accepts a field, but tells its author something."""
        path = self.at(name) if index is None else f"{self.at(name)}[{index}]"
        self.notes.append(Note(self.mark_of(name, index), path, text))


def _whole(value: object) -> int | None:
    match value:
        case bool():
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if re.fullmatch(r"-?[0-9]{1,20}", value):
            return int(value)
        case _:
            return None
