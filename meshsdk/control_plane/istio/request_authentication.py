"""RequestAuthentication: whose tokens are good. FEED.md 3.10."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.selectors import TARGET_REFS, parse_selector
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.identity.jwks import parse_jwks

_SPEC: Final = fields("selector", "jwtRules", refused=TARGET_REFS)
_RULE: Final = fields(
    "issuer", "audiences", "jwksUri", "jwks", "fromHeaders", "fromParams", "fromCookies",
    "outputPayloadToHeader", "forwardOriginalToken", "outputClaimToHeaders", "timeout",
    "spaceDelimitedClaims",
)  # fmt: skip
_HEADER: Final = fields("name", "prefix")
_CLAIM: Final = fields("header", "claim")
_HEADER_NAME: Final = re.compile(r"[-_A-Za-z0-9]+\Z")
_DEFAULT_TIMEOUT: Final = 5.0
_DISCOVERY: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class JwtRule:
    """One issuer."""

    issuer: str = ""
    audiences: tuple[str, ...] = ()
    jwks_uri: str = ""
    jwks: str = ""
    """The key set itself; goes before `jwks_uri`."""
    from_headers: tuple[tuple[str, str], ...] = ()
    """Name and prefix of the value."""
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    forward_original_token: bool = False
    output_claim_to_headers: tuple[tuple[str, str], ...] = ()
    """Header and claim (`a.b` is b inside a)."""
    timeout: float = _DEFAULT_TIMEOUT
    space_delimited_claims: tuple[str, ...] = ()

    @property
    def discovery_uri(self) -> str:
        """Where OIDC tells the key set's URI: what istiod asks where the rule has neither."""
        return self.issuer.rstrip("/") + _DISCOVERY


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    """A policy. A request without token passes; a token that is there must be good."""

    metadata: Metadata
    rules: tuple[JwtRule, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict[str, str])


def parse_request_authentication(document: Document) -> RequestAuthentication:
    """The policy, or why istiod (or Envoy) would refuse it."""
    spec = document.spec(_SPEC)
    rules = spec.each("jwtRules", _RULE, _rule)
    return RequestAuthentication(document.metadata, rules, parse_selector(spec))


def _rule(reader: SpecReader) -> JwtRule:
    rule = JwtRule(
        reader.string("issuer"),
        _not_empty(reader, "audiences"),
        reader.string("jwksUri"),
        reader.string("jwks"),
        reader.each("fromHeaders", _HEADER, _header),
        _not_empty(reader, "fromParams"),
        _not_empty(reader, "fromCookies"),
        reader.string("outputPayloadToHeader"),
        reader.boolean("forwardOriginalToken"),
        reader.each("outputClaimToHeaders", _CLAIM, _claim),
        reader.duration("timeout", _DEFAULT_TIMEOUT),
        _not_empty(reader, "spaceDelimitedClaims"),
    )
    if not rule.issuer and not rule.jwks_uri:
        raise reader.error("expected issuer or jwksUri, found neither")
    if rule.timeout < 0.001:
        raise reader.error_at("timeout", f"expected at least 1ms, found {rule.timeout:g}s")
    if rule.jwks_uri and not _is_http(rule.jwks_uri):
        raise reader.error_at("jwksUri", f"expected an http or https URI, found {rule.jwks_uri!r}")
    if rule.jwks:
        problem = key_set_problem(rule.jwks)
        if problem is not None:
            raise reader.error_at("jwks", f"expected a JSON Web Key Set: {problem}")
    return rule


def _header(reader: SpecReader) -> tuple[str, str]:
    return reader.required_string("name"), reader.string("prefix")


def _claim(reader: SpecReader) -> tuple[str, str]:
    header, claim = reader.required_string("header"), reader.required_string("claim")
    if not _HEADER_NAME.match(header):
        raise reader.error_at("header", f"expected letters, digits, - and _, found {header!r}")
    return header, claim


def _not_empty(reader: SpecReader, name: str) -> tuple[str, ...]:
    found = reader.strings(name)
    if "" in found:
        raise reader.error_at(name, "expected a string that is not empty", found.index(""))
    return found


def _is_http(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def key_set_problem(text: str) -> str | None:
    """Why Envoy would not take a text as a JSON Web Key Set (it would refuse the whole listener);
    None where it takes it."""
    found = parse_jwks(text.encode(errors="replace"))
    return found if isinstance(found, str) else None


KIND: Final = Kind(
    "security.istio.io", "RequestAuthentication", ("v1", "v1beta1"), parse_request_authentication
)
