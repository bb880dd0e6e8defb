"""envoy.type.matcher.v3.PathMatcher."""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.strings import StringMatcher, parse_string_matcher

TABLE: Final = MessageTable("envoy.type.matcher.v3.PathMatcher", honoured("path"), security=True)


def without_query(path: str) -> str:
    """A `:path` up to its query or fragment."""
    if "?" in path:
        path = path[: path.index("?")]
    return path[: path.index("#")] if "#" in path else path


@dataclass(frozen=True, slots=True)
class PathMatcher:
    """The path without query and fragment."""

    path: StringMatcher

    def matches(self, path: str) -> bool:
        """Whether a `:path` matches; the query is not looked at."""
        return self.path.matches(without_query(path))


def parse_path_matcher(reader: Reader) -> PathMatcher:
    """The matcher of an envoy.type.matcher.v3.PathMatcher."""
    check(reader, TABLE)
    reader.required("path")
    return PathMatcher(parse_string_matcher(reader.required_message("path")))


def without_parameters(path: str) -> str:
    """A path whose segments end at their `;` (ignore_path_parameters_in_path_matching)."""
    if ";" not in path:
        return path
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))
