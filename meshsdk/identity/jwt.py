"""JSON Web Tokens: taken apart, and verified against a key set. Source: Envoy, JwtVerify::Jwt.

Nothing here decides whom a token is for: issuers, audiences and policy are the filter's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from meshsdk.identity import jwt_base64
from meshsdk.identity.jwks import ALGORITHMS, Jwks
from meshsdk.identity.jwt_json import Json, parse_object
from meshsdk.identity.jwt_status import JwtStatus

Rules = Literal["strict", "envoy"]
"""`envoy`: without the `jwt-*` rules of the threat model, section 12."""

_UINT64: Final = 2.0**64


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a token does not count. `rule` names what Envoy would have let pass."""

    status: JwtStatus
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is well formed; whether it is true is for `verify` to say."""

    header: Mapping[str, Json] = field(repr=False)
    payload: Mapping[str, Json] = field(repr=False)
    """Like all that could be replayed or is private, not shown."""
    alg: str
    kid: str
    issuer: str
    subject: str = field(repr=False)
    audiences: tuple[str, ...]
    expiry: int
    """Seconds since the epoch; 0: never."""
    not_before: int
    payload_text: str = field(repr=False)
    """The payload as it came, base64url."""
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def parse(text: str, rules: Rules) -> Token | Refused:
    """A token from its compact form; `text` is a latin-1 view of octets."""
    sections = [section for section in text.split(".") if section]  # empty ones do not count
    if len(sections) != 3:
        return Refused(JwtStatus.BAD_FORMAT)
    parsed = _parse(*sections)
    if isinstance(parsed, JwtStatus):
        return Refused(parsed)
    if rules == "strict":
        rule = _stricter(text, sections, parsed)
        if rule is not None:
            return rule
    return parsed


def _parse(header_text: str, payload_text: str, signature_text: str) -> Token | JwtStatus:
    octets = jwt_base64.decode(header_text)
    if octets is None:
        return JwtStatus.HEADER_BAD_BASE64
    header = parse_object(octets)
    if header is None:
        return JwtStatus.HEADER_BAD_JSON
    alg = header.get("alg")
    if not isinstance(alg, str):
        return JwtStatus.HEADER_BAD_ALG
    if alg not in ALGORITHMS:
        return JwtStatus.HEADER_NOT_IMPLEMENTED_ALG
    kid = header.get("kid", "")
    if not isinstance(kid, str):
        return JwtStatus.HEADER_BAD_KID
    octets = jwt_base64.decode(payload_text)
    if octets is None:
        return JwtStatus.PAYLOAD_BAD_BASE64
    payload = parse_object(octets)
    if payload is None:
        return JwtStatus.PAYLOAD_BAD_JSON
    claims = _claims(payload)
    if isinstance(claims, JwtStatus):
        return claims
    signature = jwt_base64.decode(signature_text)
    if signature is None:
        return JwtStatus.SIGNATURE_BAD_BASE64
    signed = f"{header_text}.{payload_text}".encode("latin-1")
    return Token(
        header,
        payload,
        alg,
        kid,
        claims.issuer,
        claims.subject,
        claims.audiences,
        claims.expiry,
        claims.not_before,
        payload_text,
        signed,
        signature,
    )


@dataclass(frozen=True, slots=True)
class _Claims:
    issuer: str
    subject: str
    expiry: int
    not_before: int
    audiences: tuple[str, ...]


def _claims(payload: Mapping[str, Json]) -> _Claims | JwtStatus:
    """The registered claims, each of its type. A claim that is null is one of a wrong type."""
    issuer = payload.get("iss", "")
    if not isinstance(issuer, str):
        return JwtStatus.ISS_NOT_STRING
    subject = payload.get("sub", "")
    if not isinstance(subject, str):
        return JwtStatus.SUB_NOT_STRING
    times: list[int] = []
    for name, of_type, of_range in _TIMES:
        found = payload.get(name, 0)
        if isinstance(found, bool) or not isinstance(found, int | float):
            return of_type
        if not 0 <= found < _UINT64:
            return of_range
        times.append(int(found))
    if not isinstance(payload.get("jti", ""), str):
        return JwtStatus.JTI_NOT_STRING
    audience = payload.get("aud", [])
    audiences: list[str] = []
    for item in audience if isinstance(audience, list) else [audience]:
        if not isinstance(item, str):
            return JwtStatus.AUD_NOT_STRING
        audiences.append(item)
    return _Claims(issuer, subject, times[2], times[1], tuple(audiences))


_TIMES: Final = (
    ("iat", JwtStatus.IAT_NOT_INTEGER, JwtStatus.IAT_OUT_OF_RANGE),
    ("nbf", JwtStatus.NBF_NOT_INTEGER, JwtStatus.NBF_OUT_OF_RANGE),
    ("exp", JwtStatus.EXP_NOT_INTEGER, JwtStatus.EXP_OUT_OF_RANGE),
)
_SECTION_STATUS: Final = (
    JwtStatus.HEADER_BAD_BASE64,
    JwtStatus.PAYLOAD_BAD_BASE64,
    JwtStatus.SIGNATURE_BAD_BASE64,
)


def _stricter(text: str, sections: list[str], token: Token) -> Refused | None:
    """What Envoy takes and we do not (threat model, J5, J6, J10, J14)."""
    if text.count(".") != 2:
        return Refused(JwtStatus.BAD_FORMAT, "jwt-b64")
    # One token, one spelling: else a list of revoked tokens is passed by respelling one.
    for section, status in zip(sections, _SECTION_STATUS, strict=True):
        octets = jwt_base64.decode(section)
        if octets is None or jwt_base64.encode(octets) != section:
            return Refused(status, "jwt-b64")
    if "crit" in token.header:  # RFC 7515, 4.1.11: we implement no extension
        return Refused(JwtStatus.VERIFICATION_FAIL, "jwt-crit")
    if token.header.get("kid") == "":
        return Refused(JwtStatus.JWKS_KID_ALG_MISMATCH, "jwt-kid-empty")
    if "exp" in token.payload and token.expiry == 0:
        return Refused(JwtStatus.EXPIRED, "jwt-exp0")
    return None


def check_time(token: Token, now: int, clock_skew: int) -> JwtStatus:
    """Whether a token is valid at `now`, in seconds since the epoch."""
    if now + clock_skew < token.not_before:
        return JwtStatus.NOT_YET_VALID
    if token.expiry and now > token.expiry + clock_skew:
        return JwtStatus.EXPIRED
    return JwtStatus.OK


def verify(token: Token, jwks: Jwks, rules: Rules) -> Refused | None:
    """Whether a key of the set made the signature; None: it did. Times are not looked at."""
    matched = False
    rule = ""
    for key in jwks.keys:
        if token.kid and key.kid and token.kid != key.kid:
            continue
        if key.alg and key.alg != token.alg:
            continue
        matched = True
        if rules == "strict":
            refusal = key.weakness(token.alg)
            if refusal:
                rule = rule or refusal
                continue
            if not key.is_canonical(token.signature):
                continue
        if key.has_bad_length(token.signature):
            return Refused(JwtStatus.ED25519_SIGNATURE_LENGTH)
        if key.verifies(token.alg, token.signed, token.signature):
            return None
    if matched:
        return Refused(JwtStatus.VERIFICATION_FAIL, rule)
    return Refused(JwtStatus.JWKS_KID_ALG_MISMATCH)
