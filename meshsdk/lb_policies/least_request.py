"""Least request: of a few hosts drawn at random, the one with the fewest calls in flight."""

import math
from dataclasses import dataclass
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.config.extension import Extensions, LbPolicyExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.edf import Edf
from meshsdk.lb_policies.locality_config import parse_locality_weighted
from meshsdk.lb_policies.policy import PickContext, Picker, Source
from meshsdk.lb_policies.round_robin import have_equal_weights
from meshsdk.lb_policies.slow_start import SlowStart, age_of, parse_slow_start

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",
    honoured(
        "choice_count",
        "active_request_bias",
        "slow_start_config",
        "locality_lb_config",
        "enable_full_scan",
        "selection_method",
    ),
)
_METHODS: Final = {"N_CHOICES": False, "FULL_SCAN": True}
_MAX_PHASE: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class LeastRequest:
    """The policy's config."""

    choice_count: int = 2
    active_request_bias: float = 1.0
    full_scan: bool = False
    locality_weighted: bool = False
    slow_start: SlowStart | None = None
    not_built: tuple[str, ...] = ()

    def picker(self, source: Source) -> Picker:
        """Choices where all weights are equal, else earliest deadline first by weight and load."""
        slow = self.slow_start
        if slow is not None and not slow.applies(source):
            slow = None
        if slow is not None or not have_equal_weights(source.hosts):
            return _Weighted(source, self.active_request_bias, slow)
        if self.full_scan:
            return _FullScan(source.hosts)
        return _Choices(source.hosts, self.choice_count)


class _Choices:
    __slots__ = ("_choices", "_count", "_hosts", "_squared")

    def __init__(self, hosts: tuple[Host, ...], choices: int) -> None:
        self._hosts = hosts
        self._choices = choices
        self._count = len(hosts)
        self._squared = len(hosts) ** 2

    def pick(self, context: PickContext) -> Host | None:
        count = self._count
        if count < 2:
            return self._hosts[0] if count else None
        hosts = self._hosts
        # One draw gives two independent choices.
        first, second = divmod(context.random.randrange(self._squared), count)
        best = hosts[first]
        other = hosts[second]
        if other.state.active_requests < best.state.active_requests:
            best = other
        for _ in range(self._choices - 2):
            other = hosts[context.random.randrange(count)]
            if other.state.active_requests < best.state.active_requests:
                best = other
        return best


class _FullScan:
    __slots__ = ("_hosts",)

    def __init__(self, hosts: tuple[Host, ...]) -> None:
        self._hosts = hosts

    def pick(self, context: PickContext) -> Host | None:
        if not self._hosts:
            return None
        least = min(h.state.active_requests for h in self._hosts)
        # Of several with the fewest calls one is drawn, so that not all clients take the same.
        idle = [h for h in self._hosts if h.state.active_requests == least]
        return idle[context.random.randrange(len(idle))] if idle else self._hosts[0]


class _Weighted:
    __slots__ = ("_bias", "_edf", "_slow", "_source")

    def __init__(self, source: Source, bias: float, slow: SlowStart | None) -> None:
        self._source = source
        self._bias = bias
        self._slow = slow
        now = source.clock.monotonic()
        weights = [(host, self._weight(host, now)) for host in source.hosts]
        self._edf = Edf(weights, source.random.randrange(_MAX_PHASE))

    def _weight(self, host: Host, now: float) -> float:
        weight: float = host.endpoint.weight
        active = host.state.active_requests + 1
        if self._bias == 1.0:
            weight /= active
        elif self._bias:
            weight /= math.pow(active, self._bias)
        if self._slow is not None:
            weight *= self._slow.factor(age_of(host, self._source, now))
        return weight

    def pick(self, context: PickContext) -> Host | None:
        host = self._edf.pick(lambda h: self._weight(h, context.now))
        hosts = self._source.hosts
        if host is None and hosts:  # other threads are picking every host this very moment
            return hosts[context.random.randrange(len(hosts))]
        return host


def _parse(config: Reader, extensions: Extensions) -> LeastRequest:
    del extensions
    missing = check(config, TABLE)
    bias = config.message("active_request_bias")
    value = 1.0 if bias is None else bias.number("default_value")
    scan = config.enum("selection_method", _METHODS, "N_CHOICES")
    return LeastRequest(
        choice_count=config.integer("choice_count", 2, at_least=2),
        # Envoy: a negative bias is the default one.
        active_request_bias=value if value >= 0.0 else 1.0,
        full_scan=scan or config.boolean("enable_full_scan"),
        locality_weighted=parse_locality_weighted(config),
        slow_start=parse_slow_start(config),
        not_built=missing,
    )


EXTENSION: Final = LbPolicyExtension(
    "envoy.load_balancing_policies.least_request",
    ("type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest",),
    _parse,
)
