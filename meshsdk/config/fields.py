"""What becomes of each field of a message: honoured, ignored, refused, or waiting for its code.

One table per type, kept beside the parser. `check` enforces it when config arrives and
`meshsdk check --coverage` prints it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from meshsdk.config.reader import Reader


class Use(Enum):
    """What meshsdk does with a field that is set."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    """Telemetry, tuning or a matter of sockets that a library does not have: no decision changes."""
    REFUSED = "refused"
    """Security would differ: the resource is NACKed by the field's name."""
    NOT_BUILT = "not built"
    """Traffic would differ: accepted and reported; a call that meets it fails by name."""


@dataclass(frozen=True, slots=True)
class Field:
    """A table entry; `why` is what the report says."""

    use: Use
    why: str = ""


Table: TypeAlias = Mapping[str, Field]
HONOURED = Field(Use.HONOURED)


def ignored(why: str) -> Field:
    """A field without effect on decisions."""
    return Field(Use.IGNORED, why)


def refused(why: str) -> Field:
    """A field whose loss would weaken security."""
    return Field(Use.REFUSED, why)


def not_built(why: str) -> Field:
    """A traffic field whose code does not exist yet."""
    return Field(Use.NOT_BUILT, why)


@dataclass(frozen=True, slots=True)
class MessageTable:
    """The fields of one message type; `security` decides what an unlisted field is."""

    message: str
    """Full proto name, `envoy.config.route.v3.RouteMatch`."""
    fields: Table
    security: bool = False

    def use_of(self, name: str) -> Field:
        """The entry for a field; unlisted fields are refused in security messages, else not built."""
        found = self.fields.get(name)
        if found is not None:
            return found
        return refused("unlisted") if self.security else not_built("unlisted")


def honoured(*names: str) -> dict[str, Field]:
    """Table rows for honoured fields."""
    return dict.fromkeys(names, HONOURED)


def check(reader: Reader, table: MessageTable) -> tuple[str, ...]:
    """Enforce a table on one message. Gives the paths of set fields that are not built;
    ConfigError for refused ones."""
    missing: list[str] = []
    for name in reader.value:
        if name == "@type" or not reader.has(name):
            continue
        entry = table.use_of(name)
        if entry.use is Use.REFUSED:
            raise reader.error_at(name, f"refused: {entry.why}")
        if entry.use is Use.NOT_BUILT:
            missing.append(f"{reader.path}.{name}")
    return tuple(missing)


def uses(reader: Reader, table: MessageTable) -> Iterator[tuple[str, Field]]:
    """Every set field of one message with its entry: what the coverage report counts."""
    for name in reader.names():
        yield name, table.use_of(name)
