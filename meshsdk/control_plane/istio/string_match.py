"""StringMatch of routes: exact, prefix, or a regular expression that must match whole."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.spec_fields import Fields, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.matching.regex_syntax import parse
from meshsdk.matching.regex_tree import RefusedError, UnprovedError

How: TypeAlias = Literal["exact", "prefix", "regex", "present"]

_MATCH: Final[Fields] = fields("exact", "prefix", "regex")


@dataclass(frozen=True, slots=True)
class StringMatch:
    """`present` where the message is empty: any value."""

    how: How = "present"
    value: str = ""

    def envoy(self) -> Json:
        """A StringMatcher; not for `present`."""
        if self.how == "regex":
            return {"safe_regex": {"regex": self.value}}
        return {self.how: self.value}


def parse_string_match(reader: SpecReader) -> StringMatch:
    """SpecError where RE2 would refuse the expression."""
    chosen = reader.one_of("exact", "prefix", "regex")
    match chosen:
        case None:
            return StringMatch()
        case "exact" | "prefix":
            return StringMatch(chosen, reader.string(chosen))
        case _:
            return StringMatch("regex", checked_regex(reader, "regex"))


def optional_string_match(reader: SpecReader, name: str) -> StringMatch | None:
    """A field that is a StringMatch, None when unset."""
    found = reader.message(name, _MATCH)
    return None if found is None else parse_string_match(found)


def string_matches(reader: SpecReader, name: str) -> dict[str, StringMatch]:
    """A map of StringMatch, by key."""
    found: dict[str, StringMatch] = {}
    for key, item in reader.entries(name, _MATCH):
        if not key:
            raise reader.error_at(name, "expected keys that are not empty")
        found[key] = parse_string_match(item)
    return found


def checked_regex(reader: SpecReader, name: str) -> str:
    """An expression that RE2 takes."""
    pattern = reader.required_string(name)
    try:
        parse(pattern.encode(errors="replace").decode("latin-1"))
    except RefusedError as error:
        raise reader.error_at(name, f"RE2 refuses {pattern!r}: {error}") from None
    except UnprovedError:
        pass  # RE2 may take it, and who runs it says so
    return pattern


FIELDS: Final = _MATCH
