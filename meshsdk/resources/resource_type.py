"""What the ADS machine needs to know about a type of resource."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError

CLUSTER_WAIT: Final = 15.0  # seconds that a route waits for a cluster that is new to it


class Reference(NamedTuple):
    """Another resource that one names."""

    type_url: str
    name: str
    timeout: float | None = CLUSTER_WAIT
    """Seconds after which it is given up; None: never."""


def of_nothing(value: object, reader: Reader) -> Iterable[Reference]:
    """Resources that name no others."""
    del value, reader
    return ()


def accepts_all(previous: object, new: object) -> ConfigError | None:
    """A type whose new version may always replace the one in force."""
    del previous, new
    return None


def reports_nothing(value: object) -> tuple[tuple[str, str], ...]:
    """A type of which no part is skipped when it is parsed."""
    del value
    return ()


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One xDS resource type: a file of this room."""

    short_name: str
    """As people call it: `LDS`."""
    type_url: str
    root: str
    """With what field paths of a resource begin: `listener`."""
    parse: Callable[[Reader, Extensions], object]
    tables: tuple[MessageTable, ...]
    references: Callable[[object, Reader], Iterable[Reference]] = of_nothing
    check_update: Callable[[object, object], ConfigError | None] = accepts_all
    """Why a new version (second) must not replace the one in force, in compat strict."""
    reports: Callable[[object], tuple[tuple[str, str], ...]] = reports_nothing
    """Path and reason of what was skipped in an accepted resource."""
    is_full: bool = False
    """A state-of-the-world answer holds all there is: absence means removal (LDS, CDS)."""
