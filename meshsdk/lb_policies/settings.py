"""What every balancer of a cluster needs besides its hosts."""

from dataclasses import dataclass

from meshsdk.clock import Clock, Random
from meshsdk.lb_policies.policy import Health


@dataclass(frozen=True, slots=True)
class Settings:
    """Percentages as integers."""

    clock: Clock
    random: Random
    health: Health
    overprovisioning: int
    weighted_priority_health: bool
    panic_threshold: int
    fail_traffic_on_panic: bool
