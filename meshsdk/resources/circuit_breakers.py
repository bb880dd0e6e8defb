"""CircuitBreakers: the limits of one cluster, by routing priority."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from meshsdk.config.fields import MessageTable, check, honoured, ignored, not_built
from meshsdk.config.reader import Reader

Priority = Literal["DEFAULT", "HIGH"]
_PRIORITIES: Final[Mapping[str, Priority]] = {"DEFAULT": "DEFAULT", "HIGH": "HIGH"}
_UINT32: Final = 0xFFFFFFFF

_BREAKERS: Final = MessageTable(
    "envoy.config.cluster.v3.CircuitBreakers", honoured("thresholds", "per_host_thresholds")
)
_THRESHOLDS: Final = MessageTable(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds",
    honoured(
        "priority",
        "max_connections",
        "max_pending_requests",
        "max_requests",
        "max_retries",
        "retry_budget",
    )
    | {
        "track_remaining": ignored("statistics"),
        "max_connection_pools": not_built("a limit on connection pools"),
    },
)
_BUDGET: Final = MessageTable(
    "envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget",
    honoured("budget_percent", "min_retry_concurrency")
    | {"budget_interval": not_built("a budget over a time instead of what is active")},
)
TABLES: Final = (_BREAKERS, _THRESHOLDS, _BUDGET)


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries may be this percentage of what is active and pending, and never fewer than `min`."""

    percent: float = 20.0
    min_retry_concurrency: int = 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of one priority; the defaults are Envoy's for unset fields."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3
    retry_budget: RetryBudget | None = None
    """Where set, `max_retries` has no meaning."""


DEFAULT_THRESHOLDS: Final = Thresholds()


@dataclass(frozen=True, slots=True)
class CircuitBreakers:
    """The limits of a cluster."""

    default: Thresholds = DEFAULT_THRESHOLDS
    high: Thresholds = DEFAULT_THRESHOLDS
    max_connections_per_host: int = _UINT32
    not_built: tuple[str, ...] = ()

    def of(self, priority: Priority) -> Thresholds:
        """The limits of a routing priority."""
        return self.high if priority == "HIGH" else self.default


NO_BREAKERS: Final = CircuitBreakers()


def parse_circuit_breakers(reader: Reader | None) -> CircuitBreakers:
    """A cluster's circuit breakers. Of two entries of one priority the first counts, as in Envoy."""
    if reader is None:
        return NO_BREAKERS
    missing = list(check(reader, _BREAKERS))
    found: dict[Priority, Thresholds] = {}
    for item in reader.messages("thresholds"):
        missing.extend(check(item, _THRESHOLDS))
        budget = item.message("retry_budget")
        missing.extend(() if budget is None else check(budget, _BUDGET))
        found.setdefault(item.enum("priority", _PRIORITIES, "DEFAULT"), _thresholds(item))
    return CircuitBreakers(
        found.get("DEFAULT", DEFAULT_THRESHOLDS),
        found.get("HIGH", DEFAULT_THRESHOLDS),
        _per_host(reader),
        tuple(missing),
    )


def _thresholds(reader: Reader) -> Thresholds:
    def limit(name: str, default: int) -> int:
        return reader.integer(name, default, at_least=0, at_most=_UINT32)

    budget = reader.message("retry_budget")
    return Thresholds(
        limit("max_connections", 1024),
        limit("max_pending_requests", 1024),
        limit("max_requests", 1024),
        limit("max_retries", 3),
        None if budget is None else _budget(budget),
    )


def _budget(reader: Reader) -> RetryBudget:
    percent = reader.message("budget_percent")
    value = 20.0 if percent is None else percent.number("value")
    if not 0.0 <= value <= 100.0:
        raise reader.error_at("budget_percent.value", f"expected 0 to 100, found {value:g}")
    return RetryBudget(value, reader.integer("min_retry_concurrency", 3, at_least=0))


def _per_host(reader: Reader) -> int:
    """Per host Envoy honours max_connections of priority DEFAULT alone, and refuses other limits."""
    limit = _UINT32
    for item in reader.messages("per_host_thresholds"):
        for name in item.names():
            if name not in ("priority", "max_connections"):
                raise item.error_at(name, "expected no other per-host limit than max_connections")
        if item.enum("priority", _PRIORITIES, "DEFAULT") == "DEFAULT":
            limit = item.integer("max_connections", _UINT32, at_least=0, at_most=_UINT32)
    return limit
