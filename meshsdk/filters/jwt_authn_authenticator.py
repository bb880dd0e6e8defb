"""Judging the tokens of a request. Source: Envoy, AuthenticatorImpl."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow
from meshsdk.call.headers import Pair
from meshsdk.call.message import Request
from meshsdk.filters.jwt_authn_cache import TokenCache, Verified
from meshsdk.filters.jwt_authn_extractor import Extractor, Location
from meshsdk.filters.jwt_authn_provider import Audiences, Provider, Providers
from meshsdk.identity.jwks import Jwks
from meshsdk.identity.jwt import Refused, Rules, Token, check_time, parse, verify
from meshsdk.identity.jwt_json import Json, to_json
from meshsdk.identity.jwt_status import JwtStatus
from meshsdk.matching.octets import octets

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_UINT64: Final = 2.0**64
MISSED: Final = Refused(JwtStatus.MISSED)
GOOD: Final = Refused(JwtStatus.OK)


@dataclass(slots=True, eq=False)
class Walk:
    """What the verification of one request changes: filters after this one see it."""

    request: Request
    context: CallContext
    metadata: dict[str, object] = field(default_factory=dict[str, object])
    reroute: bool = False
    bad_header: str = ""
    """A field whose value would hold control characters."""


@dataclass(frozen=True, slots=True, eq=False)
class Authenticator:
    """Judges every token in its places."""

    extractor: Extractor
    provider: Provider | None
    """None: each token is judged by the provider of its issuer."""
    providers: Providers
    audiences: Audiences | None
    """In place of the provider's."""
    goes_on: bool
    """Whether a bad token ends it: not where bad or missing ones are allowed."""
    rules: Rules
    cache: TokenCache

    def run(self, walk: Walk) -> Flow[Refused]:
        """The verdict on the token that was judged last; all are good unless `goes_on`."""
        walk.request = self.extractor.sanitize(walk.request)
        tokens = self.extractor.extract(walk.request)
        if not tokens:
            self._tell(walk, None, MISSED)
            return MISSED
        verdict = MISSED
        provider: Provider | None = None
        while tokens:
            text, place = tokens.pop()
            provider = self.provider or provider
            known = self._known(text, place, walk.context)
            if known is None:
                judged = yield from self._judge(text, place, provider, walk.context)
                provider, verdict, known = judged
            if known is None:
                self._tell(walk, provider, verdict)
                if not self.goes_on:
                    return verdict
                continue
            provider, verdict = known.provider, GOOD
            _hand_on(walk, known, place)
        return verdict

    def at_once(self, walk: Walk) -> bool:
        """Whether a request's only token was found good lately; then it is handed on already."""
        tokens = self.extractor.extract(walk.request)
        if len(tokens) != 1:
            return False
        text, place = tokens[0]
        known = self._known(text, place, walk.context)
        if known is None:
            return False
        walk.request = self.extractor.sanitize(walk.request)
        _hand_on(walk, known, place)
        return True

    def _known(self, text: str, place: Location, context: CallContext) -> Verified | None:
        """The verdict of an earlier request, where it still holds."""
        known = self.cache.find(text)
        if known is None:
            return None
        provider, token = known.provider, known.token
        now = int(context.clock.time())
        if (
            provider.keys.current(context) is not known.jwks
            or check_time(token, now, provider.clock_skew) is not JwtStatus.OK
            or not provider.allows_lifetime(token, now)
        ):
            self.cache.drop(text)
            return None
        return known if place.issuers.allow(token.issuer) else None

    def _judge(
        self, text: str, place: Location, provider: Provider | None, context: CallContext
    ) -> Flow[tuple[Provider | None, Refused, Verified | None]]:
        """The provider whose business the token is, and the verdict."""
        token = parse(text, self.rules)
        if isinstance(token, Refused):
            return provider, token, None
        if not place.issuers.allow(token.issuer):
            return provider, Refused(JwtStatus.UNKNOWN_ISSUER), None
        if self.provider is None:
            provider = self.providers.of_issuer(token.issuer)
        if provider is None:
            return None, Refused(JwtStatus.UNKNOWN_ISSUER), None
        status = self._check_claims(token, provider, int(context.clock.time()))
        if status is not JwtStatus.OK:
            return provider, Refused(status), None
        verdict = yield from self._verify(token, provider, context)
        if isinstance(verdict, Refused):
            return provider, verdict, None
        verified = _prepare(token, provider, verdict)
        self.cache.keep(text, verified)
        return provider, GOOD, verified

    def _check_claims(self, token: Token, provider: Provider, now: int) -> JwtStatus:
        status = check_time(token, now, provider.clock_skew)
        if status is not JwtStatus.OK:
            return status
        audiences = provider.audiences if self.audiences is None else self.audiences
        if not audiences.allow(token.audiences):
            return JwtStatus.AUDIENCE_NOT_ALLOWED
        if not provider.allows_subject(token) or not provider.allows_lifetime(token, now):
            return JwtStatus.VERIFICATION_FAIL
        return JwtStatus.OK

    def _verify(
        self, token: Token, provider: Provider, context: CallContext
    ) -> Flow[Refused | Jwks]:
        """The key set that signed the token."""
        jwks = provider.keys.current(context)
        if jwks is None:
            jwks = yield from provider.keys.load(context)
            if jwks is None:
                return Refused(provider.no_keys)
        refused = verify(token, jwks, self.rules)
        if refused is None:
            return jwks
        if refused.status is JwtStatus.JWKS_KID_ALG_MISMATCH and token.kid:
            newer = yield from provider.keys.renew(context, jwks)
            if newer is not None:
                refused = verify(token, newer, self.rules)
                return newer if refused is None else refused
        return refused

    def _tell(self, walk: Walk, provider: Provider | None, verdict: Refused) -> None:
        """Publish a failure where the provider, or the only one, asks for that."""
        provider = provider or self.providers.single()
        if provider is not None and provider.failed_status_metadata:
            status = verdict.status
            walk.metadata[provider.failed_status_metadata] = {
                "code": int(status),
                "message": status.text,
            }


