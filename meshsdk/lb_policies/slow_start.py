"""Slow start: a new host gets its share of calls little by little."""

import math
from dataclasses import dataclass
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.policy import Source

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.common.v3.SlowStartConfig",
    honoured("slow_start_window", "aggression", "min_weight_percent"),
)


@dataclass(frozen=True, slots=True)
class SlowStart:
    """`window` in seconds; `min_weight` as a share of the full weight."""

    window: float
    aggression: float = 1.0
    min_weight: float = 0.1

    def factor(self, age: float) -> float:
        """The share of its weight that a host of this age (seconds) gets."""
        if age >= self.window:
            return 1.0
        passed = max(0.001, age) / self.window
        return max(math.pow(passed, 1.0 / self.aggression), self.min_weight)

    def applies(self, source: Source) -> bool:
        """Whether any host of a source is still being warmed up."""
        now = source.clock.monotonic()
        since = source.live.since
        return any(now - since.get(h.state, -math.inf) < self.window for h in source.hosts)


def parse_slow_start(config: Reader) -> SlowStart | None:
    """The `slow_start_config` of a policy."""
    reader = config.message("slow_start_config")
    if reader is None:
        return None
    check(reader, TABLE)
    window = reader.duration("slow_start_window")
    if window <= 0:
        return None
    aggression = reader.message("aggression")
    value = 1.0 if aggression is None else aggression.number("default_value")
    least = reader.message("min_weight_percent")
    percent = 10.0 if least is None else least.number("value")
    if not 0.0 <= percent <= 100.0:
        raise reader.error_at("min_weight_percent.value", f"expected 0 to 100, found {percent:g}")
    # Envoy: an aggression of 0 or less is no aggression.
    return SlowStart(window, value if value > 0 else 1.0, percent / 100.0)


def age_of(host: Host, source: Source, now: float) -> float:
    """Seconds since the balancer first saw a host."""
    return now - source.live.since.get(host.state, -math.inf)
