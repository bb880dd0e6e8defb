"""RE2's expression syntax on octets, parsed into a tree.

What RE2 refuses raises `RefusedError`; what this parser does not vouch for (Unicode groups, names
beyond ASCII, repeated assertions) raises `UnprovedError`: only RE2 itself can run that.
Source: RE2's syntax page and its Perl-like default flags in Latin-1 mode.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.matching.regex_tree import (
    ALL,
    DOT,
    PERL,
    POSIX,
    WORD,
    Alternate,
    Assertion,
    Chars,
    Concat,
    Group,
    Node,
    RefusedError,
    Repeat,
    Tree,
    UnprovedError,
    fold,
    octet_of,
    room_for_repeats,
    span,
)

_ESCAPES: Final = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_MAX_REPEAT: Final = 1000  # RE2: kMaxRepeat, also for the product of nested repeats
_MAX_DEPTH: Final = 60


@dataclass(frozen=True, slots=True)
class _Flags:
    ignore_case: bool = False
    multi_line: bool = False
    dot_newline: bool = False
    ungreedy: bool = False


class _Parser:
    """Recursive descent over the expression; `at` is the next octet."""

    __slots__ = ("at", "depth", "groups", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.groups = 0
        self.depth = 0

    def parse(self) -> Tree:
        root = self._alternation(_Flags())
        if self.at < len(self.text):
            raise RefusedError("unexpected )")
        return Tree(root, self.groups)

    def _peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def _take(self, expected: str) -> bool:
        if self.text.startswith(expected, self.at):
            self.at += len(expected)
            return True
        return False

    def _alternation(self, flags: _Flags) -> Node:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise UnprovedError("nested too deeply")
        branches: list[Node] = []
        items: list[Node] = []
        repeatable = False
        while (c := self._peek()) and c != ")":
            if c == "|":
                self.at += 1
                branches.append(_concat(items))
                items, repeatable = [], False
            elif (changed := self._flag_group(flags)) is not None:
                flags, repeatable = changed, False
                self._refuse_repeat_after_flags(bool(items))
            elif self._take("\\Q"):
                repeatable = self._quoted(items, flags) or repeatable
            else:
                bounds = self._repetition()
                if bounds is None:
                    items.append(self._atom(flags))
                    repeatable = True
                elif not items:
                    raise RefusedError("missing argument to repetition operator")
                elif not repeatable:
                    raise RefusedError("bad repetition operator")
                else:
                    items.append(self._repeat(items.pop(), bounds, flags))
                    repeatable = False
        branches.append(_concat(items))
        self.depth -= 1
        return branches[0] if len(branches) == 1 else Alternate(tuple(branches))

    def _refuse_repeat_after_flags(self, has_items: bool) -> None:
        at = self.at
        if has_items and self._repetition() is not None:
            raise UnprovedError("a repetition after flags")
        self.at = at

    def _quoted(self, items: list[Node], flags: _Flags) -> bool:
        end = self.text.find("\\E", self.at)
        literal = self.text[self.at :] if end < 0 else self.text[self.at : end]
        self.at = len(self.text) if end < 0 else end + 2
        items.extend(self._char(ord(c), flags) for c in literal)
        return bool(literal)

    # -- repetition -------------------------------------------------------------------------

    def _repetition(self) -> tuple[int, int | None, bool] | None:
        """A repetition operator at this place: least, most, lazy; None where there is none."""
        match self._peek():
            case "*":
                bounds: tuple[int, int | None] = (0, None)
                self.at += 1
            case "+":
                bounds = (1, None)
                self.at += 1
            case "?":
                bounds = (0, 1)
                self.at += 1
            case "{":
                counted = self._counted()
                if counted is None:
                    return None
                bounds = counted
            case _:
                return None
        return bounds[0], bounds[1], self._take("?")

    def _counted(self) -> tuple[int, int | None] | None:
        """`{n}`, `{n,}` or `{n,m}`; None: the brace is a literal one."""
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : max(end, 0)].partition(",")
        if end < 0 or not _is_count(low) or (high and not _is_count(high)):
            return None
        least = int(low)
        most = (int(high) if high else None) if comma else least
        if least > _MAX_REPEAT or (most is not None and (most > _MAX_REPEAT or least > most)):
            raise RefusedError("invalid repetition size")
        self.at = end + 1
        return least, most

    def _repeat(self, item: Node, bounds: tuple[int, int | None, bool], flags: _Flags) -> Node:
        least, most, lazy = bounds
        if isinstance(item, Assertion):
            raise UnprovedError("a repeated assertion")
        repeat = Repeat(item, least, most, lazy is flags.ungreedy)
        if (least >= 2 or (most or 0) >= 2) and room_for_repeats(repeat, _MAX_REPEAT) == 0:
            raise RefusedError("invalid repetition size")
        return repeat

    # -- atoms ------------------------------------------------------------------------------

    def _char(self, octet: int, flags: _Flags) -> Chars:
        mask = 1 << octet
        return Chars(fold(mask) if flags.ignore_case else mask)

    def _atom(self, flags: _Flags) -> Node:
        c = self._peek()
        match c:
            case "(":
                return self._group(flags)
            case "[":
                return Chars(self._class(flags))
            case ".":
                self.at += 1
                return Chars(ALL if flags.dot_newline else DOT)
            case "^":
                self.at += 1
                return Assertion("begin_line" if flags.multi_line else "begin_text")
            case "$":
                self.at += 1
                return Assertion("end_line" if flags.multi_line else "end_text")
            case "\\":
                return self._escape(flags)
            case _:
                self.at += 1
                return self._char(ord(c), flags)

    def _escape(self, flags: _Flags) -> Node:
        c = self._peek(2)[1:]
        kinds: dict[str, Assertion] = {
            "A": Assertion("begin_text"),
            "z": Assertion("end_text"),
            "b": Assertion("boundary"),
            "B": Assertion("no_boundary"),
        }
        if c in kinds:
            self.at += 2
            return kinds[c]
        if c == "C":
            self.at += 2
            return Chars(ALL)
        perl = self._perl_class(flags)
        return Chars(perl) if perl is not None else self._char(self._escaped_octet(), flags)

    def _perl_class(self, flags: _Flags) -> int | None:
        """`\\d` and its kin at this place, inside or outside of brackets."""
        c = self._peek(2)[1:]
        if c in ("p", "P") and c:
            raise UnprovedError("a Unicode group")
        mask = PERL.get(c.lower()) if c else None
        if mask is None:
            return None
        self.at += 2
        mask = fold(mask) if flags.ignore_case else mask
        return mask if c.islower() else ALL ^ mask

    def _escaped_octet(self) -> int:
        """The octet of an escape that stands for one."""
        self.at += 1
        c = self._peek()
        if not c:
            raise RefusedError("trailing \\")
        self.at += 1
        if c in _ESCAPES:
            return _ESCAPES[c]
        if c == "x":
            return self._hexadecimal()
        if c in "01234567":
            return self._octal(c)
        if ord(c) < 128 and (c == "_" or not (WORD >> ord(c)) & 1):
            return ord(c)
        raise RefusedError(f"invalid escape sequence: \\{c}")

    def _octal(self, first: str) -> int:
        digits = first
        if first != "0" and self._peek() not in tuple("01234567"):
            raise RefusedError(f"invalid escape sequence: \\{first}")
        while len(digits) < 3 and self._peek() in tuple("01234567"):
            digits += self._peek()
            self.at += 1
        return octet_of(int(digits, 8))

    def _hexadecimal(self) -> int:
        if self._take("{"):
            end = self.text.find("}", self.at)
            digits = self.text[self.at : end] if end > 0 else ""
            self.at = end + 1
        else:
            digits = self._peek(2)
            self.at += 2
            if len(digits) != 2:
                raise RefusedError("invalid escape sequence: \\x")
        if not digits or any(d not in "0123456789abcdefABCDEF" for d in digits):
            raise RefusedError("invalid escape sequence: \\x")
        return octet_of(int(digits, 16))

    # -- groups -----------------------------------------------------------------------------

    def _group(self, flags: _Flags) -> Node:
        self.at += 1
        index = 0
        inner = flags
        if self._take("?"):
            if self._take("P<") or (self._peek() == "<" and self._peek(2) not in ("<=", "<!")):
                index = self._named()
            else:
                inner = self._flags(flags, ":")
        else:
            self.groups += 1
            index = self.groups
        item = self._alternation(inner)
        if not self._take(")"):
            raise RefusedError("missing )")
        return Group(item, index) if index else item

    def _named(self) -> int:
        self._take("<")
        end = self.text.find(">", self.at)
        name = self.text[self.at : max(end, 0)]
        if end < 0 or not name:
            raise RefusedError(f"invalid named capture group: {name!r}")
        if any(ord(c) >= 128 for c in name):
            raise UnprovedError("a group name beyond ASCII")
        if any(not (WORD >> ord(c)) & 1 for c in name):
            raise RefusedError(f"invalid named capture group: {name!r}")
        self.at = end + 1
        self.groups += 1
        return self.groups

    def _flag_group(self, flags: _Flags) -> _Flags | None:
        """`(?i)` at this place: the flags for the rest of the group; None: something else."""
        if self._peek(2) != "(?" or self._peek(3) in ("(?P", "(?<"):
            return None
        end = self.at + 2
        while end < len(self.text) and self.text[end] in "imsU-":
            end += 1
        if self.text[end : end + 1] != ")":
            return None
        self.at += 2
        return self._flags(flags, ")")

    def _flags(self, flags: _Flags, end: str) -> _Flags:
        """The flags up to `end`, which is taken."""
        on = True
        seen = False
        values = {
            "i": flags.ignore_case,
            "m": flags.multi_line,
            "s": flags.dot_newline,
            "U": flags.ungreedy,
        }
        while not self._take(end):
            c = self._peek()
            if c in values and c:
                values[c], seen = on, True
            elif c == "-" and on:
                on, seen = False, False
            else:
                raise RefusedError("invalid or unsupported Perl syntax: (?" + c)
            self.at += 1
        if not on and not seen:
            raise RefusedError("missing flags after -")
        return _Flags(values["i"], values["m"], values["s"], values["U"])

    # -- classes ----------------------------------------------------------------------------

    def _class(self, flags: _Flags) -> int:
        self.at += 1
        negated = self._take("^")
        mask = 0
        first = True
        while first or self._peek() != "]":
            if not self._peek():
                raise RefusedError("missing ]")
            first = False
            mask |= self._class_item(flags)
        self.at += 1
        return ALL ^ mask if negated else mask

    def _class_item(self, flags: _Flags) -> int:
        if self._peek(2) == "[:":
            end = self.text.find(":]", self.at + 2)
            if end >= 0:
                return self._posix(self.text[self.at + 2 : end], end + 2, flags)
        if self._peek() == "\\":
            perl = self._perl_class(flags)
            if perl is not None:
                return perl
        low = self._class_octet()
        high = low
        if self._peek() == "-" and self._peek(2)[1:] not in ("]", ""):
            self.at += 1
            high = self._class_octet()
            if high < low:
                raise RefusedError("invalid character class range")
        mask = span(low, high)
        return fold(mask) if flags.ignore_case else mask

    def _class_octet(self) -> int:
        if self._peek() == "\\":
            return self._escaped_octet()
        if not self._peek():
            raise RefusedError("missing ]")
        self.at += 1
        return ord(self.text[self.at - 1])

    def _posix(self, name: str, end: int, flags: _Flags) -> int:
        mask = POSIX.get(name.removeprefix("^"))
        if mask is None:
            raise RefusedError(f"invalid character class range: [:{name}:]")
        self.at = end
        mask = fold(mask) if flags.ignore_case else mask
        return ALL ^ mask if name.startswith("^") else mask


def parse(expression: str) -> Tree:
    """The tree of an expression, which is the latin-1 view of its octets."""
    return _Parser(expression).parse()


def _concat(items: list[Node]) -> Node:
    return items[0] if len(items) == 1 else Concat(tuple(items))


def _is_count(digits: str) -> bool:
    if not digits or any(d not in "0123456789" for d in digits):
        return False
    return len(digits) == 1 or digits[0] != "0"
