"""Whether a backtracking engine runs an expression in linear time, and the form it is given.

An engine that backtracks walks derivations: ways to read a prefix of the value. The proof counts
them: it walks all reachable multisets of places in the expression (a counting automaton, as a DFA
is built), and passes only where no prefix of any value has more than `_MOST_DERIVATIONS`.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from meshsdk.matching.regex_tree import (
    ALL,
    Alternate,
    Assertion,
    Chars,
    Concat,
    Group,
    Node,
    Repeat,
    Tree,
)

_MOST_PLACES: Final = 512
_MOST_STATES: Final = 2000
_MOST_DERIVATIONS: Final = 64
_ANY: Final = Repeat(Chars(ALL), 0, None, False)
_ASSERTIONS: Final = {
    "begin_text": r"\A",
    "end_text": r"\Z",
    "begin_line": "(?m:^)",
    "end_line": "(?m:$)",
    "boundary": r"\b",
    # `re` before 3.14 finds no \B in an empty value; RE2 does.
    "no_boundary": r"(?!\b)",
}


class _AmbiguousError(Exception):
    """Some prefix has too many derivations, or the proof would take too long."""


@dataclass(slots=True)
class _Places:
    """Glushkov's automaton: each place reads one octet of a set; `follow` keeps multiplicities."""

    masks: list[int] = field(default_factory=list[int])
    follow: list[Counter[int]] = field(default_factory=list[Counter[int]])


@dataclass(slots=True)
class _Part:
    """Ways into a part of the expression, out of it, and through it without an octet."""

    first: Counter[int]
    last: Counter[int]
    empty: int


def is_linear(tree: Tree) -> bool:
    """Whether a full match is proved linear."""
    return _proved(tree.root, frees_accepting=False)


def is_linear_search(tree: Tree) -> bool:
    """The same for replacing every match, wherever it begins."""
    if _is_anchored(tree.root):
        return is_linear(tree)
    # A search that reaches an end of the expression has succeeded and looks no further,
    # unless an assertion may still refuse.
    return _proved(Concat((_ANY, tree.root)), frees_accepting=not _has_assertion(tree.root))


def _proved(root: Node, *, frees_accepting: bool) -> bool:
    places = _Places()
    try:
        whole = _build(root, places)
        if whole.empty > 1:
            return False
        if frees_accepting:
            for place in whole.last:
                places.follow[place] = Counter()
        _count_derivations(places, whole.first)
    except _AmbiguousError:
        return False
    return True


def _build(node: Node, places: _Places) -> _Part:
    match node:
        case Chars(mask):
            place = len(places.masks)
            if place >= _MOST_PLACES:
                raise _AmbiguousError
            places.masks.append(mask)
            places.follow.append(Counter())
            return _Part(Counter((place,)), Counter((place,)), 0)
        case Assertion():
            return _Part(Counter(), Counter(), 1)
        case Group(item, _):
            return _build(item, places)
        case Concat(items):
            part = _Part(Counter(), Counter(), 1)
            for item in items:
                part = _then(part, _build(item, places), places)
            return part
        case Alternate(items):
            parts = [_build(item, places) for item in items]
            return _Part(
                sum((part.first for part in parts), Counter[int]()),
                sum((part.last for part in parts), Counter[int]()),
                sum(part.empty for part in parts),
            )
        case Repeat():
            return _repeated(node, places)


def _then(left: _Part, right: _Part, places: _Places) -> _Part:
    _link(left.last, right.first, places)
    return _Part(
        left.first + _times(right.first, left.empty),
        right.last + _times(left.last, right.empty),
        left.empty * right.empty,
    )


def _times(ways: Counter[int], count: int) -> Counter[int]:
    return Counter({place: n * count for place, n in ways.items()}) if count else Counter()


def _link(last: Counter[int], first: Counter[int], places: _Places) -> None:
    for place, ways in last.items():
        follow = places.follow[place]
        for successor, more in first.items():
            follow[successor] += ways * more


