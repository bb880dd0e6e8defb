"""The gradient controller: a concurrency limit that follows measured latency.

Now and then it lets few calls through to learn the least latency; in between, the limit grows or
shrinks by the ratio of that to what calls take now. Source: Envoy, GradientController. Envoy's
timers are looked at when a call comes or ends.
"""

import math
from dataclasses import dataclass
from threading import Lock
from typing import Final

from meshsdk.clock import Random
from meshsdk.config.fields import MessageTable, check, honoured, not_built
from meshsdk.config.reader import Reader
from meshsdk.filters.runtime_values import percent

GRADIENT: Final = MessageTable(
    "envoy.extensions.filters.http.adaptive_concurrency.v3.GradientControllerConfig",
    honoured("sample_aggregate_percentile", "concurrency_limit_params", "min_rtt_calc_params"),
)
LIMIT: Final = MessageTable(
    f"{GRADIENT.message}.ConcurrencyLimitCalculationParams",
    {
        **honoured("max_concurrency_limit", "concurrency_update_interval"),
        "min_concurrency_limit": not_built("a least limit beside min_concurrency"),
    },
)
MIN_RTT: Final = MessageTable(
    f"{GRADIENT.message}.MinimumRTTCalculationParams",
    honoured("interval", "fixed_value", "request_count", "jitter", "min_concurrency", "buffer"),
)
TABLES: Final = (GRADIENT, LIMIT, MIN_RTT)
_MAX_SAMPLES: Final = 10_000
"""Of one window; later ones are not kept."""
_STUCK: Final = 5
"""Windows in a row at the least limit, after which the least latency is doubted."""


@dataclass(frozen=True, slots=True)
class GradientConfig:
    """The parameters; times in seconds, shares as fractions."""

    update_interval: float
    min_rtt_interval: float
    fixed_min_rtt: float | None = None
    """Instead of measuring it."""
    max_limit: int = 1000
    percentile: float = 0.5
    request_count: int = 50
    jitter: float = 0.15
    min_concurrency: int = 3
    buffer: float = 0.25


class GradientController:
    """The live limit."""

    __slots__ = (
        "_config",
        "_deferred",
        "_epoch",
        "_lock",
        "_min_rtt",
        "_min_rtt_due",
        "_samples",
        "_stuck",
        "_window_ends",
        "limit",
        "outstanding",
    )

    def __init__(self, config: GradientConfig) -> None:
        self._config = config
        self._lock = Lock()
        self.limit = config.min_concurrency
        self.outstanding = 0
        self._samples: list[float] = []
        self._stuck = 0
        self._min_rtt = config.fixed_min_rtt or 0.0
        self._deferred = 0 if config.fixed_min_rtt is not None else config.min_concurrency
        """The limit to return to after the least latency is known; 0: it is not being measured."""
        self._epoch = -math.inf
        self._min_rtt_due = math.inf
        self._window_ends = -math.inf

    def admit(self, now: float, random: Random) -> bool:
        """Whether one more call may run; each that did needs `record` or `cancel`."""
        with self._lock:
            self._look(now)
            if self.outstanding >= self.limit:
                return False
            self.outstanding += 1
            return True

    def cancel(self) -> None:
        """A call is over whose time says nothing."""
        with self._lock:
            self.outstanding -= 1

    def record(self, started: float, now: float, random: Random) -> None:
        """A call is over."""
        with self._lock:
            self._look(now)
            self.outstanding -= 1
            if started < self._epoch:
                return  # of before the least latency was measured anew
            if len(self._samples) < _MAX_SAMPLES:
                self._samples.append(now - started)
            if self._deferred and len(self._samples) >= self._config.request_count:
                self._learn(now, random)

    def _look(self, now: float) -> None:
        """Do what is due."""
        if self._deferred:
            return
        if now >= self._min_rtt_due:
            self._deferred = self.limit
            self._set(self._config.min_concurrency)
            self._samples.clear()
            self._epoch = now
        elif now >= self._window_ends:
            self._window_ends = now + self._config.update_interval
            if self._samples:
                self._follow(self._quantile())

    def _learn(self, now: float, random: Random) -> None:
        """Enough calls ran alone: their latency is the least."""
        config = self._config
        self._min_rtt = self._quantile()
        limit, self._deferred = self._deferred, 0
        self._min_rtt_due = now + config.min_rtt_interval * (1 + random.random() * config.jitter)
        self._window_ends = now + config.update_interval
        self._set(limit)

    def _follow(self, latency: float) -> None:
        config = self._config
        least = self._min_rtt * (1 + config.buffer)
        gradient = max(0.5, min(2.0, least / latency)) if latency > 0 else 2.0
        limit = self.limit * gradient
        limit += math.sqrt(limit)  # headroom for bursts
        self._set(max(config.min_concurrency, min(config.max_limit, int(limit))))

    def _set(self, limit: int) -> None:
        least = self._config.min_concurrency
        stuck = not self._deferred and self.limit == least and limit == least
        self._stuck = self._stuck + 1 if stuck else 0
        self.limit = limit
        if self._stuck >= _STUCK and self._config.fixed_min_rtt is None:
            self._min_rtt_due = -math.inf

    def _quantile(self) -> float:
        samples = sorted(self._samples)
        self._samples.clear()
        return samples[max(0, math.ceil(self._config.percentile * len(samples)) - 1)]


def parse_gradient(reader: Reader) -> tuple[GradientConfig, tuple[str, ...]]:
    """A GradientControllerConfig, and what it asks for that does not exist."""
    check(reader, GRADIENT)
    limits = reader.required_message("concurrency_limit_params")
    rtt = reader.required_message("min_rtt_calc_params")
    missing = (*check(limits, LIMIT), *check(rtt, MIN_RTT))
    fixed = rtt.optional_duration("fixed_value")
    config = GradientConfig(
        _positive(limits, "concurrency_update_interval"),
        _positive(rtt, "interval") if fixed is None else math.inf,
        fixed,
        limits.integer("max_concurrency_limit", 1000, at_least=1),
        percent(reader, "sample_aggregate_percentile", 50.0) / 100.0,
        rtt.integer("request_count", 50, at_least=1),
        percent(rtt, "jitter", 15.0) / 100.0,
        rtt.integer("min_concurrency", 3, at_least=1),
        percent(rtt, "buffer", 25.0) / 100.0,
    )
    return config, missing


def _positive(reader: Reader, name: str) -> float:
    found = reader.duration(name)
    if found <= 0:
        raise reader.error_at(name, f"expected more than 0s, found {found:g}s")
    return found
