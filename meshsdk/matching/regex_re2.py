"""google-re2, where it is installed: the only module that imports it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol, cast

from meshsdk.matching.regex_tree import RefusedError


class _Match(Protocol):
    def span(self, group: int) -> tuple[int, int]: ...


class _Pattern(Protocol):
    groups: int

    def fullmatch(self, text: bytes) -> _Match | None: ...
    def search(self, text: bytes, pos: int) -> _Match | None: ...


class _Options(Protocol):
    encoding: object
    log_errors: bool
    never_capture: bool


class _Encoding(Protocol):
    LATIN1: object


class _OptionsType(Protocol):
    Encoding: _Encoding

    def __call__(self) -> _Options: ...


class _Module(Protocol):
    Options: _OptionsType
    error: type[Exception]

    def compile(self, pattern: bytes, options: _Options) -> _Pattern: ...


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression; values are latin-1 views of octets."""

    pattern: _Pattern

    @property
    def groups(self) -> int:
        """How many groups it captures."""
        return self.pattern.groups

    def fullmatch(self, value: str) -> bool:
        """Whether the whole value matches."""
        return self.pattern.fullmatch(value.encode("latin-1")) is not None

    def search(self, value: str, at: int) -> Sequence[tuple[int, int]] | None:
        """The spans of the first match at or after a place."""
        found = self.pattern.search(value.encode("latin-1"), at)
        if found is None:
            return None
        return [found.span(group) for group in range(self.groups + 1)]


@dataclass(frozen=True, slots=True)
class Re2:
    """The library, as far as it is used: octets only, silent."""

    module: _Module

    def compile(self, pattern: str, *, captures: bool) -> Program:
        """A program, or RefusedError with RE2's reason."""
        options = self.module.Options()
        options.encoding = self.module.Options.Encoding.LATIN1
        options.log_errors = False
        options.never_capture = not captures
        try:
            return Program(self.module.compile(pattern.encode("latin-1"), options))
        except self.module.error as error:
            reason = error.args[0] if error.args else ""
            text = reason.decode("latin-1") if isinstance(reason, bytes) else str(reason)
            raise RefusedError(text) from None


@cache
def find_re2() -> Re2 | None:
    """The library; None where it is not installed."""
    try:
        return Re2(cast("_Module", import_module("re2")))
    except ImportError:
        return None
