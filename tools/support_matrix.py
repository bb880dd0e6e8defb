"""Write docs/reference/support.md from the tables that the parsers enforce.

python tools/support_matrix.py
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from meshsdk.cli.coverage_tables import all_tables  # noqa: E402
from meshsdk.config.extension import Extension  # noqa: E402
from meshsdk.config.fields import Field, MessageTable, Use  # noqa: E402
from meshsdk.filters import HTTP_FILTERS, NETWORK_FILTERS  # noqa: E402
from meshsdk.lb_policies import LB_POLICIES  # noqa: E402
from meshsdk.resources import RESOURCE_TYPES  # noqa: E402
from meshsdk.resources.skipped_filters import HTTP, NETWORK  # noqa: E402
from meshsdk.wire.pool import find_message_class, full_name  # noqa: E402
from meshsdk.wire.well_known import BARE, is_map_entry  # noqa: E402

TARGET = ROOT / "docs" / "reference" / "support.md"
INTRO = """\
# What is supported

Written by `tools/support_matrix.py` from the tables that the parsers enforce; a test compares.
`meshsdk check --coverage FILE` says the same of one configuration: see [cli.md](cli.md).

- **honoured**: as Envoy does.
- **ignored**: no decision changes (telemetry, tuning, sockets that a library does not have).
- **refused**: security would differ; the resource is refused by the field's name (NACK).
- **not built**: traffic would differ; the resource is accepted, and a call that meets the field
  fails by its name.

A field that a table does not list is refused in security messages and else not built.
"""


def text() -> str:
    """The whole page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield INTRO
    yield "## Extensions"
    yield ""
    yield "| kind | name | type URLs of its config |"
    yield "|---|---|---|"
    for kind, extensions in (
        ("HTTP filter", HTTP_FILTERS),
        ("network filter", NETWORK_FILTERS),
        ("load balancing policy", LB_POLICIES),
    ):
        for extension in extensions:
            yield _extension(kind, extension)
    yield ""
    yield (
        "Any other filter is refused by its type URL, unless it is an optional HTTP filter that"
        " decides nothing about access, or one of these, which are skipped:"
    )
    yield ""
    for url, why in sorted({**HTTP, **NETWORK}.items()):
        yield f"- `{full_name(url)}`: {why}"
    seen: set[str] = set()
    for kind in RESOURCE_TYPES:
        yield ""
        yield f"## {kind.short_name}: `{full_name(kind.type_url)}`"
        for table in _reachable(full_name(kind.type_url), seen):
            yield from _message(table)
    yield ""
    yield "## Messages within typed configs"
    for table in sorted(all_tables(), key=lambda table: table.message):
        if table.message not in seen and find_message_class(table.message) is not None:
            seen.add(table.message)
            yield from _message(table)


def _extension(kind: str, extension: Extension) -> str:
    urls = "<br>".join(f"`{full_name(url)}`" for url in extension.type_urls)
    return f"| {kind} | `{extension.name}` | {urls} |"


def _reachable(message: str, seen: set[str]) -> Iterator[MessageTable]:
    """The tables of a message and of the messages in its honoured fields, each once, by depth."""
    waiting: list[tuple[str, MessageTable | None]] = [(message, None)]
    while waiting:
        name, parent = waiting.pop(0)
        table = all_tables().find(name, parent)
        if name in seen or table is None:
            continue
        seen.add(name)
        yield table
        for field in _fields(table):
            if table.use_of(field.name).use is Use.HONOURED and field.message_type is not None:
                kind = field.message_type
                inner = kind.fields_by_name["value"].message_type if is_map_entry(kind) else kind
                if inner is not None and inner.full_name not in BARE:
                    waiting.append((inner.full_name, table))


def _message(table: MessageTable) -> Iterator[str]:
    by_use: dict[Use, list[tuple[str, Field]]] = {use: [] for use in Use}
    for field in _fields(table):
        entry = table.use_of(field.name)
        by_use[entry.use].append((field.name, entry))
    yield ""
    yield f"### `{table.message}`"
    yield ""
    honoured = ", ".join(f"`{name}`" for name, _ in by_use.pop(Use.HONOURED))
    yield f"Honoured: {honoured or 'nothing'}."
    rows = [(name, entry) for entries in by_use.values() for name, entry in entries]
    if rows:
        yield ""
        yield "| field | | why |"
        yield "|---|---|---|"
    for name, entry in rows:
        yield f"| `{name}` | {entry.use.value} | {entry.why} |"


def _fields(table: MessageTable) -> list[Any]:
    cls = find_message_class(table.message)
    return [] if cls is None else list(cls.DESCRIPTOR.fields)


if __name__ == "__main__":
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text())
    print(f"wrote {TARGET.relative_to(ROOT)}")
