"""envoy.config.route.v3.QueryParameterMatcher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

TABLE: Final = MessageTable(
    "envoy.config.route.v3.QueryParameterMatcher",
    honoured("name", "string_match", "present_match"),
    security=True,
)


def query_parameters(path: str) -> dict[str, str]:
    """The first value of each parameter of a `:path`, nothing decoded (Envoy, QueryParamsMulti)."""
    found: dict[str, str] = {}
    _, question, query = path.partition("?")
    if question:
        for parameter in query.split("&"):
            name, _, value = parameter.partition("=")
            found.setdefault(name, value)
    return found


@dataclass(frozen=True, slots=True)
class QueryParameterMatcher:
    """One parameter: its first value, or only whether it is there."""

    name: str
    value: StringMatcher | None
    present: bool = True
    """What is expected where `value` is None."""

    def matches(self, parameters: Mapping[str, str]) -> bool:
        """Whether the parameters (`query_parameters`) match."""
        found = parameters.get(self.name)
        if self.value is None:
            return (found is not None) is self.present
        return found is not None and self.value.matches(found)


def parse_query_parameter_matcher(reader: Reader) -> QueryParameterMatcher:
    """The matcher; neither kind set means that the parameter is there."""
    check(reader, TABLE)
    name = octets(reader.required_string("name"))
    if reader.one_of("string_match", "present_match") == "string_match":
        return QueryParameterMatcher(
            name, parse_string_matcher(reader.required_message("string_match"))
        )
    return QueryParameterMatcher(name, None, reader.boolean("present_match", True))
