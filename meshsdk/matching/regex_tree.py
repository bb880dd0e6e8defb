"""The tree of an expression, and sets of octets."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias


class RefusedError(Exception):
    """RE2 does not take the expression."""


class UnprovedError(Exception):
    """RE2 may take it; nothing else here can."""


ALL: Final = (1 << 256) - 1
DOT: Final = ALL ^ (1 << 10)


@dataclass(frozen=True, slots=True)
class Chars:
    """One octet of a set; bit n stands for octet n."""

    mask: int


@dataclass(frozen=True, slots=True)
class Assertion:
    """A place between octets."""

    kind: Literal["begin_text", "end_text", "begin_line", "end_line", "boundary", "no_boundary"]


@dataclass(frozen=True, slots=True)
class Concat:
    """One after the other; empty matches the empty string."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Alternate:
    """The first that matches."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """Between `least` and `most` times; None: without end."""

    item: "Node"
    least: int
    most: int | None
    greedy: bool


@dataclass(frozen=True, slots=True)
class Group:
    """A capture, numbered from 1."""

    item: "Node"
    index: int


Node: TypeAlias = Chars | Assertion | Concat | Alternate | Repeat | Group
EMPTY: Final = Concat(())


@dataclass(frozen=True, slots=True)
class Tree:
    """A parsed expression."""

    root: Node
    groups: int


def span(low: int, high: int) -> int:
    """The set of octets low to high."""
    return (1 << (high + 1)) - (1 << low)


def _of(text: str) -> int:
    mask = 0
    for character in text:
        mask |= 1 << ord(character)
    return mask


DIGIT: Final = span(48, 57)
UPPER: Final = span(65, 90)
LOWER: Final = span(97, 122)
WORD: Final = DIGIT | UPPER | LOWER | _of("_")
PERL: Final = {"d": DIGIT, "s": _of("\t\n\f\r "), "w": WORD}
POSIX: Final = {
    "alnum": DIGIT | UPPER | LOWER,
    "alpha": UPPER | LOWER,
    "ascii": span(0, 127),
    "blank": _of("\t "),
    "cntrl": span(0, 31) | 1 << 127,
    "digit": DIGIT,
    "graph": span(33, 126),
    "lower": LOWER,
    "print": span(32, 126),
    "punct": span(33, 47) | span(58, 64) | span(91, 96) | span(123, 126),
    "space": _of("\t\n\v\f\r "),
    "upper": UPPER,
    "word": WORD,
    "xdigit": DIGIT | span(65, 70) | span(97, 102),
}


def fold(mask: int) -> int:
    """The set with the other case of each ASCII letter; in Latin-1 RE2 folds no other (observed)."""
    return mask | (mask & UPPER) << 32 | (mask >> 32) & UPPER


def room_for_repeats(node: Node, room: int) -> int:
    """What is left of RE2's bound on nested repeats at the deepest one."""
    match node:
        case Repeat():
            count = node.least if node.most is None else node.most
            return room_for_repeats(node.item, room // count if count > 0 else room)
        case Concat() | Alternate():
            return min((room_for_repeats(item, room) for item in node.items), default=room)
        case Group():
            return room_for_repeats(node.item, room)
        case _:
            return room


def octet_of(value: int) -> int:
    """A code point as an octet, as Latin-1 has it."""
    if value > 0x10FFFF:
        raise RefusedError("invalid escape sequence: beyond U+10FFFF")
    if value > 255:
        raise UnprovedError("a character beyond one octet")
    return value
