"""Mutations of query parameters: the `query_parameter_mutations` of header_mutation.

Source: Envoy, Http::Utility::QueryParamsMulti: parameters are decoded, sorted by name, and
written as they then are. Where meshsdk is strict, what is not changed keeps its encoding and new
text is encoded, so that no value becomes a parameter of its own.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import quote

from meshsdk.call.context import CallContext
from meshsdk.call.endpoint import NO_METADATA
from meshsdk.call.message import Request
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, refused
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.resources.format_values import Values
from meshsdk.resources.substitution_format import Format, parse_format

MUTATION: Final = MessageTable(
    "envoy.config.core.v3.KeyValueMutation", honoured("append", "remove")
)
APPEND: Final = MessageTable(
    "envoy.config.core.v3.KeyValueAppend",
    {**honoured("record", "action"), "entry": refused("no record specified")},
)
RECORD: Final = MessageTable("envoy.config.core.v3.KeyValuePair", honoured("key", "value"))
TABLES: Final = (MUTATION, APPEND, RECORD)
_ENCODED: Final = re.compile("%([0-9A-Fa-f]{2})")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f#]")
"""Octets that would end a request target, or make it another one."""


class Action(Enum):
    """KeyValueAppendAction."""

    APPEND_IF_EXISTS_OR_ADD = "APPEND_IF_EXISTS_OR_ADD"
    ADD_IF_ABSENT = "ADD_IF_ABSENT"
    OVERWRITE_IF_EXISTS_OR_ADD = "OVERWRITE_IF_EXISTS_OR_ADD"
    OVERWRITE_IF_EXISTS = "OVERWRITE_IF_EXISTS"


_ACTIONS: Final = {action.value: action for action in Action}


@dataclass(frozen=True, slots=True)
class QueryMutation:
    """One mutation; without a value the parameter is removed."""

    name: str
    value: Format | None = None
    action: Action = Action.APPEND_IF_EXISTS_OR_ADD


@dataclass(frozen=True, slots=True)
class QueryMutations:
    """The mutations of one level, in their order."""

    mutations: tuple[QueryMutation, ...]
    decodes: bool
    """Whether parameters come out decoded, as Envoy writes them."""

    @property
    def not_built(self) -> tuple[str, ...]:
        """Format commands without code."""
        return tuple(n for m in self.mutations if m.value is not None for n in m.value.not_built)

    def apply(self, request: Request, context: CallContext) -> str:
        """The `:path` afterwards."""
        path, _, query = request.path.partition("?")
        parameters = self._split(query)
        values = Values(context, request, None, context.route_metadata or NO_METADATA)
        for mutation in self.mutations:
            name = mutation.name
            if mutation.value is None:
                parameters.pop(name, None)
                continue
            text = self._written(name, mutation.value.render(values))
            present = name in parameters
            match mutation.action:
                case Action.APPEND_IF_EXISTS_OR_ADD:
                    parameters.setdefault(name, []).append(text)
                case Action.ADD_IF_ABSENT if not present:
                    parameters[name] = [text]
                case Action.OVERWRITE_IF_EXISTS if present:
                    parameters[name] = [text]
                case Action.OVERWRITE_IF_EXISTS_OR_ADD:
                    parameters[name] = [text]
                case _:
                    pass
        written = "&".join(text for name in sorted(parameters) for text in parameters[name])
        return f"{path}?{written}" if written else path

    def _split(self, query: str) -> dict[str, list[str]]:
        """The parameters by decoded name, each as it will be written."""
        found: dict[str, list[str]] = {}
        for parameter in query.removesuffix("&").split("&") if query else ():
            name, equals, value = parameter.partition("=")
            decoded = _decoded(name)
            if self.decodes:
                text = _sendable(f"{decoded}={_decoded(value)}")
            else:
                text = parameter if equals else f"{name}="
            found.setdefault(decoded, []).append(text)
        return found

    def _written(self, name: str, value: str) -> str:
        if self.decodes:
            return _sendable(f"{name}={value}")
        return f"{_encoded(name)}={_encoded(value)}"


def _decoded(text: str) -> str:
    """Percent-decoded; what is no such code stays (Envoy, PercentEncoding::decode)."""
    return _ENCODED.sub(lambda found: chr(int(found[1], 16)), text)


def _encoded(text: str) -> str:
    return quote(text.encode("latin-1"), safe="-._~!$'()*,;:@/?")


def _sendable(text: str) -> str:
    """Envoy sends such octets as they are, which tears the request apart."""
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", text)


def parse_query_mutations(reader: Reader, extensions: Extensions) -> QueryMutations | None:
    """The `query_parameter_mutations` of a level; None where there are none."""
    found = reader.each("query_parameter_mutations", _mutation)
    return QueryMutations(found, decodes=extensions.compat == "envoy") if found else None


def _mutation(reader: Reader) -> QueryMutation:
    check(reader, MUTATION)
    added = reader.message("append")
    if added is None:
        return QueryMutation(octets(reader.required_string("remove")))
    check(added, APPEND)
    record = added.required_message("record")
    check(record, RECORD)
    value = record.plain("value")
    if not isinstance(value, str):
        raise record.error_at("value", "only a string is allowed for a query parameter")
    return QueryMutation(
        octets(record.required_string("key")),
        parse_format(value, f"{record.path}.value"),
        added.enum("action", _ACTIONS, "APPEND_IF_EXISTS_OR_ADD"),
    )
