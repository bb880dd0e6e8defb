"""What filters read of the route that a call took, beyond their own overrides."""

from dataclasses import dataclass

from meshsdk.resources.rate_limit import RateLimit


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """Of a route that leads to a cluster (Envoy's route entry)."""

    rate_limits: tuple[RateLimit, ...] = ()
    """The route's."""
    virtual_host_rate_limits: tuple[RateLimit, ...] = ()
    include_virtual_host_rate_limits: bool = False


NO_FACTS = RouteFacts()
