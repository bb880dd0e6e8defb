"""Endpoints, and the live state that outlives any one configuration of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

from meshsdk.call.address import Address

NO_METADATA: Mapping[str, Mapping[str, object]] = MappingProxyType({})


class HealthStatus(Enum):
    """envoy.config.core.v3.HealthStatus."""

    UNKNOWN = "UNKNOWN"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    DRAINING = "DRAINING"
    TIMEOUT = "TIMEOUT"
    DEGRADED = "DEGRADED"


@dataclass(frozen=True, slots=True)
class Locality:
    """envoy.config.core.v3.Locality."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


NO_LOCALITY = Locality()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a cluster as its load assignment describes it."""

    address: Address
    hostname: str = ""
    weight: int = 1
    priority: int = 0
    locality: Locality = NO_LOCALITY
    locality_weight: int = 0
    health: HealthStatus = HealthStatus.UNKNOWN
    metadata: Mapping[str, Mapping[str, object]] = field(
        default_factory=lambda: NO_METADATA, compare=False
    )
    """filter_metadata by namespace."""

    def __hash__(self) -> int:
        return hash((self.address, self.hostname))


@dataclass(slots=True, eq=False)
class HostState:
    """Live counts of one address in one cluster. Kept while anything is in flight."""

    active_requests: int = 0
    active_connections: int = 0
    consecutive_5xx: int = 0
    consecutive_gateway_failure: int = 0
    consecutive_local_origin_failure: int = 0
    success: int = 0
    """Requests of this success-rate interval that succeeded."""
    total: int = 0
    local_origin_success: int = 0
    """The same two counts for connections, where local and external failures are told apart."""
    local_origin_total: int = 0
    ejected_until: float | None = None
    """Monotonic seconds; None when not ejected."""
    ejections: int = 0
    """The multiplier of base_ejection_time."""
    last_ejection_end: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Host:
    """An endpoint and its live state: what load balancers pick and attempts go to."""

    endpoint: Endpoint
    state: HostState
    socket: object = None
    """The transport socket that its metadata chose (a noun of resources/tls.py); None: plaintext."""
