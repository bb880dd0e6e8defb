"""JwtProvider: whose tokens count, by which keys, and what of a good one is handed on."""

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.filters.jwt_authn_extractor import Places, header_name, parse_places
from meshsdk.filters.jwt_authn_remote import KeySource, LocalKeys, parse_remote
from meshsdk.identity.jwks import Jwks, parse_jwks
from meshsdk.identity.jwt import Rules, Token
from meshsdk.identity.jwt_status import JwtStatus
from meshsdk.matching.octets import octets
from meshsdk.matching.strings import StringMatcher, parse_string_matcher
from meshsdk.resources.data_source import DATA_SOURCE

PROVIDER_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider",
    honoured(
        "issuer",
        "audiences",
        "subjects",
        "require_expiration",
        "max_lifetime",
        "remote_jwks",
        "local_jwks",
        "forward",
        "from_headers",
        "from_params",
        "from_cookies",
        "forward_payload_header",
        "pad_forward_payload_header",
        "payload_in_metadata",
        "normalize_payload_in_metadata",
        "header_in_metadata",
        "failed_status_in_metadata",
        "clock_skew_seconds",
        "jwt_cache_config",
        "claim_to_headers",
        "clear_route_cache",
    ),
    security=True,
)
NORMALIZE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtProvider.NormalizePayload",
    honoured("space_delimited_claims"),
    security=True,
)
CLAIM_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader",
    honoured("header_name", "claim_name", "claim_path"),
    security=True,
)
SEGMENT_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtClaimToHeader.PathSegment",
    honoured("key"),
    security=True,
)
CACHE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwtCacheConfig",
    honoured("jwt_cache_size", "jwt_max_token_size"),
    security=True,
)
TABLES: Final = (
    PROVIDER_TABLE,
    NORMALIZE_TABLE,
    CLAIM_TABLE,
    SEGMENT_TABLE,
    CACHE_TABLE,
    DATA_SOURCE,
)

_CLOCK_SKEW: Final = 60  # JwtProvider.clock_skew_seconds
_CACHE_SIZE: Final = 1024
_MAX_CACHED_TOKEN: Final = 4096  # Envoy, jwt_cache.cc
_SCHEMES: Final = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class Audiences:
    """The audiences of which a token must name one; empty: any token will do."""

    names: frozenset[str]

    @staticmethod
    def of(names: Iterable[str]) -> "Audiences":
        """Compared as Envoy does: without scheme and one final slash."""
        return Audiences(frozenset(map(_bare, names)))

    def allow(self, names: Iterable[str]) -> bool:
        """Whether a token for these audiences is for us."""
        return not self.names or any(_bare(name) in self.names for name in names)


def _bare(audience: str) -> str:
    for scheme in _SCHEMES:
        if audience.startswith(scheme):
            # A slash that belongs to the scheme is not the final one.
            end = len(audience) - audience.endswith("/")
            return audience[len(scheme) : max(end, len(scheme))]
    return audience[:-1] if audience.endswith("/") else audience


@dataclass(frozen=True, slots=True)
class ClaimToHeader:
    """A claim that is copied to a header field."""

    header: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Provider:
    """One issuer's tokens."""

    name: str
    issuer: str
    """Empty: any."""
    keys: KeySource
    places: Places
    rules: Rules
    audiences: Audiences
    subjects: StringMatcher | None = None
    max_lifetime: float | None = None
    """Seconds that a token may still live; infinite: it must only end some time."""
    clock_skew: int = _CLOCK_SKEW
    forward: bool = False
    payload_header: str = ""
    pad_payload: bool = False
    claims: tuple[ClaimToHeader, ...] = ()
    payload_metadata: str = ""
    space_delimited: tuple[str, ...] = ()
    header_metadata: str = ""
    failed_status_metadata: str = ""
    clear_route_cache: bool = False
    cache_size: int = _CACHE_SIZE
    cache_max_token: int = _MAX_CACHED_TOKEN

    @property
    def no_keys(self) -> JwtStatus:
        """What a token is told when there are no keys."""
        is_local = isinstance(self.keys, LocalKeys)
        return JwtStatus.JWKS_NO_VALID_KEYS if is_local else JwtStatus.JWKS_FETCH_FAIL

    def allows_subject(self, token: Token) -> bool:
        """Whether the token's subject is one that this provider may speak for."""
        return self.subjects is None or self.subjects.matches(octets(token.subject))

    def allows_lifetime(self, token: Token, now: int) -> bool:
        """Whether the token ends soon enough."""
        if self.max_lifetime is None:
            return True
        return token.expiry != 0 and token.expiry - now < self.max_lifetime


