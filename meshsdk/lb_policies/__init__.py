"""Load balancing policies: how a host of a cluster is chosen."""

from typing import Final

from meshsdk.config.extension import LbPolicyExtension
from meshsdk.lb_policies import least_request, maglev, random, ring_hash, round_robin, subset
from meshsdk.lb_policies.balancer import build
from meshsdk.lb_policies.policy import (
    HashPolicy,
    LoadBalancer,
    PickContext,
    Picker,
    Source,
    SourcePolicy,
)

__all__ = [
    "LB_POLICIES",
    "HashPolicy",
    "LoadBalancer",
    "PickContext",
    "Picker",
    "Source",
    "SourcePolicy",
    "build",
]

LB_POLICIES: Final[tuple[LbPolicyExtension, ...]] = (
    least_request.EXTENSION,
    maglev.EXTENSION,
    random.EXTENSION,
    ring_hash.EXTENSION,
    round_robin.EXTENSION,
    subset.EXTENSION,
)
