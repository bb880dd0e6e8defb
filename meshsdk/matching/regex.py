"""RE2 expressions on octets: envoy.type.matcher.v3.RegexMatcher and RegexMatchAndSubstitute.

Literals, and literals joined by `.*` or `.+`, need no engine. What is left runs on google-re2
where that is installed (`meshsdk[re2]`), else on `re` where a proof says that it is linear there;
else it is refused.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.octets import octets
from meshsdk.matching.regex_globs import Glob, compile_globs, globs_of
from meshsdk.matching.regex_proof import is_linear, is_linear_search, python_form
from meshsdk.matching.regex_re2 import Re2, find_re2
from meshsdk.matching.regex_syntax import parse
from meshsdk.matching.regex_tree import RefusedError, Tree, UnprovedError

REGEX_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.RegexMatcher",
    {
        **honoured("regex"),
        "google_re2": ignored("the engine is always RE2 or proved to agree with it"),
    },
    security=True,
)
SUBSTITUTE_TABLE: Final = MessageTable(
    "envoy.type.matcher.v3.RegexMatchAndSubstitute",
    honoured("pattern", "substitution"),
    security=True,
)
_UNPROVED: Final = (
    "is not proved to run in linear time without RE2 ({}): install the extra meshsdk[re2]"
)
Spans: TypeAlias = Sequence[tuple[int, int]]
Search: TypeAlias = Callable[[str, int], Spans | None]
"""The spans of the match at or after a place, group 0 first; (-1, -1) where a group has no part."""


@dataclass(frozen=True, slots=True)
class Regex:
    """A compiled expression. Values are latin-1 views of octets."""

    pattern: str
    """The latin-1 view of the expression as configured."""
    fullmatch: Callable[[str], bool]
    """Whether the whole value matches."""
    globs: tuple[Glob, ...] | None = None
    """The alternatives where they are that simple: indexes are built from them."""


@dataclass(frozen=True, slots=True)
class Substitution:
    """A compiled RegexMatchAndSubstitute."""

    search: Search
    rewrite: tuple[str | int, ...] | None
    """Text, and groups by number; None replaces nothing."""

    def apply(self, value: str) -> str:
        """The value with every match replaced, as RE2::GlobalReplace does it."""
        if self.rewrite is None:
            return value
        out: list[str] = []
        at = 0
        last_end = -1
        while at <= len(value):
            spans = self.search(value, at)
            if spans is None:
                break
            begin, end = spans[0]
            out.append(value[at:begin])
            if begin == end == last_end:
                # An empty match right after a match is none: step over one octet.
                out.append(value[begin : begin + 1])
                at = begin + 1
                continue
            for part in self.rewrite:
                out.append(part if isinstance(part, str) else value[slice(*_placed(spans[part]))])
            at = last_end = end
        out.append(value[at:])
        return "".join(out)


def _placed(found: tuple[int, int]) -> tuple[int, int]:
    return (0, 0) if found[0] < 0 else found


def compile_regex(pattern: str, path: str) -> Regex:
    """The expression, or ConfigError at `path` where RE2 refuses it or nothing here can run it.

    `pattern` is the latin-1 view of its octets.
    """
    try:
        return compile_with(pattern, find_re2())
    except RefusedError as error:
        raise ConfigError(path, f"RE2 refuses {pattern!r}: {error}") from None
    except UnprovedError as error:
        raise ConfigError(path, f"{pattern!r} {_UNPROVED.format(error)}") from None


def compile_substitution(pattern: str, rewrite: str, path: str) -> Substitution:
    """The substitution, or ConfigError as `compile_regex`."""
    try:
        search, groups = compile_search_with(pattern, find_re2())
        return Substitution(search, _parse_rewrite(rewrite, groups))
    except RefusedError as error:
        raise ConfigError(path, f"RE2 refuses {pattern!r}: {error}") from None
    except UnprovedError as error:
        raise ConfigError(path, f"{pattern!r} {_UNPROVED.format(error)}") from None


@lru_cache(maxsize=2048)
def compile_with(pattern: str, re2: Re2 | None) -> Regex:
    """The expression on a given engine; RefusedError and UnprovedError as the parser raises them.

    The cache holds equal expressions of many policies once.
    """
    program = None if re2 is None else re2.compile(pattern, captures=False)
    try:
        tree = parse(pattern)
    except UnprovedError:
        if program is None:
            raise
        return Regex(pattern, program.fullmatch)
    globs = globs_of(tree)
    if globs is not None:
        return Regex(pattern, compile_globs(globs), globs)
    if program is not None:
        return Regex(pattern, program.fullmatch)
    return Regex(pattern, _python_fullmatch(tree))


def _python_fullmatch(tree: Tree) -> Callable[[str], bool]:
    if not is_linear(tree):
        raise UnprovedError("it is ambiguous")
    fullmatch = re.compile(python_form(tree.root, captures=False), re.ASCII).fullmatch

    def matches(value: str) -> bool:
        return fullmatch(value) is not None

    return matches


@lru_cache(maxsize=512)
def compile_search_with(pattern: str, re2: Re2 | None) -> tuple[Search, int]:
    """The search for an expression on a given engine, and how many groups it captures."""
    if re2 is not None:
        program = re2.compile(pattern, captures=True)
        return program.search, program.groups
    tree = parse(pattern)
    if not is_linear_search(tree):
        raise UnprovedError("it is ambiguous")
    compiled = re.compile(python_form(tree.root, captures=True), re.ASCII)
    return _python_search(compiled), tree.groups


def _python_search(compiled: re.Pattern[str]) -> Search:
    def search(value: str, at: int) -> Spans | None:
        found = compiled.search(value, at)
        return None if found is None else found.regs

    return search


def _parse_rewrite(rewrite: str, groups: int) -> tuple[str | int, ...] | None:
    r"""Text and group numbers; `\0` to `\9` are groups, `\\` is a backslash.

    Envoy takes what RE2 cannot use (observed): a group too many replaces nothing (None), and what
    follows any other backslash is lost.
    """
    parts: list[str | int] = []
    text = ""
    at = 0
    while at < len(rewrite):
        c = rewrite[at]
        following = rewrite[at + 1 : at + 2]
        if c != "\\":
            text += c
            at += 1
        elif following == "\\":
            text += c
            at += 2
        elif following and following in "0123456789":
            parts += [text, int(following)]
            text = ""
            at += 2
        else:
            break
    parts.append(text)
    if any(isinstance(part, int) and part > groups for part in parts):
        return None
    return tuple(part for part in parts if part != "")


def parse_regex_matcher(reader: Reader) -> Regex:
    """The expression of a RegexMatcher."""
    check(reader, REGEX_TABLE)
    return compile_regex(octets(reader.required_string("regex")), f"{reader.path}.regex")


def parse_substitution(reader: Reader) -> Substitution:
    """The substitution of a RegexMatchAndSubstitute."""
    check(reader, SUBSTITUTE_TABLE)
    pattern = reader.required_message("pattern")
    check(pattern, REGEX_TABLE)
    rewrite = octets(reader.string("substitution"))
    return compile_substitution(octets(pattern.required_string("regex")), rewrite, reader.path)
