"""Typed events and the hooks that take them."""

from meshsdk.telemetry.events import (
    CallDenied,
    ConfigAcknowledged,
    ConfigReported,
    DecisionAudited,
    DryRunDecided,
    Emit,
    Event,
    HostEjected,
    IdentityChanged,
    PlanPublished,
    ResourceRejected,
    SideCallEnded,
    StreamChanged,
    silent,
)
from meshsdk.telemetry.seen_call import SeenCall
from meshsdk.telemetry.status import MeshStatus, Rejection
from meshsdk.telemetry.why import Why

__all__ = [
    "CallDenied",
    "ConfigAcknowledged",
    "ConfigReported",
    "DecisionAudited",
    "DryRunDecided",
    "Emit",
    "Event",
    "HostEjected",
    "IdentityChanged",
    "MeshStatus",
    "PlanPublished",
    "Rejection",
    "ResourceRejected",
    "SeenCall",
    "SideCallEnded",
    "StreamChanged",
    "Why",
    "silent",
]
