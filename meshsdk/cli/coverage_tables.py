"""Every table of fields that the rooms have, found where they are kept."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Final, cast

from meshsdk.config.fields import MessageTable

_ROOMS: Final = (
    "meshsdk.matching",
    "meshsdk.resources",
    "meshsdk.lb_policies",
    "meshsdk.resilience",
    "meshsdk.routing",
    "meshsdk.filters",
)
"""The rooms that parse configuration."""


class Tables:
    """The tables by message. A message that several parsers read may have several tables."""

    def __init__(self, by_module: Mapping[str, tuple[MessageTable, ...]]) -> None:
        self._by_message: dict[str, list[MessageTable]] = {}
        self._modules: dict[int, dict[str, int]] = {}
        for module, tables in by_module.items():
            for table in tables:
                known = self._by_message.setdefault(table.message, [])
                if table not in known:
                    known.append(table)
                self._modules.setdefault(id(table), {})[module] = len(tables)

    def __iter__(self) -> Iterator[MessageTable]:
        return (table for found in self._by_message.values() for table in found)

    def find(self, message: str, parent: MessageTable | None) -> MessageTable | None:
        """The table by which a message is read within another: of several that of the parser
        nearest to the parent's, which is the smallest module that has both."""
        found = self._by_message.get(message)
        if not found:
            return None
        if parent is None or len(found) == 1:
            return found[0]
        return min(found, key=lambda table: self._distance(table, parent))

    def _distance(self, table: MessageTable, parent: MessageTable) -> float:
        around = self._modules[id(parent)]
        shared = (size for name, size in self._modules[id(table)].items() if name in around)
        return min(shared, default=float("inf"))


@cache
def all_tables() -> Tables:
    """The tables of all rooms."""
    return Tables(dict(_modules()))


def _modules() -> Iterator[tuple[str, tuple[MessageTable, ...]]]:
    for room in _ROOMS:
        package = import_module(room)
        for found in walk_packages(package.__path__, f"{room}."):
            values = vars(import_module(found.name)).values()
            tables = {id(table): table for value in values for table in _tables(value)}
            yield found.name, tuple(tables.values())


def _tables(value: object) -> Iterator[MessageTable]:
    if isinstance(value, MessageTable):
        yield value
    elif isinstance(value, tuple):
        for item in cast("tuple[object, ...]", value):
            if isinstance(item, MessageTable):
                yield item
