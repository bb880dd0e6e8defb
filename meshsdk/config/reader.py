"""One proto-JSON object, read field by field; every error names its path.

What is read here is the canonical snake_case form that `wire/` makes: field names as in the
proto files, enums by name, durations as "1.5s", wrappers bare, `Any` with "@type". Numbers may be
integral doubles (every TypedStruct has them) and 64-bit integers may be strings.
"""

import base64
import binascii
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

from meshsdk.config.kinds import kind_of
from meshsdk.errors import ConfigError

T = TypeVar("T")
_MAX_DURATION = 315_576_000_000.0  # google.protobuf.Duration: 10,000 years


class Reader:
    """A message. `has` tells an empty message or an explicit zero from an unset field."""

    __slots__ = ("path", "value")

    def __init__(self, value: Mapping[str, Any], path: str = "config") -> None:
        self.value = value
        self.path = path

    def __repr__(self) -> str:
        return f"Reader({self.path}: {', '.join(self.value)})"

    # -- presence ---------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether the field is set (present and not null)."""
        return self.value.get(name) is not None

    def names(self) -> tuple[str, ...]:
        """The fields that are set, without "@type"."""
        return tuple(n for n, v in self.value.items() if v is not None and n != "@type")

    def one_of(self, *names: str) -> str | None:
        """Which of a oneof's fields is set; more than one is an error, None when none is."""
        found = [name for name in names if self.has(name)]
        if len(found) > 1:
            raise self.error(f"exactly one of {', '.join(names)}, found {', '.join(found)}")
        return found[0] if found else None

    def required(self, *names: str) -> str:
        """Which of a required oneof's fields is set."""
        found = self.one_of(*names)
        if found is None:
            expected = names[0] if len(names) == 1 else f"exactly one of {', '.join(names)}"
            raise self.error(f"{expected} is required, found none")
        return found

    # -- scalars ----------------------------------------------------------------------------

    def string(self, name: str, default: str = "") -> str:
        """A string field."""
        found = self.value.get(name)
        if found is None:
            return default
        if not isinstance(found, str):
            raise self.error_at(name, f"expected a string, found {kind_of(found)}")
        return found

    def required_string(self, name: str) -> str:
        """A string field that must not be empty."""
        found = self.string(name)
        if not found:
            raise self.error_at(name, "expected a string that is not empty, found none")
        return found

    def boolean(self, name: str, default: bool = False) -> bool:
        """A bool or BoolValue field."""
        found = self.value.get(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.error_at(name, f"expected true or false, found {kind_of(found)}")
        return found

    def integer(
        self,
        name: str,
        default: int = 0,
        *,
        at_least: int | None = None,
        at_most: int | None = None,
    ) -> int:
        """An integer or UInt32Value field; integral doubles and digits in a string are taken."""
        found = self.value.get(name)
        if found is None:
            return default
        number = self._int(name, found)
        if at_least is not None and number < at_least:
            raise self.error_at(name, f"expected at least {at_least}, found {number}")
        if at_most is not None and number > at_most:
            raise self.error_at(name, f"expected at most {at_most}, found {number}")
        return number

    def optional_integer(self, name: str) -> int | None:
        """An integer field, None when unset."""
        found = self.value.get(name)
        return None if found is None else self._int(name, found)

    def _int(self, name: str, found: object) -> int:
        if isinstance(found, bool):
            raise self.error_at(name, "expected an integer, found a boolean")
        if isinstance(found, int):
            return found
        if isinstance(found, float) and found.is_integer():
            return int(found)
        if isinstance(found, str) and found.lstrip("-").isdecimal():
            return int(found)
        raise self.error_at(name, f"expected an integer, found {kind_of(found)}")

    def number(self, name: str, default: float = 0.0) -> float:
        """A double, DoubleValue or integer field."""
        found = self.value.get(name)
        if found is None:
            return default
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self.error_at(name, f"expected a number, found {kind_of(found)}")
        return float(found)

    def duration(self, name: str, default: float = 0.0) -> float:
        """Seconds of a google.protobuf.Duration field."""
        found = self.optional_duration(name)
        return default if found is None else found

    def optional_duration(self, name: str) -> float | None:
        """Seconds of a google.protobuf.Duration field, None when unset."""
        found = self.value.get(name)
        if found is None:
            return None
        if not isinstance(found, str) or not found.endswith("s"):
            raise self.error_at(name, f'expected a duration such as "1.5s", found {kind_of(found)}')
        try:
            seconds = float(found[:-1])
        except ValueError:
            raise self.error_at(
                name, f'expected a duration such as "1.5s", found {found!r}'
            ) from None
        if not -_MAX_DURATION <= seconds <= _MAX_DURATION:
            raise self.error_at(name, f"expected a duration in range, found {found!r}")
        return seconds

    def octets(self, name: str) -> bytes:
        """A bytes field (base64 in proto-JSON)."""
        found = self.value.get(name)
        if found is None:
            return b""
        try:
            if not isinstance(found, str):
                raise ValueError
            return base64.b64decode(found.replace("-", "+").replace("_", "/"), validate=True)
        except (ValueError, binascii.Error):
            raise self.error_at(name, f"expected base64, found {kind_of(found)}") from None

    def enum(self, name: str, members: Mapping[str, T], default: str) -> T:
        """An enum field: the value for the name found; an unknown name or number is an error."""
        found = self.value.get(name)
        if found is None:
            found = default
        if isinstance(found, str) and found in members:
            return members[found]
        raise self.error_at(name, f"expected one of {', '.join(members)}, found {found!r}")

    # -- messages ---------------------------------------------------------------------------

    def message(self, name: str) -> "Reader | None":
        """A message field, None when unset; `{}` is a message."""
        found = self.value.get(name)
        if found is None:
            return None
        if not isinstance(found, Mapping):
            raise self.error_at(name, f"expected a message, found {kind_of(found)}")
        return Reader(cast("Mapping[str, Any]", found), f"{self.path}.{name}")

    def required_message(self, name: str) -> "Reader":
        """A message field that must be set."""
        found = self.message(name)
        if found is None:
            raise self.error_at(name, "expected a message, found none")
        return found

    def messages(self, name: str, *, at_least: int = 0) -> "tuple[Reader, ...]":
        """A repeated message field."""
        found = self._list(name)
        if len(found) < at_least:
            raise self.error_at(name, f"expected at least {at_least} item(s), found {len(found)}")
        readers: list[Reader] = []
        for i, item in enumerate(found):
            if not isinstance(item, Mapping):
                raise self.error_at(f"{name}[{i}]", f"expected a message, found {kind_of(item)}")
            readers.append(Reader(cast("Mapping[str, Any]", item), f"{self.path}.{name}[{i}]"))
        return tuple(readers)

    def each(
        self, name: str, parse: "Callable[[Reader], T]", *, at_least: int = 0
    ) -> tuple[T, ...]:
        """A repeated message field, each parsed."""
        return tuple(parse(item) for item in self.messages(name, at_least=at_least))

    def strings(self, name: str) -> tuple[str, ...]:
        """A repeated string field."""
        found = self._list(name)
        for i, item in enumerate(found):
            if not isinstance(item, str):
                raise self.error_at(f"{name}[{i}]", f"expected a string, found {kind_of(item)}")
        return tuple(found)

    def integers(self, name: str) -> tuple[int, ...]:
        """A repeated integer field."""
        return tuple(self._int(f"{name}[{i}]", item) for i, item in enumerate(self._list(name)))

    def entries(self, name: str) -> "Iterator[tuple[str, Reader]]":
        """A map<string, message> field, by key: protobuf gives its entries in any order."""
        found = self._map(name)
        for key, item in sorted(found.items(), key=lambda entry: entry[0]):
            if not isinstance(item, Mapping):
                raise self.error_at(f"{name}[{key}]", f"expected a message, found {kind_of(item)}")
            yield key, Reader(cast("Mapping[str, Any]", item), f"{self.path}.{name}[{key}]")

    def struct(self, name: str) -> Mapping[str, object]:
        """A google.protobuf.Struct or map<string, scalar> field as plain data."""
        return self._map(name)

    @property
    def identity(self) -> tuple[str, str]:
        """Where this message stands and what it says: equal for the same config sent again."""
        return self.path, json.dumps(self.value, sort_keys=True)

    def plain(self, name: str) -> object:
        """A google.protobuf.Value field as plain data."""
        return self.value.get(name)

    def typed(self, name: str) -> "Reader | None":
        """An Any field: a reader whose `type_url` is set, None when unset."""
        found = self.message(name)
        if found is not None and not found.type_url:
            raise found.error('expected a typed message with "@type", found none')
        return found

    @property
    def type_url(self) -> str:
        """ "@type" of an expanded Any; empty for plain messages."""
        found = self.value.get("@type", "")
        return found if isinstance(found, str) else ""

    def _list(self, name: str) -> list[Any]:
        found = self.value.get(name)
        if found is None:
            return []
        if not isinstance(found, list | tuple):
            raise self.error_at(name, f"expected a list, found {kind_of(found)}")
        return list(cast("list[Any]", found))

    def _map(self, name: str) -> Mapping[str, Any]:
        found = self.value.get(name)
        if found is None:
            return {}
        if not isinstance(found, Mapping):
            raise self.error_at(name, f"expected a map, found {kind_of(found)}")
        return cast("Mapping[str, Any]", found)

    # -- errors -----------------------------------------------------------------------------

    def error(self, problem: str) -> ConfigError:
        """A ConfigError at this message."""
        return ConfigError(self.path, problem)

    def error_at(self, name: str, problem: str) -> ConfigError:
        """A ConfigError at one of its fields."""
        return ConfigError(f"{self.path}.{name}", problem)
