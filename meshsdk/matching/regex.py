"""RE2 expressions on octets: envoy.type.matcher.v3.RegexMatcher and RegexMatchAndSubstitute."""

from dataclasses import dataclass
from typing import Final, Protocol

from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import octets

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


class Regex(Protocol):
    """A compiled expression. Values are latin-1 views of octets."""

    @property
    def pattern(self) -> str:
        """The expression as configured."""
        ...

    def fullmatch(self, value: str) -> bool:
        """Whether the whole value matches."""
        ...

    def substitute(self, value: str, rewrite: str) -> str:
        r"""Every match replaced, as RE2::GlobalReplace does; `\0` to `\9` are the groups."""
        ...


def compile_regex(pattern: str, path: str) -> Regex:
    """The expression, or ConfigError at `path` where RE2 refuses it or nothing here can run it
    in linear time (`meshsdk[re2]` runs all that RE2 takes)."""
    raise NotImplementedError


def check_rewrite(regex: Regex, rewrite: str, path: str) -> str:
    """A substitution for that expression, or ConfigError: a bad escape, a group too many."""
    raise NotImplementedError


def parse_regex_matcher(reader: Reader) -> Regex:
    """The expression of a RegexMatcher."""
    check(reader, REGEX_TABLE)
    return compile_regex(octets(reader.required_string("regex")), f"{reader.path}.regex")


@dataclass(frozen=True, slots=True)
class Substitution:
    """A compiled RegexMatchAndSubstitute."""

    regex: Regex
    rewrite: str

    def apply(self, value: str) -> str:
        """The value with every match replaced."""
        return self.regex.substitute(value, self.rewrite)


def parse_substitution(reader: Reader) -> Substitution:
    """The substitution of a RegexMatchAndSubstitute."""
    check(reader, SUBSTITUTE_TABLE)
    regex = parse_regex_matcher(reader.required_message("pattern"))
    rewrite = octets(reader.string("substitution"))
    return Substitution(regex, check_rewrite(regex, rewrite, f"{reader.path}.substitution"))
