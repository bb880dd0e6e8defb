"""Envoy's substitution format: `%REQ(x-user)%`, `%DOWNSTREAM_REMOTE_ADDRESS%` and their kin.

A format is parsed when configuration arrives; what it names is read when it is evaluated. The
commands are in `format_commands`. Source: Envoy, SubstitutionFormatParser.
"""

import re
from dataclasses import dataclass
from typing import Final

from meshsdk.errors import ConfigError
from meshsdk.matching.octets import octets
from meshsdk.resources.format_commands import COMMANDS, NOT_BUILT, NUMBERS
from meshsdk.resources.format_values import Command, Values
from meshsdk.resources.log_commands import LOG_COMMANDS, LOG_NUMBERS, no_value

_COMMAND: Final = re.compile(r"%([A-Z0-9_]+)(?:\((.*?)\))?(?::([0-9]+))?%")
# Header formats of old: %UPSTREAM_METADATA(["ns", "key"])% is %UPSTREAM_METADATA(ns:key)%.
_JSON_ARGUMENT: Final = re.compile(
    r'%((?:UPSTREAM|DYNAMIC)_METADATA)\(\s*\[((?:\s*"[^"]*"\s*,?)*)\s*\]\s*\)%'
)
_QUOTED: Final = re.compile(r'"([^"]*)"')
_PER_REQUEST_STATE: Final = re.compile(r"%PER_REQUEST_STATE\(([^)]*)\)%")

Piece = str | Command


@dataclass(frozen=True, slots=True)
class Format:
    """A parsed format string."""

    pieces: tuple[Piece, ...]
    not_built: tuple[str, ...] = ()
    """Commands that Envoy has and meshsdk does not."""
    is_number: bool = False
    """Whether it is one command whose values are numbers."""

    @property
    def constant(self) -> str | None:
        """The text, where there is no command in it."""
        if not self.pieces:
            return ""
        only = self.pieces[0]
        return only if len(self.pieces) == 1 and isinstance(only, str) else None

    def render(self, values: Values, missing: str = "") -> str:
        """The text for one call; `missing` stands for what has no value (headers: nothing, logs
        and bodies: `-`)."""
        parts: list[str] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                parts.append(piece)
            else:
                found = piece(values)
                parts.append(missing if found is None else found)
        return "".join(parts)


def parse_format(text: str, path: str, *, is_log: bool = False) -> Format:
    """A format string; ConfigError at `path` where Envoy refuses it.

    `is_log`: of an access log, which knows how the call ended.
    """
    pieces: list[Piece] = []
    not_built: list[str] = []
    plain: list[str] = []
    name = ""
    at = 0
    while at < len(text):
        if text[at] != "%":
            end = text.find("%", at)
            end = len(text) if end < 0 else end
            plain.append(text[at:end])
            at = end
            continue
        if text.startswith("%%", at):
            plain.append("%")
            at += 2
            continue
        found = _COMMAND.match(text, at)
        if found is None:
            raise ConfigError(path, f"expected a command at position {at} of {text!r}")
        if plain:
            pieces.append(octets("".join(plain)))
            plain = []
        name = found[1]
        if is_log and name in LOG_COMMANDS:
            pieces.append(_limited(LOG_COMMANDS[name](found[2], path), found[3]))
        elif name in NOT_BUILT:
            not_built.append(f"{path}: %{name}%")
            if is_log:
                pieces.append(no_value)
        else:
            pieces.append(_command(name, found[2], found[3], path))
        at = found.end()
    if plain:
        pieces.append(octets("".join(plain)))
    is_number = len(pieces) == 1 and not plain and name in (LOG_NUMBERS if is_log else NUMBERS)
    return Format(tuple(pieces), tuple(not_built), is_number)


def parse_header_format(text: str, path: str) -> Format:
    """A format in a header value, where two older notations are understood too."""
    text = _JSON_ARGUMENT.sub(lambda m: f"%{m[1]}({':'.join(_QUOTED.findall(m[2]))})%", text)
    text = _PER_REQUEST_STATE.sub(r"%FILTER_STATE(\1:PLAIN)%", text)
    return parse_format(text, path)


def _command(name: str, argument: str | None, length: str | None, path: str) -> Command:
    build = COMMANDS.get(name)
    if build is None:
        raise ConfigError(path, f"expected a command of Envoy's, found %{name}%")
    return _limited(build(argument, path), length)


def _limited(command: Command, length: str | None) -> Command:
    """A command whose values are cut where the format says so."""
    if length is None:
        return command
    limit = int(length)

    def shortened(values: Values) -> str | None:
        found = command(values)
        return None if found is None else found[:limit]

    return shortened
