"""Texts to nouns. A bad document is a problem; it never takes down a good one."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar, cast

from meshsdk.control_plane.istio import KINDS
from meshsdk.control_plane.istio.documents import (
    Document,
    Key,
    Kind,
    Metadata,
    Problem,
    key_of,
    problem_of,
    read_document,
)
from meshsdk.control_plane.istio.mesh_config import MeshConfig, parse_mesh_config
from meshsdk.control_plane.istio.nodes import Mark, Node, SpecError, read_nodes
from meshsdk.control_plane.istio.spec_fields import Note
from meshsdk.errors import ConfigError

T = TypeVar("T")
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_GATEWAY_API: Final = "gateway.networking.k8s.io"
_LIST: Final = ("v1", "List")
MESH_CONFIG: Final = Key("MeshConfig", "", "mesh")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document that can be used."""

    key: Key
    metadata: Metadata
    noun: object
    """What its kind made of it: AuthorizationPolicy, VirtualService ..."""
    mark: Mark


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that some texts say."""

    documents: tuple[Parsed, ...] = ()
    """Oldest first, as istiod sorts."""
    problems: tuple[Problem, ...] = ()
    mesh_config: MeshConfig = field(default_factory=MeshConfig)
    """Istio's defaults where no document is one."""
    mesh_mark: Mark | None = None
    """Where it stands; None where no document is one."""
    _by_type: dict[type, tuple[object, ...]] = field(
        default_factory=dict[type, tuple[object, ...]], init=False, repr=False, compare=False
    )

    def all(self, noun: type[T]) -> tuple[T, ...]:
        """The nouns of a type, oldest first."""
        found = self._by_type.get(noun)
        if found is None:
            found = tuple(each.noun for each in self.documents if isinstance(each.noun, noun))
            self._by_type[noun] = found
        return cast("tuple[T, ...]", found)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that cost a document."""
        return tuple(problem for problem in self.problems if problem.severity == "error")

    def with_last_good(self, previous: "Loaded") -> "Loaded":
        """The same, where a document with an error keeps what `previous` knew under its key, and a
        file that could not be read to its end keeps all that it had."""
        keys = {error.key for error in self.errors} - {None}
        files = {error.mark.file for error in self.errors if error.key is None}
        have = {each.key for each in self.documents}
        kept = [
            each
            for each in previous.documents
            if each.key not in have and (each.key in keys or each.mark.file in files)
        ]
        documents = _sorted((*self.documents, *kept))
        mark = previous.mesh_mark
        is_lost = self.mesh_mark is None and mark is not None and mark.file in files
        if is_lost or MESH_CONFIG in keys:
            return replace(
                self, documents=documents, mesh_config=previous.mesh_config, mesh_mark=mark
            )
        return replace(self, documents=documents)


def load(texts: Mapping[str, str], kinds: Sequence[Kind] = KINDS) -> Loaded:
    """Reads every document of texts, file name to text. Never raises for what they say."""
    return Loader(kinds).load(texts)


class Loader:
    """Loads again and again: of a document that stands where it stood nothing is read anew, and its
    noun is the same object."""

    def __init__(self, kinds: Sequence[Kind] = KINDS) -> None:
        self._kinds = {(kind.group, kind.name): kind for kind in kinds}
        self._known: dict[tuple[str, int, str], _Loading] = {}

    def load(self, texts: Mapping[str, str]) -> Loaded:
        """As `load` does; from one thread at a time."""
        known: dict[tuple[str, int, str], _Loading] = {}
        loading = _Loading(self._kinds)
        for file, text in texts.items():
            for first_line, part in _parts(text):
                place = file, first_line, part
                found = self._known.get(place)
                if found is None:
                    found = _Loading(self._kinds)
                    found.read(*place)
                known[place] = found
                loading.absorb(found)
        self._known = known
        return loading.result()


class _Loading:
    """What has been read so far: of one text between two `---`, or of all."""

    def __init__(self, kinds: Mapping[tuple[str, str], Kind]) -> None:
        self._kinds = kinds
        self._found: dict[Key, Parsed] = {}
        self._mesh: tuple[Mark, MeshConfig | None] | None = None
        self._problems: list[Problem] = []
        self._skipped: dict[tuple[str, str], list[Mark]] = {}

    def result(self) -> Loaded:
        for (api_version, kind), marks in self._skipped.items():
            more = f" (and {len(marks) - 1} more)" if len(marks) > 1 else ""
            text = f"skipped: {api_version} {kind} says nothing of the mesh{more}"
            self._problems.append(Problem("info", marks[0], "", text))
        mark, mesh = self._mesh or (None, None)
        documents = _sorted(self._found.values())
        return Loaded(documents, tuple(self._problems), mesh or MeshConfig(), mark)

    def read(self, file: str, first_line: int, part: str) -> None:
        try:
            for node in read_nodes(part, file, first_line):
                self._document(node)
        except SpecError as error:
            self._problems.append(problem_of(error, None))

    def absorb(self, other: "_Loading") -> None:
        """Adds what another has read; of two with one name the first counts."""
        for key, parsed in other._found.items():
            before = self._found.get(key)
            if before is None:
                self._found[key] = parsed
            else:
                text = f"{key} is also at {before.mark}"
                self._problems.append(Problem("error", parsed.mark, "metadata.name", text, key))
        if other._mesh is not None and self._mesh is not None:
            text = f"no apiVersion and no kind: the mesh config, which is also at {self._mesh[0]}"
            self._problems.append(Problem("error", other._mesh[0], "", text, MESH_CONFIG))
        else:
            self._mesh = other._mesh or self._mesh
        self._problems += other._problems
        for kind, marks in other._skipped.items():
            self._skipped.setdefault(kind, []).extend(marks)

    def _document(self, node: Node) -> None:
        if not isinstance(node.value, Mapping):
            raise SpecError(node.mark, "", "expected a document that is a mapping")
        api_version, kind_name = _word(node, "apiVersion"), _word(node, "kind")
        if api_version is None and kind_name is None:
            self._read_mesh_config(node)
        elif not api_version or not kind_name:
            missing = "kind" if api_version else "apiVersion"
            self._error(node, "", f"expected apiVersion and kind, found no {missing}", None)
        elif (api_version, kind_name) == _LIST:
            self._list(node)
        else:
            self._of_kind(node, api_version, kind_name)

    def _list(self, node: Node) -> None:
        assert isinstance(node.value, Mapping)
        items = node.value.get("items")
        for item in items.value if items is not None and isinstance(items.value, tuple) else ():
            self._document(item)

    def _of_kind(self, node: Node, api_version: str, name: str) -> None:
        group, _, version = api_version.rpartition("/")
        kind = self._kinds.get((group, name))
        if kind is None:
            problem = self._unknown(group, name)
            if problem is None:
                self._skipped.setdefault((api_version, name), []).append(node.mark)
            else:
                self._error(node, problem[0], problem[1], key_of(node, group, name))
            return
        key = key_of(node, group, name, is_namespaced=kind.is_namespaced)
        if version not in kind.versions:
            expected = f"expected one of {', '.join(kind.versions)} of {group}, found {version}"
            self._error(node, "apiVersion", expected, key)
            return
        notes: list[Note] = []
        try:
            self._keep(node, kind, key, notes)
        except SpecError as error:
            self._problems.append(problem_of(error, key))
        except ConfigError as error:
            self._problems.append(Problem("error", node.mark, error.path, error.problem, key))
        for note in notes:
            self._problems.append(Problem("warning", note.mark, note.field_path, note.text, key))

    def _keep(self, node: Node, kind: Kind, key: Key | None, notes: list[Note]) -> None:
        before = None if key is None else self._found.get(key)
        if before is not None:
            raise SpecError(node.mark, "metadata.name", f"{key} is also at {before.mark}")
        named = key or Key(kind.name, "", "", kind.group)
        document: Document = read_document(node, kind, named, notes)
        noun = kind.parse(document)
        self._found[named] = Parsed(named, document.metadata, noun, node.mark)

    def _unknown(self, group: str, name: str) -> tuple[str, str] | None:
        """Field and problem of a kind that is not built, None where it may be skipped."""
        is_mesh = group == "istio.io" or group.endswith(".istio.io") or group == _GATEWAY_API
        groups = sorted({kind.group for kind in self._kinds.values() if "." in kind.group})
        if is_mesh:
            right = [each for each, kind in self._kinds if kind == name and each in groups]
            if right and group != _GATEWAY_API:  # which has a Gateway of its own
                return "apiVersion", f"expected {name} of {right[0]}, found {group}"
            names = [kind for each, kind in self._kinds if each == group]
            near = difflib.get_close_matches(name, names, n=1)
            hint = f", did you mean {near[0]}?" if near else ""
            return "kind", f"{name} of {group} is not built{hint}"
        near = difflib.get_close_matches(group, groups, n=1, cutoff=0.85)
        return ("apiVersion", f"unknown group {group}, did you mean {near[0]}?") if near else None

    def _read_mesh_config(self, node: Node) -> None:
        if self._mesh is not None:
            text = f"no apiVersion and no kind: the mesh config, which is also at {self._mesh[0]}"
            self._error(node, "", text, MESH_CONFIG)
            return
        notes: list[Note] = []
        parsed: MeshConfig | None = None
        try:
            parsed = parse_mesh_config(node, notes)
        except SpecError as error:
            self._problems.append(problem_of(error, MESH_CONFIG))
        self._mesh = node.mark, parsed
        for note in notes:
            found = Problem("warning", note.mark, note.field_path, note.text, MESH_CONFIG)
            self._problems.append(found)

    def _error(self, node: Node, field_path: str, text: str, key: Key | None) -> None:
        mark = node.mark
        if isinstance(node.value, Mapping) and field_path in node.value:
            mark = node.value[field_path].mark
        self._problems.append(Problem("error", mark, field_path, text, key))


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """A text cut before each `---`, with the line that each part begins at: a part that is no YAML
    must not hide those after it."""
    starts = [0, *(found.start() for found in _SEPARATOR.finditer(text) if found.start())]
    if text.startswith("%"):  # directives belong to the document after them
        del starts[1:2]
    line = 1
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        yield line, text[start:end]
        line += text.count("\n", start, end)


def _word(node: Node, name: str) -> str | None:
    assert isinstance(node.value, Mapping)
    found = node.value.get(name)
    if found is None or found.value is None:
        return None
    return found.value if isinstance(found.value, str) else ""


def _sorted(documents: Iterable[Parsed]) -> tuple[Parsed, ...]:
    return tuple(sorted(documents, key=lambda each: (each.metadata.age_order, each.key)))
