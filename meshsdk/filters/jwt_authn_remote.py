"""Key sets that are fetched through the mesh: when, by whom, and what counts meanwhile.

One caller fetches, the others wait or use the keys that have just expired. A failure is followed by
a growing pause, so that an issuer that is down is not asked once per request (Envoy does that).
"""

import re
from dataclasses import dataclass, field
from threading import Lock
from typing import Final, Protocol

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Fetch, Fetched, Flow, Reply, sleep
from meshsdk.call.message import Request, Reset
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.filters.side_service import HTTP_URI
from meshsdk.identity.jwks import Jwks, parse_jwks
from meshsdk.matching.octets import octets

REMOTE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.RemoteJwks",
    {
        **honoured("http_uri", "cache_duration", "retry_policy", "async_fetch"),
    },
    security=True,
)
ASYNC_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch",
    {
        "fast_listener": ignored("listeners wait for no keys: the first call fetches them"),
        "failed_refetch_duration": ignored("a pause that grows from 1 to 30 seconds"),
    },
    security=True,
)
RETRY_TABLE: Final = MessageTable(
    "envoy.config.core.v3.RetryPolicy",
    {
        **honoured("num_retries", "retry_back_off"),
        "retry_on": refused("a fetch is repeated whatever went wrong"),
        "retry_priority": refused("not built for fetches"),
        "retry_host_predicate": refused("not built for fetches"),
        "host_selection_retry_max_attempts": refused("not built for fetches"),
    },
    security=True,
)
BACKOFF_TABLE: Final = MessageTable(
    "envoy.config.core.v3.BackoffStrategy", honoured("base_interval", "max_interval"), security=True
)
TABLES: Final = (REMOTE_TABLE, HTTP_URI, ASYNC_TABLE, RETRY_TABLE, BACKOFF_TABLE)

