"""Token buckets that fill evenly over time.

Source: envoy.type.v3.TokenBucket; Envoy, AtomicTokenBucketImpl.
"""

import math
from dataclasses import dataclass
from threading import Lock
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader

TABLE: Final = MessageTable(
    "envoy.type.v3.TokenBucket", honoured("max_tokens", "tokens_per_fill", "fill_interval")
)
_MIN_INTERVAL: Final = 0.05


@dataclass(frozen=True, slots=True)
class BucketConfig:
    """How large a bucket is and how fast it fills."""

    max_tokens: int
    tokens_per_fill: int
    fill_interval: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens_per_fill / self.fill_interval


class TokenBucket:
    """A bucket of its own lock: threads share it."""

    __slots__ = ("_full_at", "_lock", "config")

    def __init__(self, config: BucketConfig, now: float) -> None:
        self.config = config
        self._lock = Lock()
        # It is full from this time on; what is taken out moves the time onward.
        self._full_at = now

    def consume(self, tokens: int, now: float) -> bool:
        """Take tokens; False: there are not enough, and none are taken."""
        config = self.config
        with self._lock:
            full_at = max(self._full_at, now)
            left = config.max_tokens - (full_at - now) * config.rate
            # Half a millionth: what sums of times lose in precision.
            if left + 5e-7 < tokens:
                return False
            self._full_at = full_at + tokens / config.rate
            return True

    def _left(self, now: float) -> float:
        return self.config.max_tokens - max(0.0, self._full_at - now) * self.config.rate

    def remaining(self, now: float) -> int:
        """Whole tokens."""
        return max(0, math.floor(self._left(now) + 5e-7))

    def next_token(self, now: float) -> int:
        """Whole seconds until there is a token; 0: there is one."""
        lacking = 1 - self._left(now)
        return max(0, math.ceil(lacking / self.config.rate - 5e-7)) if lacking > 5e-7 else 0


def parse_token_bucket(reader: Reader, what: str) -> BucketConfig:
    """A TokenBucket; `what` names it in Envoy's complaint about its interval."""
    check(reader, TABLE)
    interval = reader.optional_duration("fill_interval")
    if interval is None or interval <= 0:
        raise reader.error_at("fill_interval", "expected more than 0s")
    if interval < _MIN_INTERVAL:
        raise reader.error_at("fill_interval", f"{what} fill timer must be >= 50ms")
    return BucketConfig(
        reader.integer("max_tokens", at_least=0),
        reader.integer("tokens_per_fill", 1, at_least=1),
        interval,
    )