def _repeated(node: Repeat, places: _Places) -> _Part:
    """`x{2,4}` is `xx(x(x)?)?`, `x{2,}` is `xx(x)*`: copies, as the engine counts them."""
    optional = _Part(Counter(), Counter(), 1)
    if node.most is None:
        loop = _build(node.item, places)
        if loop.empty:
            raise _AmbiguousError
        _link(loop.last, loop.first, places)
        optional = _Part(loop.first, loop.last, 1)
    else:
        for _ in range(node.most - node.least):
            copy = _build(node.item, places)
            if copy.empty:
                raise _AmbiguousError
            optional = _then(copy, optional, places)
            optional.empty += 1
    part = _Part(Counter(), Counter(), 1)
    for _ in range(node.least):
        part = _then(part, _build(node.item, places), places)
    return _then(part, optional, places)


def _count_derivations(places: _Places, first: Counter[int]) -> None:
    """Walk every reachable multiset of places; raises where one grows too large."""
    octets = _representatives(places.masks)
    start = frozenset({(-1, 1)})
    seen = {start}
    waiting = [start]
    while waiting:
        state = waiting.pop()
        ways: Counter[int] = Counter()
        for place, count in state:
            for successor, more in (first if place < 0 else places.follow[place]).items():
                ways[successor] += count * more
        for octet in octets:
            found = frozenset((p, n) for p, n in ways.items() if places.masks[p] >> octet & 1)
            if sum(n for _, n in found) > _MOST_DERIVATIONS:
                raise _AmbiguousError
            if found and found not in seen:
                if len(seen) >= _MOST_STATES:
                    raise _AmbiguousError
                seen.add(found)
                waiting.append(found)


def _representatives(masks: list[int]) -> list[int]:
    """One octet of each class that the expression tells apart."""
    groups = [ALL]
    for mask in dict.fromkeys(masks):
        groups = [part for group in groups for part in (group & mask, group & ~mask) if part]
    return [group.bit_length() - 1 for group in groups]


def _is_anchored(node: Node) -> bool:
    match node:
        case Assertion(kind):
            return kind == "begin_text"
        case Group(item, _):
            return _is_anchored(item)
        case Concat(items):
            return bool(items) and _is_anchored(items[0])
        case Alternate(items):
            return all(_is_anchored(item) for item in items)
        case _:
            return False


def _has_assertion(node: Node) -> bool:
    match node:
        case Assertion():
            return True
        case Group(item, _) | Repeat(item, _, _, _):
            return _has_assertion(item)
        case Concat(items) | Alternate(items):
            return any(_has_assertion(item) for item in items)
        case _:
            return False


def python_form(node: Node, *, captures: bool) -> str:
    """The expression for `re` with re.ASCII, of constructs that mean the same to both engines."""
    match node:
        case Chars(mask):
            return _class(mask)
        case Assertion(kind):
            return _ASSERTIONS[kind]
        case Group(item, _):
            inner = python_form(item, captures=captures)
            return f"({inner})" if captures else f"(?:{inner})"
        case Concat(items):
            return "".join(_operand(item, captures) for item in items)
        case Alternate(items):
            return "|".join(python_form(item, captures=captures) for item in items)
        case Repeat(item, least, most, greedy):
            inner = python_form(item, captures=captures)
            count = f"{{{least},{'' if most is None else most}}}"
            return f"(?:{inner}){count}{'' if greedy else '?'}"


def _operand(node: Node, captures: bool) -> str:
    form = python_form(node, captures=captures)
    return f"(?:{form})" if isinstance(node, Alternate) else form


def _class(mask: int) -> str:
    if mask == 0:
        return "(?!)"
    if mask & (mask - 1) == 0:
        return re.escape(chr(mask.bit_length() - 1))
    if mask == ALL:
        return r"[\x00-\xff]"
    ranges: list[str] = []
    low = 0
    while low < 256:
        if not mask >> low & 1:
            low += 1
            continue
        high = low
        while high < 255 and mask >> (high + 1) & 1:
            high += 1
        ranges.append(f"\\x{low:02x}-\\x{high:02x}" if high > low else f"\\x{low:02x}")
        low = high + 1
    return f"[{''.join(ranges)}]"