_URI: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]+)([^#]*)")
_CACHE_DURATION: Final = 600.0  # RemoteJwks.cache_duration
_STALE: Final = 3600.0
"""Seconds for which expired keys still count while no newer ones can be had."""
_FIRST_PAUSE: Final = 1.0
_LAST_PAUSE: Final = 30.0
_UNKNOWN_KID_PAUSE: Final = 10.0
_RENEWED: Final = 0.9
"""The share of their lifetime after which keys are renewed (async_fetch)."""
_POLL: Final = 0.02
"""Seconds between looks of those who wait for another's fetch."""
_MAX_BYTES: Final = 1 << 20
_MAX_KEYS: Final = 100


class KeySource(Protocol):
    """Where a provider's keys come from."""

    def current(self, context: CallContext) -> Jwks | None:
        """The keys that are in force now; None: none are at hand."""
        ...

    def load(self, context: CallContext) -> Flow[Jwks | None]:
        """Keys, fetched if need be; None: there are none."""
        ...

    def renew(self, context: CallContext, known: Jwks) -> Flow[Jwks | None]:
        """Newer keys than those in which a token's `kid` was not found; None: there are none."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LocalKeys:
    """Keys that came with the configuration; None: it had none."""

    jwks: Jwks | None

    def current(self, context: CallContext) -> Jwks | None:
        del context
        return self.jwks

    def load(self, context: CallContext) -> Flow[Jwks | None]:
        del context
        return self.jwks
        yield  # a flow that asks for nothing

    def renew(self, context: CallContext, known: Jwks) -> Flow[Jwks | None]:
        del context, known
        return None
        yield


@dataclass(frozen=True, slots=True)
class RemoteUri:
    """What is fetched, and how."""

    cluster: str
    request: Request
    timeout: float
    cache_duration: float = _CACHE_DURATION
    retries: int = 0
    base_interval: float = 1.0
    renews: bool = False
    """async_fetch: keys in use are renewed before they expire, while nobody waits."""

    @property
    def longest(self) -> float:
        """Seconds after which whoever fetches has done so, or is gone."""
        return (self.timeout + self.base_interval * 10) * (self.retries + 1)


@dataclass(slots=True, eq=False)
class RemoteKeys:
    """Keys from an issuer's URI, and the state of fetching them: shared by every call, and by every
    provider of that URI."""

    uri: RemoteUri
    jwks: Jwks | None = None
    text: bytes = b""
    """What `jwks` was read from: the same again is no change."""
    expires: float = 0.0
    """Monotonic seconds; the keys count for a while longer where there are no others."""
    renew_at: float = 0.0
    """Monotonic seconds at which the next call looks for newer ones."""
    not_before: float = 0.0
    """Monotonic seconds until which nobody asks again, after a failure."""
    pause: float = 0.0
    kid_not_before: float = 0.0
    """The same for tokens with an unknown kid."""
    fetching_until: float = 0.0
    """Monotonic seconds; 0: nobody fetches."""
    claiming: Lock = field(default_factory=Lock)

    def current(self, context: CallContext) -> Jwks | None:
        """Keys that have not expired, and that nobody must look after now."""
        return self.jwks if context.clock.monotonic() < self.renew_at else None

    def load(self, context: CallContext) -> Flow[Jwks | None]:
        """Fetches, unless somebody else does or just failed to."""
        clock = context.clock
        deadline = clock.monotonic() + self.uri.timeout
        while True:
            now = clock.monotonic()
            if now < self.expires:
                if now >= self.renew_at and self._claims(now):
                    yield from self._renew(context)
                return self.jwks
            if now >= self.fetching_until:
                if now < self.not_before:
                    return self._stale(now)
                if self._claims(now):
                    yield from self._fetch(context)
                    return self._stale(clock.monotonic())
            stale = self._stale(now)
            if stale is not None or now >= deadline:
                return stale
            yield from sleep(_POLL)

    def renew(self, context: CallContext, known: Jwks) -> Flow[Jwks | None]:
        """At most one fetch in ten seconds, however many tokens name unknown keys."""
        now = context.clock.monotonic()
        if self.jwks is known:
            if now < self.kid_not_before or now < self.not_before or not self._claims(now):
                return None
            self.kid_not_before = now + _UNKNOWN_KID_PAUSE
            yield from self._fetch(context)
        return None if self.jwks is known else self.jwks

    def _stale(self, now: float) -> Jwks | None:
        return self.jwks if now < self.expires + _STALE else None

    def _claims(self, now: float) -> bool:
        """Whether this call is the one that fetches now; callers may be threads."""
        with self.claiming:
            if now < self.fetching_until:
                return False
            self.fetching_until = now + self.uri.longest
            return True

    def _fetch(self, context: CallContext) -> Flow[None]:
        """After `_claims`."""
        found: bytes | None = None
        try:
            found = yield from self._attempts(context)
        finally:
            self.fetching_until = 0.0  # also when the call that fetched was abandoned
        self._settle(found, context.clock.monotonic(), context.random.random())

    def _renew(self, context: CallContext) -> Flow[None]:
        """After `_claims`, while the keys still count: nobody waits."""
        clock, chance = context.clock, context.random.random()
        due, self.renew_at = self.renew_at, self.expires

        def done(answer: Fetched | Reset) -> None:
            self._settle(_keys_in(answer), clock.monotonic(), chance)
            self.fetching_until = 0.0

        uri = self.uri
        try:
            reply = yield Fetch(
                uri.cluster, uri.request, timeout=uri.timeout, max_bytes=_MAX_BYTES, done=done
            )
        except BaseException:
            self.renew_at, self.fetching_until = due, 0.0  # nobody made the call
            raise
        if isinstance(reply, Fetched | Reset):
            done(reply)

    def _settle(self, found: bytes | None, now: float, chance: float) -> None:
        if found is None:
            self.pause = min(_LAST_PAUSE, self.pause * 2 or _FIRST_PAUSE)
            self.not_before = now + self.pause * (0.5 + chance / 2)
            self.renew_at = min(self.expires, self.not_before)
            return
        if found != self.text or self.jwks is None:
            jwks = parse_jwks(found)
            assert isinstance(jwks, Jwks)
            self.jwks, self.text = jwks, found
        lifetime = self.uri.cache_duration
        self.expires, self.pause = now + lifetime, 0.0
        self.renew_at = now + lifetime * (_RENEWED if self.uri.renews else 1.0)

    def _attempts(self, context: CallContext) -> Flow[bytes | None]:
        uri = self.uri
        for attempt in range(uri.retries + 1):
            if attempt:
                ceiling = min(uri.base_interval * (2**attempt - 1), uri.base_interval * 10)
                yield from sleep(ceiling * context.random.random())
            reply = yield Fetch(uri.cluster, uri.request, timeout=uri.timeout, max_bytes=_MAX_BYTES)
            found = _keys_in(reply)
            if found is not None:
                return found
        return None


def _keys_in(reply: Reply) -> bytes | None:
    """The text of a key set that can be used. No redirect is followed: the issuer is who the
    configuration says."""
    if not isinstance(reply, Fetched) or reply.response.status != 200:
        return None
    found = parse_jwks(reply.body)
    return reply.body if isinstance(found, Jwks) and len(found.keys) <= _MAX_KEYS else None


def parse_remote(reader: Reader, provider: str, extensions: Extensions) -> RemoteKeys:
    """The keys of a RemoteJwks: none yet, unless another provider or an earlier version of the
    configuration has the same."""
    check(reader, REMOTE_TABLE)
    http_uri = reader.required_message("http_uri")
    check(http_uri, HTTP_URI)
    text = http_uri.required_string("uri")
    match = _URI.fullmatch(octets(text))
    if match is None:
        raise http_uri.error_at("uri", f"Provider '{provider}' has an invalid URI: '{text}'")
    cluster = http_uri.required_string("cluster")
    timeout = http_uri.optional_duration("timeout")
    if timeout is None or timeout < 0:
        raise http_uri.error_at("timeout", "expected a duration of at least 0 seconds")
    cache_duration = reader.duration("cache_duration", _CACHE_DURATION)
    if not 0.001 <= cache_duration < 9e9:  # proto rule
        raise reader.error_at("cache_duration", "expected at least 0.001s")
    retries, base_interval = _retry(reader.message("retry_policy"))
    path = match[3] if match[3].startswith("/") else "/" + match[3]
    request = Request("GET", match[2], path, scheme=match[1].lower())
    renewing = reader.message("async_fetch")
    if renewing is not None:
        check(renewing, ASYNC_TABLE)
    uri = RemoteUri(
        cluster, request, timeout, cache_duration, retries, base_interval, renewing is not None
    )
    return extensions.filter_states.keep(RemoteKeys, uri, lambda: RemoteKeys(uri))


def _retry(reader: Reader | None) -> tuple[int, float]:
    if reader is None:
        return 0, 1.0
    check(reader, RETRY_TABLE)
    backoff = reader.message("retry_back_off")
    base = 1.0
    if backoff is not None:
        check(backoff, BACKOFF_TABLE)
        base = backoff.duration("base_interval", base)
    return reader.integer("num_retries", 1, at_least=0), base
