"""Documents: what a kind's file is given, what it gives back, and what is told of either."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.nodes import Mark, Node, SpecError
from meshsdk.control_plane.istio.spec_fields import Fields, Note, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

Severity: TypeAlias = Literal["error", "warning", "info"]

SPEC: Final = fields("spec")
_ROOT: Final = fields("apiVersion", "kind", "metadata", "status")
_METADATA: Final = fields(
    "name", "namespace", "labels", "annotations", "creationTimestamp", "generateName", "uid",
    "resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds",
    "ownerReferences", "finalizers", "managedFields", "selfLink",
)  # fmt: skip
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Metadata:
    """Kubernetes object metadata."""

    name: str
    namespace: str = "default"
    """Empty for kinds that have none."""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    annotations: dict[str, str] = field(default_factory=dict[str, str])
    created: float | None = None
    """`creationTimestamp`, seconds since the epoch."""

    @property
    def age_order(self) -> tuple[float, str, str]:
        """Sorts oldest first; without a timestamp a document is of now. Source: istiod,
        sortByCreationComparator."""
        return (float("inf") if self.created is None else self.created, self.name, self.namespace)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a document is the document of."""

    kind: str
    namespace: str
    name: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}".replace(" /", " ")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a document (`error`: it is not used), or what its author should know."""

    severity: Severity
    mark: Mark
    field_path: str
    text: str
    key: Key | None = None
    """None where it is the whole file, or a document without a name."""

    def __str__(self) -> str:
        """`FILE:LINE:COL: field.path: problem`."""
        where = f"{self.mark}: {self.field_path}" if self.field_path else str(self.mark)
        return f"{where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Document:
    """A document before its kind has read it."""

    key: Key
    metadata: Metadata
    root: SpecReader
    """The whole of it: `spec`, or for Kubernetes kinds `data`, `endpoints` ..."""

    def spec(self, known: Fields) -> SpecReader:
        """Its spec; an absent one is an empty one."""
        found = self.root.message("spec", known)
        if found is not None:
            return found
        return SpecReader(Node({}, self.root.mark), "spec", known, self.root.notes)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: a line of the index in `istio/__init__.py`."""

    group: str
    """`security.istio.io`; empty for the core of Kubernetes."""
    name: str
    versions: tuple[str, ...]
    parse: Callable[[Document], object]
    """Gives the noun. SpecError when istiod would refuse it; notes go to the readers."""
    root: Fields = SPEC
    """Its fields beside apiVersion, kind, metadata and status."""
    is_namespaced: bool = True


def read_document(node: Node, kind: Kind, key: Key, notes: list[Note]) -> Document:
    """Opens a document of a known kind; `key` as `key_of` gave it."""
    root = SpecReader(node, "", kind.root | _ROOT, notes)
    metadata = root.required_message("metadata", _METADATA)
    name = metadata.required_string("name")
    if not _NAME.match(name):
        raise metadata.error_at(
            "name", f"expected lower case letters, digits, - and ., found {name!r}"
        )
    namespace = metadata.string("namespace")
    if namespace and not _NAMESPACE.match(namespace):
        raise metadata.error_at("namespace", f"expected a DNS label, found {namespace!r}")
    read = Metadata(
        name,
        key.namespace,
        metadata.string_map("labels"),
        metadata.string_map("annotations"),
        _timestamp(metadata),
    )
    return Document(key, read, root)


def key_of(node: Node, group: str, kind: str, *, is_namespaced: bool = True) -> Key | None:
    """The key of a document, read without judging the rest; None when it has no name."""
    metadata = _mapping(node).get("metadata")
    found = {} if metadata is None else _mapping(metadata)
    name, namespace = found.get("name"), found.get("namespace")
    if name is None or not isinstance(name.value, str):
        return None
    space = namespace.value if namespace is not None else None
    space = (space or "default") if isinstance(space, str | None) else ""
    return Key(kind, space if is_namespaced else "", name.value, group)


def _mapping(node: Node) -> dict[str, Node]:
    return dict(node.value) if isinstance(node.value, dict) else {}


def _timestamp(metadata: SpecReader) -> float | None:
    text = metadata.string("creationTimestamp")
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            raise ValueError
        return found.timestamp()
    except (ValueError, OverflowError):
        problem = f"expected a time such as 2026-01-31T12:00:00Z, found {text!r}"
        raise metadata.error_at("creationTimestamp", problem) from None


def problem_of(error: SpecError, key: Key | None) -> Problem:
    """An error as a problem."""
    return Problem("error", error.mark, error.field_path, error.problem, key)
