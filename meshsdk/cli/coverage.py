"""`meshsdk check --coverage FILE`: what becomes of each field that is set in a configuration."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from meshsdk.cli.coverage_extensions import Outcome, judge_extension, registries
from meshsdk.cli.coverage_tables import Tables, all_tables
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, Use
from meshsdk.config.reader import Reader
from meshsdk.config.yaml import load
from meshsdk.errors import ConfigError, UnknownExtensionError
from meshsdk.resources import RESOURCE_TYPES
from meshsdk.resources.resource_type import ResourceType
from meshsdk.wire.bootstrap_form import read_resources
from meshsdk.wire.pool import full_name, type_url
from meshsdk.wire.walk import Held, set_fields
from meshsdk.xds.unknown import refuses

UNLISTED: Final = "unlisted"
"""A message that no table describes."""
_TYPES: Final[Mapping[str, ResourceType]] = {kind.type_url: kind for kind in RESOURCE_TYPES}


@dataclass(frozen=True, slots=True)
class Finding:
    """A field, or an extension's type, that is not honoured."""

    use: str
    """A value of `Use`, `skipped` for extensions, or `unlisted`."""
    why: str
    message: str
    """Full proto name."""
    field: str
    """Empty: the message as a whole, an extension's config."""
    is_gap: bool
    """Security-relevant and neither honoured nor refused."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a finding was met."""

    count: int
    example: str
    """Resource type, name and path of the first."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A resource that is refused as a whole: a control plane gets a NACK."""

    type: str
    name: str
    path: str
    problem: str


@dataclass(slots=True)
class TypeCount:
    """What one type of resource adds up to."""

    resources: int = 0
    uses: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is not honoured in a configuration, and how much is."""

    origin: str
    types: Mapping[str, TypeCount]
    """By short name: `LDS`."""
    findings: Mapping[Finding, Place]
    refusals: tuple[Refusal, ...]

    @property
    def exit_code(self) -> int:
        """1 when a security-relevant field is neither honoured nor refused."""
        return int(any(finding.is_gap for finding in self.findings))


def report(data: object, origin: str, tables: Tables | None = None) -> Report:
    """The report on a bootstrap, a config dump or a recorded state. ConfigError when it is none.

    `tables`: other ones than those of the rooms.
    """
    survey = _Survey(registries(), tables or all_tables())
    resources = read_resources(data, origin)
    for url, named in resources.items():
        for name, resource in named.items():
            survey.parse(url, name, resource)
    for url, named in resources.items():
        for name, resource in named.items():
            survey.walk(url, name, resource)
    findings = dict(sorted(survey.places.items(), key=lambda item: _order(item[0])))
    return Report(
        origin,
        survey.types,
        {finding: Place(len(at), at[0]) for finding, at in findings.items()},
        tuple(survey.refusals),
    )


def run_coverage(path: str, as_json: bool) -> int:
    """The subcommand: print the report on a file; its exit code."""
    from meshsdk.cli.coverage_text import as_json_data, render

    found = report(load(_read(path), path), path)
    print(json.dumps(as_json_data(found), indent=2) if as_json else render(found))
    return found.exit_code


def _read(path: str) -> str:
    try:
        raw = Path(path).read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"expected a readable text file: {error}") from error


def _order(finding: Finding) -> tuple[object, ...]:
    uses = (UNLISTED, Use.REFUSED.value, Use.NOT_BUILT.value, "skipped", Use.IGNORED.value)
    return (not finding.is_gap, uses.index(finding.use), finding.message, finding.field)


@dataclass(frozen=True, slots=True)
class _Parent:
    """The message around another."""

    held: Held
    table: MessageTable


class _Survey:
    """Walks resources and adds up what it meets."""

    def __init__(self, extensions: Extensions, tables: Tables) -> None:
        self.extensions = extensions
        self.tables = tables
        self.types: dict[str, TypeCount] = {}
        self.places: dict[Finding, list[str]] = {}
        self.refusals: list[Refusal] = []
        self.refused_urls: dict[str, str] = {}

    def parse(self, url: str, name: str, resource: Mapping[str, object]) -> None:
        """Let the resource's own parser judge it: what it refuses is no gap."""
        kind = _TYPES.get(url)
        if kind is None:
            return
        try:
            kind.parse(Reader(resource, kind.root), self.extensions)
        except ConfigError as error:
            self.refusals.append(Refusal(kind.short_name, name, error.path, error.problem))
            if isinstance(error, UnknownExtensionError):
                self.refused_urls[error.type_url] = error.problem

    def walk(self, url: str, name: str, resource: Mapping[str, object]) -> None:
        """Look up every field that is set, down to where one is not honoured."""
        kind = _TYPES.get(url)
        short = full_name(url) if kind is None else kind.short_name
        count = self.types.setdefault(short, TypeCount())
        count.resources += 1
        root = Held("", full_name(url), resource, is_typed=False)
        if kind is None:
            why = "no resource of this type is asked for"
            self._add(Finding(Use.NOT_BUILT.value, why, root.message, "", False), name, count)
            return
        for finding, path in self._message(root, None):
            if finding is None:
                count.uses[Use.HONOURED.value] += 1
            else:
                self._add(finding, f"{short} {name}: {path}", count)

    def _add(self, finding: Finding, place: str, count: TypeCount) -> None:
        self.places.setdefault(finding, []).append(place)
        count.uses[finding.use] += 1

    def _message(self, held: Held, parent: _Parent | None) -> Iterator[tuple[Finding | None, str]]:
        """Findings and their paths; None for an honoured field."""
        if held.is_typed and parent is not None:
            outcome = self._extension(held, parent.held)
            if outcome is not None:
                yield (
                    Finding(outcome.use, outcome.why, held.message, "", False),
                    held.path,
                )
                return
        table = self.tables.find(held.message, None if parent is None else parent.table)
        if table is None:
            yield from self._without_table(held, parent)
            return
        for found in set_fields(held.message, held.data, held.path):
            entry = table.use_of(found.name)
            if entry.use is not Use.HONOURED:
                gap = entry.use is Use.NOT_BUILT and _is_security(held.message, table)
                yield Finding(entry.use.value, entry.why, held.message, found.name, gap), found.path
                continue
            yield None, found.path
            for inner in found.held:
                yield from self._message(inner, _Parent(held, table))

    def _without_table(
        self, held: Held, parent: _Parent | None
    ) -> Iterator[tuple[Finding | None, str]]:
        is_security = _is_security(held.message, None if parent is None else parent.table)
        for found in set_fields(held.message, held.data, held.path):
            why = "no table describes this message"
            yield Finding(UNLISTED, why, held.message, found.name, is_security), found.path

    def _extension(self, held: Held, parent: Held) -> Outcome | None:
        problem = self.refused_urls.get(type_url(held.message))
        if problem is not None:
            return Outcome(Use.REFUSED.value, problem)
        return judge_extension(held, parent, self.extensions)


def _is_security(message: str, table: MessageTable | None) -> bool:
    return refuses(message) or (table is not None and table.security)
