"""Circuit breakers: live counts of one cluster against its limits.

Counts are plain integers: under the GIL `+= 1` on an attribute is not interrupted.
Source: Envoy, ResourceManagerImpl.
"""

from meshsdk.resources.circuit_breakers import CircuitBreakers, Priority, Thresholds
from meshsdk.resources.cluster import Cluster


class PriorityBreakers:
    """The counts of one routing priority. Every `try_` that gave True needs its `end_`."""

    __slots__ = ("connections", "limits", "pending", "requests", "retries")

    def __init__(self, limits: Thresholds) -> None:
        self.limits = limits
        self.connections = 0
        self.pending = 0
        """Calls that wait for a connection."""
        self.requests = 0
        """Calls on a connection."""
        self.retries = 0

    def try_request(self) -> bool:
        """Count a call that goes onto a connection; False: reset reason OVERFLOW."""
        if self.requests >= self.limits.max_requests:
            return False
        self.requests += 1
        return True

    def end_request(self) -> None:
        """The call ended."""
        self.requests -= 1

    def try_pending(self) -> bool:
        """Count a call that must wait for a connection; False: reset reason OVERFLOW."""
        if self.pending >= self.limits.max_pending_requests:
            return False
        self.pending += 1
        return True

    def end_pending(self) -> None:
        """The call got a connection or gave up."""
        self.pending -= 1

    def try_connection(self, *, first_to_host: bool) -> bool:
        """Count a new connection; False: wait for an old one.

        A host without any connection may always open one, or its calls would wait for ever.
        """
        if self.connections >= self.limits.max_connections and not first_to_host:
            return False
        self.connections += 1
        return True

    def end_connection(self) -> None:
        """The connection closed."""
        self.connections -= 1

    @property
    def max_retries(self) -> int:
        """How many retries may be under way now."""
        budget = self.limits.retry_budget
        if budget is None:
            return self.limits.max_retries
        allowed = int(budget.percent / 100.0 * (self.requests + self.pending))
        return max(allowed, budget.min_retry_concurrency)

    def try_retry(self) -> bool:
        """Count a retry; False: no retry (flag UO)."""
        if self.retries >= self.max_retries:
            return False
        self.retries += 1
        return True

    def end_retry(self) -> None:
        """The retried call was decided upon again, or ended."""
        self.retries -= 1


class Breakers:
    """The counts of a cluster; they outlive its versions."""

    __slots__ = ("default", "high", "max_connections_per_host")

    def __init__(self, cluster: Cluster) -> None:
        limits = cluster.circuit_breakers
        self.default = PriorityBreakers(limits.default)
        self.high = PriorityBreakers(limits.high)
        self.max_connections_per_host = limits.max_connections_per_host

    def update(self, limits: CircuitBreakers) -> None:
        """Take a new version's limits; what is under way stays counted."""
        self.default.limits = limits.default
        self.high.limits = limits.high
        self.max_connections_per_host = limits.max_connections_per_host

    def of(self, priority: Priority) -> PriorityBreakers:
        """The counts of a routing priority."""
        return self.high if priority == "HIGH" else self.default