def _hand_on(walk: Walk, known: Verified, place: Location) -> None:
    """Headers, metadata, and the token itself where it is not forwarded."""
    provider = known.provider
    request = walk.request
    if known.added:
        walk.bad_header = walk.bad_header or known.bad_header
        request = request.with_headers(request.headers.plus(known.added))
    if known.has_claims and provider.clear_route_cache:
        walk.reroute = True
    if not provider.forward:
        request = place.remove(request)
    walk.request = request
    walk.metadata.update(known.published)
    walk.context.claims += (known.token.payload,)


def _prepare(token: Token, provider: Provider, jwks: Jwks) -> Verified:
    """Everything that is the same for each request with this token."""
    added: list[Pair] = []
    if provider.payload_header:
        padding = "=" * (-len(token.payload_text) % 4) if provider.pad_payload else ""
        added.append((provider.payload_header, token.payload_text + padding))
    claims = [(c.header, _text(_claim(token.payload, c.path))) for c in provider.claims]
    added += [claim for claim in claims if claim[1]]
    has_claims = any(value for _, value in claims) or bool(provider.payload_metadata)
    published: list[tuple[str, Json]] = []
    if provider.header_metadata:
        published.append((provider.header_metadata, token.header))
    if provider.payload_metadata:
        payload = _normalized(token.payload, provider.space_delimited)
        published.append((provider.payload_metadata, payload))
    bad = next((name for name, value in added if _CONTROL.search(value) is not None), "")
    return Verified(token, provider, jwks, tuple(added), bad, has_claims, tuple(published))


def _claim(payload: Mapping[str, Json], path: tuple[str, ...]) -> Json:
    """A claim by the names that lead to it; None where they do not."""
    found: Json = payload
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def _text(claim: Json) -> str:
    """A claim as a header value, in octets; empty when it has none."""
    match claim:
        case None:
            return ""
        case bool():
            return "true" if claim else "false"
        case str():
            return octets(claim)
        case int() | float():
            is_whole = 0 <= claim < _UINT64 and float(claim).is_integer()
            return str(int(claim)) if is_whole else f"{float(claim):.6f}"
        case _:
            return base64.b64encode(to_json(claim).encode()).decode("ascii")


def _normalized(payload: Mapping[str, Json], names: tuple[str, ...]) -> Mapping[str, Json]:
    """The payload with those claims as lists that are lists of words in a text."""
    changed: dict[str, Json] = {}
    for name in names:
        claim = payload.get(name)
        if isinstance(claim, str):
            words: list[Json] = [word for word in claim.split(" ") if word]
            if words:
                changed[name] = words
    return {**payload, **changed} if changed else payload
