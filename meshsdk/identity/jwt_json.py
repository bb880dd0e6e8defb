"""JSON objects as Envoy's parser reads them into a google.protobuf.Struct.

It takes a comma before a closing bracket, strings in single quotes, bare keys and control
characters in strings; it refuses repeated keys, lone surrogates, numbers beyond a double, and more
than 100 levels. Every number is a double. Observed on Envoy 1.40.
"""

import json
import re
from collections.abc import Mapping
from typing import Final, NoReturn, TypeAlias

Json: TypeAlias = "Mapping[str, Json] | list[Json] | str | float | int | bool | None"

_DEPTH: Final = 100
_EXACT: Final = 1 << 53
"""Beyond it not every integer is a double."""


class _BadJsonError(ValueError):
    """The text is none that the parser takes."""


def parse_object(octets: bytes) -> Mapping[str, Json] | None:
    """The object, or None when the text is none; `null` is the empty object."""
    try:
        text = octets.decode("utf-8")
        found: Json
        if octets.count(b"{") + octets.count(b"[") > _DEPTH:
            found = _Parser(text).document()
        else:
            try:
                found = _STANDARD.decode(text)
            except json.JSONDecodeError:
                found = _Parser(text).document()
            if "\\u" in text:
                json.dumps(found, ensure_ascii=False).encode("utf-8")  # a lone surrogate raises
    except (ValueError, OverflowError, RecursionError):
        return None
    if found is None:
        return {}
    return found if isinstance(found, Mapping) else None


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _BadJsonError("a key is repeated")
    return found


def _integer(text: str) -> float | int:
    # A text this long is no double either; int() would take quadratic time for it.
    number = int(text) if len(text) <= 400 else float("inf")
    return number if -_EXACT <= number <= _EXACT else _number(text)


def _number(text: str) -> float | int:
    number = float(text)
    if number - number != 0.0:
        raise _BadJsonError("a number is out of range")
    return int(number) if number.is_integer() else number


def _constant(text: str) -> NoReturn:
    raise _BadJsonError(f"{text} is no JSON")


_STANDARD: Final = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_int=_integer,
    parse_float=_number,
    parse_constant=_constant,
    strict=False,
)

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?(?![\w.+-])")
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LITERALS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None}
_ESCAPES: Final = {
    "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "\\": "\\", "/": "/", '"': '"', "'": "'",
}  # fmt: skip
_PLAIN: Final = {'"': re.compile(r'[^"\\]*'), "'": re.compile(r"[^'\\]*")}
_UNICODE: Final = re.compile(r"[0-9A-Fa-f]{4}")


class _Parser:
    """What the standard decoder refuses and Envoy may take. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def document(self) -> Json:
        found = self.value(0)
        if self.peek():
            raise _BadJsonError("text after the value")
        return found

    def peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.text[self.at : self.at + 1]

    def take(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.at += 1
        return True

    def expect(self, character: str) -> None:
        if not self.take(character):
            raise _BadJsonError(f"expected {character!r}")

    def value(self, depth: int) -> Json:
        match self.peek():
            case "{":
                return self.object(depth + 1)
            case "[":
                return self.array(depth + 1)
            case '"' | "'":
                return self.string()
            case _:
                return self.scalar()

    def scalar(self) -> Json:
        number = _NUMBER.match(self.text, self.at)
        if number is not None:
            self.at = number.end()
            return _number(number[0]) if number[1] or number[2] else _integer(number[0])
        word = self.word()
        if word not in _LITERALS:
            raise _BadJsonError("expected a value")
        return _LITERALS[word]

    def word(self) -> str:
        match = _WORD.match(self.text, self.at)
        if match is None:
            raise _BadJsonError("expected a word")
        self.at = match.end()
        return match[0]

    def object(self, depth: int) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for _ in self.items("{", "}", depth):
            if self.peek() in ('"', "'"):
                key = self.string()
            else:
                key = self.word()
                if key in _LITERALS:
                    raise _BadJsonError("a literal is no key")
            if key in found:
                raise _BadJsonError("a key is repeated")
            self.expect(":")
            found[key] = self.value(depth)
        return found

    def array(self, depth: int) -> list[Json]:
        return [self.value(depth) for _ in self.items("[", "]", depth)]

    def items(self, opening: str, closing: str, depth: int) -> "_Items":
        if depth > _DEPTH:
            raise _BadJsonError("nested too deeply")
        self.expect(opening)
        return _Items(self, closing)

    def string(self) -> str:
        quote = self.text[self.at]
        self.at += 1
        parts: list[str] = []
        while True:
            plain = _PLAIN[quote].match(self.text, self.at)
            assert plain is not None
            parts.append(plain[0])
            self.at = plain.end() + 1
            match self.text[plain.end() : self.at]:
                case "":
                    raise _BadJsonError("a string has no end")
                case "\\":
                    parts.append(self.escaped())
                case _:
                    return "".join(parts)

    def escaped(self) -> str:
        character = self.text[self.at : self.at + 1]
        self.at += 1
        if character != "u":
            if character not in _ESCAPES:
                raise _BadJsonError("an unknown escape")
            return _ESCAPES[character]
        high = self.unit()
        if not 0xD800 <= high <= 0xDBFF:
            return chr(high)  # a lone low surrogate is found by `parse_object`
        if self.text[self.at : self.at + 2] != "\\u":
            raise _BadJsonError("a surrogate without its other half")
        self.at += 2
        low = self.unit()
        if not 0xDC00 <= low <= 0xDFFF:
            raise _BadJsonError("a surrogate without its other half")
        return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    def unit(self) -> int:
        match = _UNICODE.match(self.text, self.at)
        if match is None:
            raise _BadJsonError("expected four hexadecimal digits")
        self.at = match.end()
        return int(match[0], 16)


class _Items:
    """One step for each item between brackets; a comma may follow the last."""

    def __init__(self, parser: _Parser, closing: str) -> None:
        self.parser = parser
        self.closing = closing
        self.first = True

    def __iter__(self) -> "_Items":
        return self

    def __next__(self) -> None:
        if self.parser.take(self.closing):
            raise StopIteration
        if not self.first:
            self.parser.expect(",")
            if self.parser.take(self.closing):
                raise StopIteration
        self.first = False


# What protobuf's JSON printer escapes besides quote, backslash and C0: `<`, `>`, C1 and the format
# characters that could hide or reorder text.
_HIDDEN: Final = re.compile(
    "[<>\x7f-\x9f\xad\u0600-\u0603\u06dd\u070f\u17b4\u17b5\u200b-\u200f\u2028-\u202e"
    "\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000110bd\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f]"
)


def to_json(value: Json) -> str:
    """A claim as protobuf prints it, without blanks. Keys keep the token's order (Envoy: any)."""
    match value:
        case Mapping():
            pairs = (f"{_quoted(name)}:{to_json(item)}" for name, item in value.items())
            return f"{{{','.join(pairs)}}}"
        case list():
            return f"[{','.join(map(to_json, value))}]"
        case str():
            return _quoted(value)
        case bool() | None:
            return json.dumps(value)
        case _:
            short = f"{float(value):.15g}"
            return short if float(short) == value else f"{float(value):.17g}"


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return _HIDDEN.sub(lambda found: _escaped(found[0]), quoted)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
