"""OutlierDetection: when a host is taken out of rotation, and for how long."""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader

_OUTLIER: Final = MessageTable(
    "envoy.config.cluster.v3.OutlierDetection",
    honoured(
        "consecutive_5xx",
        "interval",
        "base_ejection_time",
        "max_ejection_percent",
        "enforcing_consecutive_5xx",
        "enforcing_success_rate",
        "success_rate_minimum_hosts",
        "success_rate_request_volume",
        "success_rate_stdev_factor",
        "consecutive_gateway_failure",
        "enforcing_consecutive_gateway_failure",
        "split_external_local_origin_errors",
        "consecutive_local_origin_failure",
        "enforcing_consecutive_local_origin_failure",
        "enforcing_local_origin_success_rate",
        "failure_percentage_threshold",
        "enforcing_failure_percentage",
        "enforcing_failure_percentage_local_origin",
        "failure_percentage_minimum_hosts",
        "failure_percentage_request_volume",
        "max_ejection_time",
        "max_ejection_time_jitter",
        "always_eject_one_host",
    )
    | {
        "successful_active_health_check_uneject_host": ignored("there are no active health checks"),
        "monitors": not_built("outlier detection extensions"),
        "detect_degraded_hosts": not_built("degraded hosts by x-envoy-degraded"),
    },
)
TABLES: Final = (_OUTLIER,)
_MAX_EJECTION_TIME: Final = 300.0


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """Seconds, percentages as integers; the defaults are Envoy's for unset fields."""

    consecutive_5xx: int = 5
    consecutive_gateway_failure: int = 5
    consecutive_local_origin_failure: int = 5
    interval: float = 10.0
    base_ejection_time: float = 30.0
    max_ejection_time: float = _MAX_EJECTION_TIME
    max_ejection_time_jitter: float = 0.0
    max_ejection_percent: int = 10
    always_eject_one_host: bool = False
    split_external_local_origin_errors: bool = False
    enforcing_consecutive_5xx: int = 100
    enforcing_consecutive_gateway_failure: int = 0
    enforcing_consecutive_local_origin_failure: int = 100
    enforcing_success_rate: int = 100
    enforcing_local_origin_success_rate: int = 100
    enforcing_failure_percentage: int = 0
    enforcing_failure_percentage_local_origin: int = 0
    success_rate_minimum_hosts: int = 5
    success_rate_request_volume: int = 100
    success_rate_stdev_factor: int = 1900
    """Thousandths of a standard deviation."""
    failure_percentage_threshold: int = 85
    failure_percentage_minimum_hosts: int = 5
    failure_percentage_request_volume: int = 50
    not_built: tuple[str, ...] = ()


_COUNTS: Final = (
    "consecutive_5xx",
    "consecutive_gateway_failure",
    "consecutive_local_origin_failure",
    "success_rate_minimum_hosts",
    "success_rate_request_volume",
    "success_rate_stdev_factor",
    "failure_percentage_minimum_hosts",
    "failure_percentage_request_volume",
)
_PERCENTAGES: Final = (
    "max_ejection_percent",
    "enforcing_consecutive_5xx",
    "enforcing_consecutive_gateway_failure",
    "enforcing_consecutive_local_origin_failure",
    "enforcing_success_rate",
    "enforcing_local_origin_success_rate",
    "enforcing_failure_percentage",
    "enforcing_failure_percentage_local_origin",
    "failure_percentage_threshold",
)
_DEFAULTS: Final = OutlierDetection()


def parse_outlier_detection(reader: Reader | None) -> OutlierDetection | None:
    """A cluster's outlier detection; None: hosts are never ejected."""
    if reader is None:
        return None
    missing = check(reader, _OUTLIER)
    numbers: dict[str, int] = {}
    for name in _COUNTS:
        numbers[name] = reader.integer(name, getattr(_DEFAULTS, name), at_least=0)
    for name in _PERCENTAGES:
        numbers[name] = reader.integer(name, getattr(_DEFAULTS, name), at_least=0, at_most=100)
    base = _positive(reader, "base_ejection_time", 30.0)
    top = _positive(reader, "max_ejection_time", max(_MAX_EJECTION_TIME, base))
    if top < base:
        raise reader.error_at(
            "max_ejection_time", f"expected at least base_ejection_time ({base:g}s), found {top:g}s"
        )
    return OutlierDetection(
        **numbers,
        interval=_positive(reader, "interval", 10.0),
        base_ejection_time=base,
        max_ejection_time=top,
        max_ejection_time_jitter=reader.duration("max_ejection_time_jitter"),
        always_eject_one_host=reader.boolean("always_eject_one_host"),
        split_external_local_origin_errors=reader.boolean("split_external_local_origin_errors"),
        not_built=missing,
    )


def _positive(reader: Reader, name: str, default: float) -> float:
    seconds = reader.optional_duration(name)
    if seconds is None:
        return default
    if seconds <= 0:
        raise reader.error_at(name, f"expected a duration above 0s, found {seconds:g}s")
    return seconds
