"""Round robin: hosts take turns, weighted ones as often as their weight says."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.endpoint import Host
from meshsdk.config.extension import Extensions, LbPolicyExtension
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.lb_policies.edf import Edf
from meshsdk.lb_policies.locality_config import parse_locality_weighted
from meshsdk.lb_policies.policy import PickContext, Picker, Position, Source
from meshsdk.lb_policies.slow_start import SlowStart, age_of, parse_slow_start

TABLE: Final = MessageTable(
    "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",
    honoured("slow_start_config", "locality_lb_config"),
)
_MAX_PHASE: Final = 1 << 16
"""Rotations begin anywhere, so that many clients do not begin at the same host."""


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """The policy's config."""

    locality_weighted: bool = False
    slow_start: SlowStart | None = None
    not_built: tuple[str, ...] = ()

    def picker(self, source: Source) -> Picker:
        """Plain rotation where all weights are equal, else earliest deadline first."""
        slow = self.slow_start
        if slow is not None and not slow.applies(source):
            slow = None
        if slow is None and have_equal_weights(source.hosts):
            position = source.live.positions.setdefault(
                source.key, Position(source.random.randrange(_MAX_PHASE))
            )
            return _Rotation(source.hosts, position)
        return _Weighted(source, slow)


def have_equal_weights(hosts: tuple[Host, ...]) -> bool:
    """Whether weights make no difference."""
    return len({h.endpoint.weight for h in hosts}) <= 1


class _Rotation:
    __slots__ = ("_count", "_hosts", "_position")

    def __init__(self, hosts: tuple[Host, ...], position: Position) -> None:
        self._hosts = hosts
        self._count = len(hosts)
        self._position = position

    def pick(self, context: PickContext) -> Host | None:
        if not self._count:
            return None
        position = self._position
        turn = position.next
        position.next = turn + 1
        return self._hosts[turn % self._count]


class _Weighted:
    __slots__ = ("_edf", "_slow", "_source")

    def __init__(self, source: Source, slow: SlowStart | None) -> None:
        now = source.clock.monotonic()
        self._source = source
        self._slow = slow
        weights = [(host, self._weight(host, now)) for host in source.hosts]
        self._edf = Edf(weights, source.random.randrange(_MAX_PHASE))

    def _weight(self, host: Host, now: float) -> float:
        if self._slow is None:
            return host.endpoint.weight
        return host.endpoint.weight * self._slow.factor(age_of(host, self._source, now))

    def pick(self, context: PickContext) -> Host | None:
        if self._slow is None:
            host = self._edf.pick(_weight_of)
        else:
            host = self._edf.pick(lambda h: self._weight(h, context.now))
        hosts = self._source.hosts
        if host is None and hosts:  # other threads are picking every host this very moment
            return hosts[context.random.randrange(len(hosts))]
        return host


def _weight_of(host: Host) -> float:
    return host.endpoint.weight


def _parse(config: Reader, extensions: Extensions) -> RoundRobin:
    del extensions
    missing = check(config, TABLE)
    return RoundRobin(parse_locality_weighted(config), parse_slow_start(config), missing)


EXTENSION: Final = LbPolicyExtension(
    "envoy.load_balancing_policies.round_robin",
    ("type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin",),
    _parse,
)
