"""envoy.extensions.path.match.uri_template.v3 and its rewrite.

`*` is one segment that is not empty, `**` the rest of the path, `{name}` and `{name=pattern}` capture.
Source: Envoy 1.40, uri_template_internal (its bounds and its errors), and observation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.matching.path import without_query

TABLE: Final = MessageTable(
    "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
    honoured("path_template"),
    security=True,
)
REWRITE_TABLE: Final = MessageTable(
    "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig",
    honoured("path_template_rewrite"),
    security=True,
)
_PCHAR: Final = r"a-zA-Z0-9\-._~%!$&'()+,;:@=*"
_LITERAL: Final = re.compile(f"[{_PCHAR}]+")
_REWRITE_LITERAL: Final = re.compile(f"[{_PCHAR}/]*")
_PRINTABLE: Final = re.compile(r"/[!-~]*")
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,15}")
_VARIABLES: Final = 5


class _TemplateError(Exception):
    """What is wrong with a template, in Envoy's words."""


@dataclass(frozen=True, slots=True)
class UriTemplate:
    """A compiled path template."""

    text: str
    _envoy: re.Pattern[str]
    _any_octet: re.Pattern[str]
    names: tuple[str, ...] = ()

    def matches(self, path: str) -> bool:
        """Whether a `:path` matches; the query is not looked at."""
        return self._envoy.fullmatch(without_query(path)) is not None

    def matches_any_octet(self, path: str) -> bool:
        """The same where a segment may hold any octet: `[` and `]` open no way round a DENY.

        Stricter than Envoy: the threat model's `template-any-octet`.
        """
        return self._any_octet.fullmatch(without_query(path)) is not None

    def variables(self, path: str) -> Mapping[str, str] | None:
        """What the variables captured; None where the path does not match."""
        found = self._envoy.fullmatch(without_query(path))
        return None if found is None else found.groupdict()


@dataclass(frozen=True, slots=True)
class UriRewrite:
    """A compiled `path_template_rewrite`."""

    text: str
    parts: tuple[tuple[bool, str], ...]
    """Text, or (True) the name of a variable."""

    def apply(self, variables: Mapping[str, str]) -> str:
        """The new path, without a query."""
        return "".join(variables[part] if is_name else part for is_name, part in self.parts)


class _Compiler:
    """One template; `glob` and `rest` are what `*` and `**` may hold."""

    __slots__ = ("glob", "names", "rest", "saw_rest")

    def __init__(self, glob: str, rest: str) -> None:
        self.glob = glob
        self.rest = rest
        self.names: list[str] = []
        self.saw_rest = False

    def compile(self, text: str) -> re.Pattern[str]:
        if _PRINTABLE.fullmatch(text) is None:
            raise _TemplateError("Invalid pattern")
        form = "/"
        left = text[1:]
        while left:
            segment, left = self._segment(left)
            form += segment
            if left == "/":
                return re.compile(form + "/")
            if left.startswith("/"):
                form += "/"
                left = left[1:]
            elif left:
                if "/" in left:
                    raise _TemplateError("Prefix match not supported.")
                return re.compile(form + _literal(left))
        return re.compile(form)

    def _segment(self, text: str) -> tuple[str, str]:
        if text.startswith("*"):
            operator = "**" if text.startswith("**") else "*"
            return self._operator(operator), text[len(operator) :]
        if text.startswith("{"):
            inside, close, left = text[1:].partition("}")
            if not close:
                raise _TemplateError(f'Unmatched variable bracket in "{text}"')
            return self._variable(inside), left
        literal, _, _ = text.partition("/")
        return _literal(literal), text[len(literal) :]

    def _operator(self, operator: str) -> str:
        if self.saw_rest:
            raise _TemplateError("Glob after text glob.")
        if operator == "**":
            self.saw_rest = True
            return self.rest
        return self.glob

    def _variable(self, text: str) -> str:
        name, equals, pattern = text.partition("=")
        if _NAME.fullmatch(name) is None:
            raise _TemplateError(f'Invalid variable name: "{name}"')
        if name in self.names:
            raise _TemplateError(f'Repeated variable name: "{name}"')
        self.names.append(name)
        if len(self.names) > _VARIABLES:
            raise _TemplateError(f"Exceeded variable count limit ({_VARIABLES})")
        if not equals:
            return f"(?P<{name}>{self._operator('*')})"
        if not pattern:
            raise _TemplateError("Empty variable match")
        parts = [
            self._operator(part) if part in ("*", "**") else _literal(part)
            for part in pattern.split("/")
        ]
        return f"(?P<{name}>{'/'.join(parts)})"


def _literal(text: str) -> str:
    if (
        _LITERAL.fullmatch(text) is None
        or text.startswith("*")
        or "**" in text
        or text.count("*") > 2
    ):
        raise _TemplateError(f'Invalid literal: "{text}"')
    # Envoy leaves `*` in a literal to its regex engine: it repeats the octet before it (observed).
    return re.escape(text).replace(r"\*", "*")


def compile_uri_template(text: str, path: str) -> UriTemplate:
    """The template, or ConfigError at `path`."""
    envoy = _Compiler(f"[{_PCHAR}]+", f"[{_PCHAR}/]*")
    try:
        pattern = envoy.compile(text)
        any_octet = _Compiler("[^/]+", r"[\x00-\xff]*").compile(text)
    except _TemplateError as error:
        raise Reader({}, path).error(f"path template {text} is invalid: {error}") from None
    return UriTemplate(text, pattern, any_octet, tuple(envoy.names))


def parse_uri_template(reader: Reader) -> UriTemplate:
    """The template of a UriTemplateMatchConfig."""
    check(reader, TABLE)
    text = octets(reader.required_string("path_template"))
    return compile_uri_template(text, f"{reader.path}.path_template")


def parse_uri_rewrite(reader: Reader, template: UriTemplate) -> UriRewrite:
    """The rewrite of a UriTemplateRewriteConfig; ConfigError for a variable that is not captured."""
    check(reader, REWRITE_TABLE)
    field = "path_template_rewrite"
    text = octets(reader.required_string(field))
    parts: list[tuple[bool, str]] = []
    left = text
    while left:
        literal, bracket, left = left.partition("{")
        if _REWRITE_LITERAL.fullmatch(literal) is None:
            raise reader.error_at(field, f"expected a path with {{variables}}, found {text!r}")
        parts.append((False, literal))
        if bracket:
            name, close, left = left.partition("}")
            if not close or name not in template.names:
                raise reader.error_at(
                    field, f"expected one of the variables {template.names}, found {name!r}"
                )
            parts.append((True, name))
    return UriRewrite(text, tuple(part for part in parts if part[1]))
