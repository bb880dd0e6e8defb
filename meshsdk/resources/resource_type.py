"""What the ADS machine needs to know about a type of resource."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.references import Reference, of_nothing


def accepts_all(previous: object, new: object) -> ConfigError | None:
    """A type whose new version may always replace the one in force."""
    del previous, new
    return None


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
    is_full: bool = False
    """A state-of-the-world answer holds all there is: absence means removal (LDS, CDS)."""
