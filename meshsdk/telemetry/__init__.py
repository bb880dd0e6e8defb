"""Typed events and the hooks that take them."""

from meshsdk.telemetry.events import (
    CallDenied,
    ConfigReported,
    Emit,
    Event,
    HostEjected,
    IdentityChanged,
    PlanPublished,
    ResourceRejected,
    StreamChanged,
    silent,
)

__all__ = [
    "CallDenied",
    "ConfigReported",
    "Emit",
    "Event",
    "HostEjected",
    "IdentityChanged",
    "PlanPublished",
    "ResourceRejected",
    "StreamChanged",
    "silent",
]