def parse_provider(name: str, reader: Reader, extensions: Extensions) -> Provider:
    """A provider; ConfigError where its keys cannot be used."""
    check(reader, PROVIDER_TABLE)
    issuer = reader.string("issuer")
    claims = tuple(_claim(item, name) for item in reader.messages("claim_to_headers"))
    payload_header = header_name(reader, "forward_payload_header")
    own = (*((payload_header,) if payload_header else ()), *(claim.header for claim in claims))
    normalize = reader.message("normalize_payload_in_metadata")
    if normalize is not None:
        check(normalize, NORMALIZE_TABLE)
    subjects = reader.message("subjects")
    cache_size, cache_max_token = _cache(reader.message("jwt_cache_config"))
    max_lifetime = reader.optional_duration("max_lifetime")
    if max_lifetime is None and reader.boolean("require_expiration"):
        max_lifetime = math.inf
    return Provider(
        name,
        issuer,
        _keys(name, reader, extensions),
        parse_places(reader, issuer, own),
        extensions.compat,
        Audiences.of(reader.strings("audiences")),
        subjects=None if subjects is None else parse_string_matcher(subjects),
        max_lifetime=max_lifetime,
        clock_skew=reader.integer("clock_skew_seconds", at_least=0) or _CLOCK_SKEW,
        forward=reader.boolean("forward"),
        payload_header=payload_header,
        pad_payload=reader.boolean("pad_forward_payload_header"),
        claims=claims,
        payload_metadata=reader.string("payload_in_metadata"),
        space_delimited=() if normalize is None else normalize.strings("space_delimited_claims"),
        header_metadata=reader.string("header_in_metadata"),
        failed_status_metadata=reader.string("failed_status_in_metadata"),
        clear_route_cache=reader.boolean("clear_route_cache"),
        cache_size=cache_size,
        cache_max_token=cache_max_token,
    )


def _keys(name: str, reader: Reader, extensions: Extensions) -> KeySource:
    if reader.required("remote_jwks", "local_jwks") == "remote_jwks":
        return parse_remote(reader.required_message("remote_jwks"), name, extensions)
    source = reader.required_message("local_jwks")
    found = _read(source)
    if not found:  # Envoy takes an empty source; no token is good then
        return LocalKeys(None)
    jwks = parse_jwks(found)
    if isinstance(jwks, Jwks):
        return LocalKeys(jwks)
    raise source.error(f"Provider '{name}' in jwt_authn config has invalid local jwks: {jwks}")


def _read(reader: Reader) -> bytes:
    check(reader, DATA_SOURCE)
    match reader.required("filename", "inline_bytes", "inline_string", "environment_variable"):
        case "filename":
            filename = reader.required_string("filename")
            try:
                return Path(filename).read_bytes()
            except OSError as error:
                raise reader.error_at("filename", f"cannot read {filename}: {error}") from error
        case "inline_bytes":
            return reader.octets("inline_bytes")
        case "inline_string":
            return reader.string("inline_string").encode()
        case _:
            name = reader.required_string("environment_variable")
            if name not in os.environ:
                raise reader.error_at("environment_variable", f"{name} is not set")
            return os.environ[name].encode()


def _claim(reader: Reader, provider: str) -> ClaimToHeader:
    check(reader, CLAIM_TABLE)
    header = header_name(reader, "header_name")
    if not header:
        raise reader.error_at("header_name", "expected a header name, found none")
    name = reader.string("claim_name")
    segments = reader.messages("claim_path")
    if bool(name) == bool(segments):
        raise reader.error(
            f"Provider '{provider}' has a claim_to_headers entry for header '{header}' which does"
            " not set exactly one of claim_name and claim_path"
        )
    if name:
        return ClaimToHeader(header, tuple(name.split(".")))
    for segment in segments:
        check(segment, SEGMENT_TABLE)
    return ClaimToHeader(header, tuple(segment.required_string("key") for segment in segments))


def _cache(reader: Reader | None) -> tuple[int, int]:
    if reader is None:
        return _CACHE_SIZE, _MAX_CACHED_TOKEN
    check(reader, CACHE_TABLE)
    return (
        reader.integer("jwt_cache_size", at_least=0) or 100,  # JwtCacheConfig.jwt_cache_size
        reader.integer("jwt_max_token_size", at_least=0) or _MAX_CACHED_TOKEN,
    )


@dataclass(frozen=True, slots=True)
class Providers:
    """All providers of a filter, and which of them judges a token that nobody asked for by name."""

    by_name: Mapping[str, Provider]
    by_issuer: Mapping[str, Provider]
    """The first provider of each issuer."""

    @staticmethod
    def of(providers: Iterable[Provider]) -> "Providers":
        """In the order of the configuration."""
        by_name = {provider.name: provider for provider in providers}
        by_issuer: dict[str, Provider] = {}
        for provider in by_name.values():
            by_issuer.setdefault(provider.issuer, provider)
        return Providers(by_name, by_issuer)

    def of_issuer(self, issuer: str) -> Provider | None:
        """The provider of an issuer, else the one of any issuer."""
        return self.by_issuer.get(issuer) or self.by_issuer.get("")

    def single(self) -> Provider | None:
        """The provider, where there is but one."""
        return next(iter(self.by_name.values())) if len(self.by_name) == 1 else None
