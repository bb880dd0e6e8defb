"""Where tokens are found in a request, and how they are taken out of it. Source: Envoy, Extractor."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import quote

from meshsdk.call.message import Request
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.matching.cookie import cookies
from meshsdk.matching.octets import lower, octets

HEADER_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtHeader",
    honoured("name", "value_prefix"),
    security=True,
)
TABLES: Final = (HEADER_TABLE,)

_TOKEN_START: Final = re.compile(r"[A-Za-z0-9_.-]")
_NOT_IN_A_NAME: Final = re.compile(r"[\0\r\n]")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_PRINTABLE: Final = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True, slots=True)
class Issuers:
    """Whose tokens a place may hold; None: anybody's."""

    names: frozenset[str] | None

    def allow(self, issuer: str) -> bool:
        """Whether a token of this issuer may be there."""
        return self.names is None or issuer in self.names


class Location(Protocol):
    """A place for tokens."""

    @property
    def issuers(self) -> Issuers: ...
    def find(self, request: Request) -> Sequence[str]:
        """The tokens that are there, in order."""
        ...

    def remove(self, request: Request) -> Request:
        """The request without them."""
        ...


@dataclass(frozen=True, slots=True)
class InHeader:
    """A field, after a prefix that may begin anywhere in its value."""

    name: str
    prefix: str
    issuers: Issuers

    def find(self, request: Request) -> Sequence[str]:
        values = request.headers.values(self.name)
        prefix = self.prefix
        if not prefix or not values:
            return values
        found: list[str] = []
        for value in values:
            at = value.find(prefix)
            if at >= 0:
                start = _TOKEN_START.search(value, at + len(prefix))
                found.append(value if start is None else value[start.start() :])
        return found

    def remove(self, request: Request) -> Request:
        headers, name = request.headers, self.name
        if len(headers.values(name)) == 1:
            return request.with_headers(headers.exchanged(name, ()))
        return request.with_headers(headers.without(name))


@dataclass(frozen=True, slots=True)
class InParameter:
    """A query parameter: its first value counts."""

    name: str
    issuers: Issuers

    def find(self, request: Request) -> Sequence[str]:
        return _parameters(request.path).get(self.name, [])[:1] if "?" in request.path else ()

    def remove(self, request: Request) -> Request:
        """Every value goes, and the rest is written anew as Envoy does: decoded, by name. What may
        not stand in a path stays encoded, or a parameter could end the request line."""
        parameters = _parameters(request.path)
        parameters.pop(self.name, None)
        bare = request.path.partition("?")[0]
        pairs = [f"{name}={value}" for name in sorted(parameters) for value in parameters[name]]
        path = f"{bare}?{'&'.join(pairs)}" if pairs else bare
        path = quote(path, safe=_PRINTABLE, encoding="latin-1")
        return Request(
            request.method,
            request.authority,
            path,
            request.headers,
            request.scheme,
            request.protocol,
            request.has_body,
        )


@dataclass(frozen=True, slots=True)
class InCookie:
    """A cookie. It is never taken out."""

    name: str
    issuers: Issuers

    def find(self, request: Request) -> Sequence[str]:
        found = cookies(request).get(self.name)
        return () if found is None else (found,)

    def remove(self, request: Request) -> Request:
        return request


def _parameters(path: str) -> dict[str, list[str]]:
    """The query of a path, names and values decoded once; `+` stays."""
    query = path.partition("?")[2].split("&")
    if not query[-1]:
        query.pop()  # nothing follows the last separator
    found: dict[str, list[str]] = {}
    for parameter in query:
        name, _, value = parameter.partition("=")
        found.setdefault(_decoded(name), []).append(_decoded(value))
    return found


def _decoded(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "%" in text else text


@dataclass(frozen=True, slots=True)
class Places:
    """Where one provider's tokens may be; nothing configured: where RFC 6750 has them."""

    issuer: str
    headers: tuple[tuple[str, str], ...]
    """Names and prefixes."""
    parameters: tuple[str, ...]
    cookies: tuple[str, ...]
    own_headers: tuple[str, ...]
    """Fields that the filter itself writes: what a caller sends in them is dropped."""


_DEFAULT: Final = (("authorization", "Bearer "),), ("access_token",)


def parse_places(reader: Reader, issuer: str, own_headers: tuple[str, ...]) -> Places:
    """The places of a JwtProvider."""
    headers = tuple(_header(item) for item in reader.messages("from_headers"))
    parameters = tuple(octets(name) for name in reader.strings("from_params"))
    names = tuple(octets(name) for name in reader.strings("from_cookies"))
    if not headers and not parameters and not names:
        headers, parameters = _DEFAULT
    return Places(issuer, headers, parameters, names, own_headers)


def _header(reader: Reader) -> tuple[str, str]:
    check(reader, HEADER_TABLE)
    reader.required_string("name")
    return header_name(reader, "name"), octets(reader.string("value_prefix"))


def header_name(reader: Reader, field: str) -> str:
    """A header's name in lower case; empty when unset."""
    found = reader.string(field)
    if _NOT_IN_A_NAME.search(found) is not None:
        raise reader.error_at(field, f"expected a header name, found {found!r}")
    return lower(octets(found))


@dataclass(frozen=True, slots=True)
class Extractor:
    """Finds the tokens of one provider, or of several at once."""

    locations: tuple[Location, ...]
    own_headers: frozenset[str]
    """Fields that only the filter may write."""

    def sanitize(self, request: Request) -> Request:
        """Without what the caller, or another provider, wrote into them."""
        if not self.own_headers or not request.headers.has_any(self.own_headers):
            return request
        return request.with_headers(request.headers.without(*self.own_headers))

    def extract(self, request: Request) -> list[tuple[str, Location]]:
        """Every token and where it was."""
        return [(token, place) for place in self.locations for token in place.find(request)]


def make_extractor(places: Sequence[Places]) -> Extractor:
    """Envoy's order: fields by name and prefix, then parameters, then cookies by name."""
    in_headers: dict[str, tuple[str, str, list[str]]] = {}
    in_parameters: dict[str, list[str]] = {}
    in_cookies: dict[str, list[str]] = {}
    for place in places:
        for name, prefix in place.headers:
            in_headers.setdefault(name + prefix, (name, prefix, []))[2].append(place.issuer)
        for name in place.parameters:
            in_parameters.setdefault(name, []).append(place.issuer)
        for name in place.cookies:
            in_cookies.setdefault(name, []).append(place.issuer)
    by_key = (in_headers[key] for key in sorted(in_headers))
    return Extractor(
        (
            *(InHeader(name, prefix, _issuers(issuers)) for name, prefix, issuers in by_key),
            *(InParameter(name, _issuers(in_parameters[name])) for name in sorted(in_parameters)),
            *(InCookie(name, _issuers(in_cookies[name])) for name in sorted(in_cookies)),
        ),
        frozenset(name for place in places for name in place.own_headers),
    )


def _issuers(names: Sequence[str]) -> Issuers:
    return Issuers(None if "" in names else frozenset(names))
