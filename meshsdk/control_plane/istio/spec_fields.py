"""What a message may hold, how Go writes a duration, and words for what stands somewhere."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.nodes import Mark, Node

_DURATION: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_UNITS: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_LONGEST: Final = (2**63 - 1) / 1e9  # Go, time.ParseDuration: nanoseconds in 64 bits


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one message type; see `fields`."""

    every: frozenset[str]
    refused: Mapping[str, str] = field(default_factory=dict[str, str])
    ignored: Mapping[str, str] = field(default_factory=dict[str, str])

    def __or__(self, other: "Fields") -> "Fields":
        """The fields of both."""
        return Fields(
            self.every | other.every,
            {**self.refused, **other.refused},
            {**self.ignored, **other.ignored},
        )


def fields(
    *names: str,
    refused: Mapping[str, str] | None = None,
    ignored: Mapping[str, str] | None = None,
) -> Fields:
    """A field list. `refused`: known names whose loss would weaken security or change traffic, and
    why; an error where set. `ignored`: known names without effect here, and why; a note."""
    refused, ignored = refused or {}, ignored or {}
    return Fields(frozenset((*names, *refused, *ignored)), refused, ignored)


@dataclass(frozen=True, slots=True)
class Note:
    """Something accepted that the author should know of."""

    mark: Mark
    field_path: str
    text: str


def seconds_of(text: str) -> float | None:
    """Seconds of a Go duration (`1h30m`, `-1.5s`, `0`), None when it is none, or longer than Go
    can say (292 years)."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _DURATION.findall(rest)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != rest:
        return None
    found = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return sign * found if found <= _LONGEST else None


def kind_of(node: Node) -> str:
    """What stands there, for a message."""
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "true" if node.value else "false"
        case str():
            return repr(node.value if len(node.value) <= 40 else node.value[:37] + "...")
        case int() | float():
            return f"the number {node.value}"
        case tuple():
            return "a list"
        case _:
            return "a message"


def camel(name: str) -> str:
    """The JSON name of a proto field."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
