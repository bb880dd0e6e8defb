"""The token buckets of a local rate limit: one for all calls, and one for each descriptor.

Source: Envoy, LocalRateLimiterImpl.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.filters.token_bucket import BucketConfig, TokenBucket, parse_token_bucket
from meshsdk.matching.octets import octets
from meshsdk.resources.rate_limit import Descriptor, Entries

DESCRIPTOR: Final = MessageTable(
    "envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor",
    honoured("entries", "token_bucket", "shadow_mode"),
)
ENTRY: Final = MessageTable(
    "envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry", honoured("key", "value")
)
TABLES: Final = (DESCRIPTOR, ENTRY)
_DEFAULT_DYNAMIC: Final = 20  # max_dynamic_descriptors


@dataclass(frozen=True, slots=True)
class LimitedDescriptor:
    """A descriptor with a bucket; an entry with an empty value takes any, each in a bucket of
    its own."""

    entries: Entries
    bucket: BucketConfig
    shadow: bool = False
    """Counted, never refused."""

    @property
    def is_wildcard(self) -> bool:
        """Whether some entry takes any value."""
        return any(not value for _, value in self.entries)

    def takes(self, entries: Entries) -> bool:
        """Whether a call's descriptor is one of those that a wildcard means."""
        return len(entries) == len(self.entries) and all(
            key == wanted and (not value or value == found)
            for (wanted, value), (key, found) in zip(self.entries, entries, strict=True)
        )


@dataclass(frozen=True, slots=True)
class LimiterConfig:
    """The limits of one filter config."""

    default: BucketConfig | None
    descriptors: tuple[LimitedDescriptor, ...] = ()
    always_consume_default: bool = True
    max_dynamic: int = _DEFAULT_DYNAMIC
    """How many buckets each wildcard has at most; the least recently used one goes."""

    @property
    def has_descriptors(self) -> bool:
        """Whether a call's descriptors matter."""
        return bool(self.descriptors)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether a call may pass, and the bucket that its answer tells of."""

    allowed: bool
    bucket: TokenBucket | None = None
    x_ratelimit_headers: bool | None = None


class _Matched:
    """A bucket that a call's descriptor found."""

    __slots__ = ("bucket", "descriptor", "shadow")

    def __init__(self, bucket: TokenBucket, descriptor: Descriptor, shadow: bool) -> None:
        self.bucket = bucket
        self.descriptor = descriptor
        self.shadow = shadow


class _Dynamic:
    """The buckets of one wildcard. Those that were used last stay."""

    __slots__ = ("_buckets", "_lock", "_size", "descriptor")

    def __init__(self, descriptor: LimitedDescriptor, size: int) -> None:
        self.descriptor = descriptor
        self._size = size
        self._lock = Lock()
        self._buckets: dict[Entries, TokenBucket] = {}

    def bucket(self, entries: Entries, now: float) -> TokenBucket:
        """The bucket of one value."""
        with self._lock:
            found = self._buckets.pop(entries, None)
            if found is None:
                found = TokenBucket(self.descriptor.bucket, now)
                if len(self._buckets) >= self._size:
                    del self._buckets[next(iter(self._buckets))]
            self._buckets[entries] = found
            return found


class Limiter:
    """The live buckets of one config, shared by all calls that meet it."""

    __slots__ = ("_default", "_dynamic", "_static", "config")

    def __init__(self, config: LimiterConfig, now: float = 0.0) -> None:
        """Buckets are full at first, whatever `now` is."""
        self.config = config
        self._default = None if config.default is None else TokenBucket(config.default, now)
        self._static = {
            one.entries: (TokenBucket(one.bucket, now), one.shadow)
            for one in config.descriptors
            if not one.is_wildcard
        }
        self._dynamic = tuple(
            _Dynamic(one, config.max_dynamic) for one in config.descriptors if one.is_wildcard
        )

    def admit(self, descriptors: Sequence[Descriptor], now: float) -> Outcome:
        """Count a call. A refusal by one descriptor takes no token of a faster one."""
        matched = [found for one in descriptors if (found := self._match(one, now)) is not None]
        if len(matched) > 1:
            matched.sort(key=lambda one: one.bucket.config.rate)
        for one in matched:
            if not one.bucket.consume(one.descriptor.hits, now) and not one.shadow:
                return Outcome(False, one.bucket, one.descriptor.x_ratelimit_headers)
        default = self._default
        counts = default is not None and (not matched or self.config.always_consume_default)
        if counts and default is not None and not default.consume(1, now):
            return Outcome(False, default)
        if matched:
            first = matched[0]
            return Outcome(True, first.bucket, first.descriptor.x_ratelimit_headers)
        return Outcome(True, default)

    def _match(self, descriptor: Descriptor, now: float) -> _Matched | None:
        found = self._static.get(descriptor.entries)
        if found is not None:
            return _Matched(found[0], descriptor, found[1])
        for dynamic in self._dynamic:
            if dynamic.descriptor.takes(descriptor.entries):
                bucket = dynamic.bucket(descriptor.entries, now)
                return _Matched(bucket, descriptor, dynamic.descriptor.shadow)
        return None


def parse_limiter(reader: Reader) -> LimiterConfig:
    """The limits in a LocalRateLimit."""
    default = reader.message("token_bucket")
    descriptors = reader.each("descriptors", _descriptor)
    seen: set[Entries] = set()
    for one in descriptors:
        if one.entries in seen:
            name = ", ".join(f"{key}={value}" for key, value in one.entries)
            raise reader.error_at(
                "descriptors", f"duplicate descriptor in the local rate descriptor: {name}"
            )
        seen.add(one.entries)
    return LimiterConfig(
        None if default is None else parse_token_bucket(default, "local rate limit token bucket"),
        descriptors,
        reader.boolean("always_consume_default_token_bucket", True),
        reader.integer("max_dynamic_descriptors", _DEFAULT_DYNAMIC, at_least=1),
    )


def _descriptor(reader: Reader) -> LimitedDescriptor:
    check(reader, DESCRIPTOR)
    entries = reader.each("entries", _entry, at_least=1)
    bucket = parse_token_bucket(
        reader.required_message("token_bucket"), "local rate limit descriptor token bucket"
    )
    return LimitedDescriptor(entries, bucket, reader.boolean("shadow_mode"))


def _entry(reader: Reader) -> tuple[str, str]:
    check(reader, ENTRY)
    return octets(reader.required_string("key")), octets(reader.string("value"))
