"""Typed events and the hooks that take them."""

from meshsdk.telemetry.events import (
    CallDenied,
    ConfigReported,
    DryRunDecided,
    Emit,
    Event,
    HostEjected,
    IdentityChanged,
    PlanPublished,
    ResourceRejected,
    StreamChanged,
    silent,
)
from meshsdk.telemetry.why import Why

__all__ = [
    "CallDenied",
    "ConfigReported",
    "DryRunDecided",
    "Emit",
    "Event",
    "HostEjected",
    "IdentityChanged",
    "PlanPublished",
    "ResourceRejected",
    "StreamChanged",
    "Why",
    "silent",
]
