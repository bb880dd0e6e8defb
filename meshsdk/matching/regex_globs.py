"""Expressions that need no engine: literals, and literals joined by `.*` or `.+`.

The leftmost place of each literal is the best one, so one scan decides; alternatives and optional
parts are written out first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Final, TypeAlias

from meshsdk.matching.regex_tree import (
    ALL,
    DOT,
    Alternate,
    Assertion,
    Chars,
    Concat,
    Group,
    Node,
    Repeat,
    Tree,
)

_MOST: Final = 64
"""Alternatives written out; beyond that an engine is better."""
Test: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Gap:
    """At least so many octets; `newline` tells whether they may be newlines."""

    least: int
    newline: bool


Piece: TypeAlias = str | Gap
Glob: TypeAlias = tuple[Piece, ...]
"""Literals and gaps in turn; no two literals and no two gaps are neighbours."""


def globs_of(tree: Tree) -> tuple[Glob, ...] | None:
    """The alternatives of an expression for a full match; None where it is not that simple."""
    expanded = _expand(tree.root)
    if expanded is None:
        return None
    found: dict[Glob, None] = {}
    for pieces in expanded:
        glob = _joined(pieces)
        if glob is None:
            return None
        found[glob] = None
    return tuple(found)


_Raw: TypeAlias = "tuple[str | Gap | Assertion, ...]"


def _expand(node: Node) -> list[_Raw] | None:
    match node:
        case Chars(mask):
            if mask and mask & (mask - 1) == 0:
                return [(chr(mask.bit_length() - 1),)]
            return None
        case Assertion():
            return [(node,)]
        case Group(item, _):
            return _expand(item)
        case Alternate(items):
            parts = [_expand(item) for item in items]
            flat = [raw for part in parts if part is not None for raw in part]
            return None if any(part is None for part in parts) or len(flat) > _MOST else flat
        case Concat(items):
            return _expand_concat(items)
        case Repeat():
            return _expand_repeat(node)


def _expand_concat(items: tuple[Node, ...]) -> list[_Raw] | None:
    parts: list[list[_Raw]] = []
    count = 1
    for item in items:
        part = _expand(item)
        if part is None:
            return None
        parts.append(part)
        count *= len(part)
        if count > _MOST:
            return None
    return [tuple(piece for raw in chosen for piece in raw) for chosen in product(*parts)]


def _expand_repeat(node: Repeat) -> list[_Raw] | None:
    item = node.item
    if isinstance(item, Chars) and item.mask in (ALL, DOT) and node.most is None:
        return [(Gap(node.least, item.mask == ALL),)]
    if node.most is None or node.most > 8:
        return None
    inner = _expand(item)
    if inner is None:
        return None
    every: list[_Raw] = []
    for times in range(node.least, node.most + 1):
        several = _expand_concat((item,) * times)
        if several is None:
            return None
        every.extend(several)
    return every if len(every) <= _MOST else None


def _joined(raw: _Raw) -> Glob | None:
    """One alternative with neighbours joined; None where an assertion says more than the ends."""
    if raw and raw[0] == Assertion("begin_text"):
        raw = raw[1:]
    if raw and raw[-1] == Assertion("end_text"):
        raw = raw[:-1]
    pieces: list[Piece] = []
    for piece in raw:
        last = pieces[-1] if pieces else None
        if isinstance(piece, Assertion):
            return None
        if isinstance(piece, str) and isinstance(last, str):
            pieces[-1] = last + piece
        elif isinstance(piece, Gap) and isinstance(last, Gap):
            if piece.newline is not last.newline:
                return None
            pieces[-1] = Gap(last.least + piece.least, last.newline)
        else:
            pieces.append(piece)
    gaps = {piece.newline for piece in pieces if isinstance(piece, Gap)}
    has_newline = any(isinstance(piece, str) and "\n" in piece for piece in pieces)
    # One scan cannot tell a gap's newline from a literal's.
    return None if len(gaps) > 1 or (gaps == {False} and has_newline) else tuple(pieces)


def compile_globs(globs: tuple[Glob, ...]) -> Test:
    """One function for all alternatives."""
    literals = frozenset(_literal(glob) for glob in globs if _is_literal(glob))
    tests = [_glob_test(glob) for glob in globs if not _is_literal(glob)]
    if not tests:
        if len(literals) == 1:
            return next(iter(literals)).__eq__
        return literals.__contains__
    if literals:
        tests.insert(0, literals.__contains__)
    if len(tests) == 1:
        return tests[0]
    each = tuple(tests)

    def any_of(value: str) -> bool:
        for test in each:  # noqa: SIM110 (a generator costs more than the tests)
            if test(value):
                return True
        return False

    return any_of


def _is_literal(glob: Glob) -> bool:
    return all(isinstance(piece, str) for piece in glob)


def _literal(glob: Glob) -> str:
    return "".join(piece for piece in glob if isinstance(piece, str))


def _glob_test(glob: Glob) -> Test:
    """The scan of one alternative that has a gap."""
    head = glob[0] if isinstance(glob[0], str) else ""
    tail = glob[-1] if isinstance(glob[-1], str) else ""
    inner = glob[1 if head else 0 : len(glob) - 1 if tail else len(glob)]
    gaps = [piece for piece in inner if isinstance(piece, Gap)]
    literals = [piece for piece in inner if isinstance(piece, str)]
    no_newline = not gaps[0].newline
    first = len(head) + gaps[0].least
    if not literals:
        return _ends(head, tail, first + len(tail), no_newline)
    if len(literals) == 1 and not head and not tail and gaps[0].least == gaps[1].least == 0:
        return _holds(literals[0], no_newline)
    steps = tuple(
        (text, gap.least + len(text)) for text, gap in zip(literals, gaps[1:], strict=True)
    )
    tail_length = len(tail)

    def scan(value: str) -> bool:
        if not (value.startswith(head) and value.endswith(tail)):
            return False
        at = first
        find = value.find
        for text, skip in steps:
            at = find(text, at)
            if at < 0:
                return False
            at += skip
        return at + tail_length <= len(value) and not (no_newline and "\n" in value)

    return scan


def _ends(head: str, tail: str, least: int, no_newline: bool) -> Test:
    def ends(value: str) -> bool:
        return (
            len(value) >= least
            and value.startswith(head)
            and value.endswith(tail)
            and not (no_newline and "\n" in value)
        )

    return ends


def _holds(text: str, no_newline: bool) -> Test:
    def holds(value: str) -> bool:
        return text in value and not (no_newline and "\n" in value)

    return holds
