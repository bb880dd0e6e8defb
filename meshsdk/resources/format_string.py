"""SubstitutionFormatString: a text or a JSON object made of substitution formats.

Source: envoy.config.core.v3.SubstitutionFormatString.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader
from meshsdk.resources.format_values import Values
from meshsdk.resources.substitution_format import Format, parse_format

FORMAT_STRING: Final = MessageTable(
    "envoy.config.core.v3.SubstitutionFormatString",
    {
        **honoured(
            "text_format", "text_format_source", "json_format", "omit_empty_values", "content_type"
        ),
        "formatters": not_built("formatter extensions"),
        "json_format_options": ignored("keys are sorted always"),
    },
)
_SOURCE: Final = MessageTable(
    "envoy.config.core.v3.DataSource",
    {
        **honoured("inline_bytes", "inline_string"),
        "filename": not_built("files named by the control plane"),
        "environment_variable": not_built("environment named by the control plane"),
    },
)
TABLES: Final = (FORMAT_STRING,)
_MISSING: Final = "-"

Node: TypeAlias = "Format | Mapping[str, Node] | tuple[Node, ...] | bool | int | float | None"


@dataclass(frozen=True, slots=True)
class FormatString:
    """A text format, or a JSON one."""

    text: Format | None
    members: "Mapping[str, Node] | None"
    content_type: str
    omit_empty: bool = False
    not_built: tuple[str, ...] = ()

    def render(self, values: Values) -> str:
        """The text for one call, as latin-1 octets; JSON ends with a line feed, as Envoy's does."""
        if self.text is not None:
            return self.text.render(values, "" if self.omit_empty else _MISSING)
        made = self._made(self.members, values)
        text = json.dumps(made, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        return text.encode().decode("latin-1") + "\n"

    def _made(self, node: "Node", values: Values) -> object:
        match node:
            case Format():
                return _typed(node, values, "" if self.omit_empty else _MISSING)
            case tuple():
                return [self._made(item, values) for item in node]
            case Mapping():
                made = {key: self._made(item, values) for key, item in node.items()}
                if self.omit_empty:
                    return {key: item for key, item in made.items() if item is not None}
                return made
            case _:
                return node


def _typed(text: Format, values: Values, missing: str) -> object:
    """A single command keeps its type: numbers are numbers, what is missing is null."""
    if len(text.pieces) == 1 and not isinstance(text.pieces[0], str):
        found = text.pieces[0](values)
        if found is None:
            return None
        if text.is_number and found.lstrip("-").isdecimal():
            return int(found)
        return _unicode(found)
    return _unicode(text.render(values, missing))


def _unicode(octets: str) -> str:
    return octets.encode("latin-1").decode("utf-8", "replace")


def parse_format_string(reader: Reader, *, is_log: bool = False) -> FormatString:
    """A SubstitutionFormatString; ConfigError where Envoy refuses it."""
    missing = list(check(reader, FORMAT_STRING))
    kind = reader.required("text_format", "text_format_source", "json_format")
    text: Format | None = None
    members: Mapping[str, Node] | None = None
    if kind == "json_format":
        members = {
            key: _node(value, f"{reader.path}.json_format.{key}", missing, is_log)
            for key, value in reader.struct("json_format").items()
        }
    else:
        text = parse_format(_text(reader, kind, missing), f"{reader.path}.{kind}", is_log=is_log)
        missing.extend(text.not_built)
    return FormatString(
        text,
        members,
        reader.string("content_type") or ("text/plain" if members is None else "application/json"),
        reader.boolean("omit_empty_values"),
        tuple(missing),
    )


def _text(reader: Reader, kind: str, missing: list[str]) -> str:
    if kind == "text_format":
        return reader.string(kind)
    source = reader.required_message(kind)
    missing.extend(check(source, _SOURCE))
    return source.string("inline_string") or source.octets("inline_bytes").decode(
        "utf-8", "replace"
    )


def _node(value: object, path: str, missing: list[str], is_log: bool) -> Node:
    match value:
        case str():
            text = parse_format(value, path, is_log=is_log)
            missing.extend(text.not_built)
            return text
        case Mapping():
            fields = cast("Mapping[str, object]", value)
            return {
                key: _node(item, f"{path}.{key}", missing, is_log) for key, item in fields.items()
            }
        case list() | tuple():
            items = cast("list[object]", value)
            return tuple(
                _node(item, f"{path}[{i}]", missing, is_log) for i, item in enumerate(items)
            )
        case bool() | int() | float() | None:
            return value
        case _:
            return None
