"""RouteAction.HashPolicy: what a call's hash is made of; `routing/hash.py` makes it."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.octets import lower, octets
from meshsdk.matching.regex import Substitution, parse_substitution

_KINDS: Final = ("header", "cookie", "connection_properties", "query_parameter", "filter_state")
HASH_POLICY: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy", honoured(*_KINDS, "terminal")
)
HEADER: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy.Header",
    honoured("header_name", "regex_rewrite"),
)
COOKIE: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy.Cookie",
    honoured("name", "ttl", "path", "attributes"),
)
COOKIE_ATTRIBUTE: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute", honoured("name", "value")
)
CONNECTION_PROPERTIES: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties", honoured("source_ip")
)
QUERY_PARAMETER: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter", honoured("name")
)
FILTER_STATE: Final = MessageTable(
    "envoy.config.route.v3.RouteAction.HashPolicy.FilterState", honoured("key")
)
TABLES: Final = (
    HASH_POLICY,
    HEADER,
    COOKIE,
    COOKIE_ATTRIBUTE,
    CONNECTION_PROPERTIES,
    QUERY_PARAMETER,
    FILTER_STATE,
)


@dataclass(frozen=True, slots=True)
class HeaderHash:
    """Every value of a field, sorted."""

    name: str
    rewrite: Substitution | None = None


@dataclass(frozen=True, slots=True)
class CookieHash:
    """A cookie's value; where it is missing and `ttl` is set, one is made up and sent."""

    name: str
    ttl: float | None = None
    """Seconds; 0 is a session cookie; None: never made up."""
    path: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceIpHash:
    """The client's address."""


@dataclass(frozen=True, slots=True)
class QueryParameterHash:
    """The first value of a query parameter."""

    name: str


@dataclass(frozen=True, slots=True)
class FilterStateHash:
    """A filter state object."""

    key: str


HashSource: TypeAlias = (
    HeaderHash | CookieHash | SourceIpHash | QueryParameterHash | FilterStateHash
)


@dataclass(frozen=True, slots=True)
class HashPolicy:
    """One source; a terminal one ends the search once there is a hash."""

    source: HashSource
    terminal: bool = False


def parse_hash_policy(reader: Reader) -> HashPolicy | None:
    """A hash policy; None for one that hashes nothing (source_ip: false)."""
    check(reader, HASH_POLICY)
    kind = reader.required(*_KINDS)
    source = _source(kind, reader.required_message(kind))
    return None if source is None else HashPolicy(source, reader.boolean("terminal"))


def _source(kind: str, reader: Reader) -> HashSource | None:
    match kind:
        case "header":
            check(reader, HEADER)
            rewrite = reader.message("regex_rewrite")
            return HeaderHash(
                lower(octets(reader.required_string("header_name"))),
                None if rewrite is None else parse_substitution(rewrite),
            )
        case "cookie":
            check(reader, COOKIE)
            return CookieHash(
                octets(reader.required_string("name")),
                reader.optional_duration("ttl"),
                octets(reader.string("path")),
                reader.each("attributes", _attribute),
            )
        case "connection_properties":
            check(reader, CONNECTION_PROPERTIES)
            return SourceIpHash() if reader.boolean("source_ip") else None
        case "query_parameter":
            check(reader, QUERY_PARAMETER)
            return QueryParameterHash(octets(reader.required_string("name")))
        case _:
            check(reader, FILTER_STATE)
            return FilterStateHash(reader.required_string("key"))


def _attribute(reader: Reader) -> tuple[str, str]:
    check(reader, COOKIE_ATTRIBUTE)
    return octets(reader.required_string("name")), octets(reader.string("value"))
