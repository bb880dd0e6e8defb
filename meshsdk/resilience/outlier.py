"""Outlier detection: hosts that fail are taken out of rotation for a while.

Source: Envoy, DetectorImpl. Its interval timer is played by `sweep`, which balancers call before
each pick: ejections end, and statistics are judged, at the same points in time.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from meshsdk.call.endpoint import HostState
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.clock import Random
from meshsdk.resources.outlier_detection import OutlierDetection

_GATEWAY_ERRORS: Final = frozenset({502, 503, 504})
_TIMEOUTS: Final = frozenset(
    {ResetReason.PER_TRY_TIMEOUT, ResetReason.PER_TRY_IDLE_TIMEOUT, ResetReason.TIMEOUT}
)
_MAX_MISSED_TICKS: Final = 64
"""After so many idle intervals nothing changes any more: every back-off has run down."""
_HTTP_OF_GRPC: Final = {
    "0": 200,
    "1": 499,
    "2": 500,
    "3": 400,
    "4": 504,
    "5": 404,
    "6": 409,
    "7": 403,
    "8": 429,
    "9": 400,
    "10": 409,
    "11": 400,
    "12": 501,
    "13": 500,
    "14": 503,
    "15": 500,
    "16": 401,
}


def http_status_of(grpc_status: str | None) -> int:
    """The HTTP status that stands for a gRPC status; unknown ones are 500."""
    return _HTTP_OF_GRPC.get(grpc_status or "2", 500)


class OutlierDetector:
    """Judges the hosts of one cluster. `version` moves whenever a host was ejected or came back."""

    __slots__ = ("_config", "_ejected", "_hosts", "_next_tick", "_random", "overflows", "version")

    def __init__(self, config: OutlierDetection, random: Random, now: float) -> None:
        self._config = config
        self._random = random
        self._hosts: tuple[HostState, ...] = ()
        self._ejected = 0
        self._next_tick = now + config.interval
        self.version = 0
        self.overflows = 0
        """Ejections that max_ejection_percent prevented."""

    def update(self, config: OutlierDetection) -> None:
        """Take a new version's settings; ejections stay."""
        self._config = config

    def set_hosts(self, hosts: Iterable[HostState]) -> None:
        """Watch these hosts from now on. A host that left is forgotten, ejected or not."""
        self._hosts = tuple(dict.fromkeys(hosts))
        self._ejected = sum(host.ejected_until is not None for host in self._hosts)

    def close(self) -> None:
        """Let every host back in: the cluster has no outlier detection any more."""
        for host in self._hosts:
            host.ejected_until = None
        self._ejected = 0
        self.version += 1

    @property
    def ejected(self) -> int:
        """Hosts that are out of rotation."""
        return self._ejected

    @property
    def can_eject(self) -> bool:
        """False where max_ejection_percent of so few hosts is less than one host."""
        return self._config.always_eject_one_host or self._may_eject()

    # -- results -----------------------------------------------------------------------------

    def record(
        self,
        host: HostState,
        outcome: Outcome,
        now: float,
        *,
        is_error: Callable[[Response], bool] | None = None,
        is_grpc: bool = False,
    ) -> None:
        """Judge a host by the outcome of an attempt.

        `is_error` is the cluster's own idea of a failure (HttpProtocolOptions). `is_grpc`: a
        `grpc-status` among the response headers counts instead of 200; one that comes in trailers
        is recorded by the caller with `record_status`.
        """
        if isinstance(outcome, Response):
            if self._config.split_external_local_origin_errors:
                self._local_success(host)
            self.record_status(host, self._status(outcome, is_error, is_grpc=is_grpc), now)
        elif outcome.reason is not ResetReason.OVERFLOW:
            self._record_reset(host, outcome, now)

    def record_status(self, host: HostState, status: int, now: float) -> None:
        """Judge a host by an HTTP status, or by the one that stands for a gRPC status."""
        host.total += 1
        if not 500 <= status < 600:
            host.success += 1
            host.consecutive_5xx = host.consecutive_gateway_failure = 0
            return
        config = self._config
        if status in _GATEWAY_ERRORS:
            host.consecutive_gateway_failure += 1
            if host.consecutive_gateway_failure == config.consecutive_gateway_failure and (
                self._detected(host, config.enforcing_consecutive_gateway_failure, now)
            ):
                host.consecutive_gateway_failure = 0
        else:
            host.consecutive_gateway_failure = 0
        host.consecutive_5xx += 1
        if host.consecutive_5xx == config.consecutive_5xx and (
            self._detected(host, config.enforcing_consecutive_5xx, now)
        ):
            host.consecutive_5xx = 0

    def _status(
        self, response: Response, is_error: Callable[[Response], bool] | None, *, is_grpc: bool
    ) -> int:
        if is_error is not None:
            return 500 if is_error(response) else 200
        if is_grpc and "grpc-status" in response.headers:
            return http_status_of(response.headers.get("grpc-status"))
        return response.status

    def _record_reset(self, host: HostState, reset: Reset, now: float) -> None:
        if not self._config.split_external_local_origin_errors:
            self.record_status(host, 504 if reset.reason in _TIMEOUTS else 503, now)
            return
        if reset.request_sent:  # so there was a connection
            self._local_success(host)
        config = self._config
        host.local_origin_total += 1
        host.consecutive_local_origin_failure += 1
        if host.consecutive_local_origin_failure == config.consecutive_local_origin_failure and (
            self._detected(host, config.enforcing_consecutive_local_origin_failure, now)
        ):
            host.consecutive_local_origin_failure = 0

    def _local_success(self, host: HostState) -> None:
        host.local_origin_total += 1
        host.local_origin_success += 1
        host.consecutive_local_origin_failure = 0

    # -- ejection ----------------------------------------------------------------------------

    def _detected(self, host: HostState, enforcing: int, now: float) -> bool:
        """True: the counter that fired begins again. A host that is out already stays as it is."""
        if host.ejected_until is not None or host not in self._hosts:
            return False
        self._eject(host, enforcing, now)
        return True

    def _may_eject(self) -> bool:
        if not self._hosts:
            return False
        percent = 100.0 * (self._ejected + 1) / len(self._hosts)
        return percent <= min(100, self._config.max_ejection_percent)

    def _eject(self, host: HostState, enforcing: int, now: float) -> None:
        config = self._config
        if not self._may_eject() and not (config.always_eject_one_host and not self._ejected):
            self.overflows += 1
            return
        if self._random.randrange(100) >= enforcing:
            return
        if host.ejections * config.base_ejection_time < (
            config.max_ejection_time + config.base_ejection_time
        ):
            host.ejections += 1
        duration = min(config.base_ejection_time * host.ejections, config.max_ejection_time)
        jitter = self._random.random() * config.max_ejection_time_jitter
        host.ejected_until = now + duration + jitter
        self._ejected += 1
        self.version += 1

    def is_ejected(self, host: HostState) -> bool:
        """Whether a host is out of rotation."""
        return host.ejected_until is not None

    # -- intervals ---------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Do what Envoy's interval timer would have done by now."""
        if now < self._next_tick:
            return
        interval = self._config.interval
        missed = int((now - self._next_tick) / interval)
        if missed > _MAX_MISSED_TICKS:
            self._next_tick += (missed - _MAX_MISSED_TICKS) * interval
        while self._next_tick <= now:
            tick = self._next_tick
            self._next_tick = tick + interval
            self._tick(tick)

    def _tick(self, now: float) -> None:
        for host in self._hosts:
            if host.ejected_until is not None and host.ejected_until <= now:
                self._let_back(host, now)
        self._judge_rates(now)
        for host in self._hosts:
            if (
                host.ejected_until is None
                and host.ejections
                and now - host.last_ejection_end >= self._config.interval
            ):
                host.ejections -= 1

    def _let_back(self, host: HostState, now: float) -> None:
        host.ejected_until = None
        host.last_ejection_end = now
        host.consecutive_5xx = 0
        host.consecutive_gateway_failure = 0
        host.consecutive_local_origin_failure = 0
        self._ejected -= 1
        self.version += 1

    def _judge_rates(self, now: float) -> None:
        """Success rates and failure percentages of the interval that ends."""
        config = self._config
        external = [(h, h.success, h.total) for h in self._hosts]
        local = [(h, h.local_origin_success, h.local_origin_total) for h in self._hosts]
        for host in self._hosts:
            host.success = host.total = 0
            host.local_origin_success = host.local_origin_total = 0
        if len(self._hosts) < min(
            config.success_rate_minimum_hosts, config.failure_percentage_minimum_hosts
        ):
            return
        self._judge(
            external, config.enforcing_success_rate, config.enforcing_failure_percentage, now
        )
        self._judge(
            local,
            config.enforcing_local_origin_success_rate,
            config.enforcing_failure_percentage_local_origin,
            now,
        )

    def _judge(
        self,
        counts: Sequence[tuple[HostState, int, int]],
        enforcing_rate: int,
        enforcing_percentage: int,
        now: float,
    ) -> None:
        config = self._config
        rated: list[tuple[HostState, float]] = []
        measured: list[tuple[HostState, float]] = []
        for host, success, total in counts:
            if host.ejected_until is not None or not total:
                continue
            rate = success * 100.0 / total
            if total >= config.success_rate_request_volume:
                rated.append((host, rate))
            if total >= config.failure_percentage_request_volume:
                measured.append((host, rate))
        if rated and len(rated) >= config.success_rate_minimum_hosts:
            least = _least_success_rate(
                [rate for _, rate in rated], config.success_rate_stdev_factor / 1000.0
            )
            self._eject_all((h for h, rate in rated if rate < least), enforcing_rate, now)
        if measured and len(measured) >= config.failure_percentage_minimum_hosts:
            most = config.failure_percentage_threshold
            failing = (h for h, rate in measured if 100.0 - rate >= most)
            self._eject_all(failing, enforcing_percentage, now)

    def _eject_all(self, hosts: Iterable[HostState], enforcing: int, now: float) -> None:
        for host in hosts:
            if host.ejected_until is None:
                self._eject(host, enforcing, now)


def _least_success_rate(rates: Sequence[float], factor: float) -> float:
    """Mean less `factor` standard deviations."""
    mean = sum(rates) / len(rates)
    variance = sum((rate - mean) ** 2 for rate in rates) / len(rates)
    return mean - factor * math.sqrt(variance)
