"""What the control plane sent: per resource the last good version and the newest refused one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.resource_type import Reference, ResourceType
from meshsdk.xds.messages import Received
from meshsdk.xds.unknown import judge

_DIGEST_BYTES: Final = 16


def digest(raw: bytes) -> bytes:
    """What equal bytes are known by."""
    return blake2b(raw, digest_size=_DIGEST_BYTES).digest()


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """A good version. Its identity is the object: equal configuration stays the same one."""

    value: object
    digest: bytes
    """Of the bytes as they came."""
    canonical: bytes
    """Of the content: maps have no order on the wire."""
    version: str
    """Delta: the resource's own."""
    references: tuple[Reference, ...]
    reports: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes that were NACKed. Equal bytes get the same answer without another look."""

    digest: bytes
    error: str


@dataclass(slots=True, eq=False)
class Entry:
    """One resource by name."""

    good: Accepted | None = None
    refused: Refused | None = None
    """Set while the newest version is a bad one."""
    exists: bool = True
    """False: the control plane said that there is no such resource."""


@dataclass(slots=True, eq=False)
class TypeStore:
    """The resources of one type."""

    kind: ResourceType
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])
    answered: bool = False
    """Whether any answer of this type ever came."""

    def good(self, name: str) -> Accepted | None:
        """The last good version."""
        entry = self.entries.get(name)
        return None if entry is None else entry.good

    def goods(self) -> Mapping[str, Accepted]:
        """Every good version by name."""
        return {name: e.good for name, e in self.entries.items() if e.good is not None}

    def receive(self, name: str, received: Received, extensions: Extensions) -> "Outcome":
        """Take one resource that is named `name`."""
        entry = self.entries.get(name)
        found = digest(received.raw)
        if entry is not None:
            known = _known(entry, found)
            if known is not None:
                return known
        else:
            entry = self.entries[name] = Entry()
        previous = entry.good
        try:
            accepted = _accept(self.kind, received, found, previous, extensions)
        except ConfigError as error:
            entry.refused = Refused(found, _explain(self.kind, name, error))
            # Its last good version stays; for those who wait for a first one this is news.
            return Outcome(previous is None, entry.refused.error, is_new_error=True)
        cleared = entry.refused is not None or not entry.exists
        entry.good, entry.refused, entry.exists = accepted, None, True
        is_same = previous is not None and previous.value is accepted.value
        return Outcome(cleared or not is_same, reports=() if is_same else accepted.reports)

    def refuse(self, name: str, problem: str) -> "Outcome":
        """Refuse a resource for what it is beside its content (twice in one answer)."""
        entry = self.entries.setdefault(name, Entry())
        error = _explain(self.kind, name, ConfigError(f"{self.kind.root}.name", problem))
        is_new = entry.refused is None or entry.refused.error != error
        entry.refused = Refused(b"", error)
        return Outcome(entry.good is None, error, is_new_error=is_new)

    def remove(self, name: str, *, keep_name: bool) -> bool:
        """The control plane says that a resource is not there; whether that is news.

        `keep_name`: somebody subscribes to it, so its absence is worth knowing.
        """
        entry = self.entries.get(name)
        if not keep_name:
            self.entries.pop(name, None)
            return entry is not None
        if entry is None:
            self.entries[name] = Entry(exists=False)
            return True
        was_known_missing = not entry.exists and entry.good is None and entry.refused is None
        entry.good, entry.refused, entry.exists = None, None, False
        return not was_known_missing

    def forget(self, names: Iterable[str]) -> None:
        """Drop resources that nobody subscribes to any more."""
        for name in names:
            self.entries.pop(name, None)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What taking one resource did."""

    changed: bool
    error: str | None = None
    is_new_error: bool = False
    reports: tuple[tuple[str, str], ...] = ()


UNCHANGED: Final = Outcome(False)


def _known(entry: Entry, found: bytes) -> Outcome | None:
    """The answer for bytes that were seen before, or None."""
    if entry.refused is not None and entry.refused.digest == found:
        return Outcome(False, entry.refused.error)
    if entry.good is None or entry.good.digest != found:
        return None
    if entry.refused is None:
        return UNCHANGED
    entry.refused = None
    return UNCHANGED


def _accept(
    kind: ResourceType,
    received: Received,
    found: bytes,
    previous: Accepted | None,
    extensions: Extensions,
) -> Accepted:
    if received.type_url != kind.type_url:
        raise ConfigError(kind.root, f"expected {kind.type_url}, found {received.type_url}")
    decoded = received.decode()
    canonical = digest(json.dumps(decoded.data, sort_keys=True).encode())
    if previous is not None and previous.canonical == canonical:
        return Accepted(
            previous.value,
            found,
            canonical,
            received.version,
            previous.references,
            previous.reports,
        )
    reports = judge(decoded, kind.root, extensions.unknown_fields)
    reader = Reader(decoded.data, kind.root)
    value = kind.parse(reader, extensions)
    if previous is not None and extensions.compat == "strict":
        refusal = kind.check_update(previous.value, value)
        if refusal is not None:
            raise refusal
    return Accepted(
        value,
        found,
        canonical,
        received.version,
        tuple(kind.references(value, reader)),
        (*reports, *kind.reports(value)),
    )


def _explain(kind: ResourceType, name: str, error: ConfigError) -> str:
    path = error.path
    if not path.startswith(kind.root):
        path = f"{kind.root}.{path}" if path else kind.root
    return f"{kind.short_name} {name}: {path}: {error.problem}"
