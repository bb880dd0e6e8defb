"""What happened, as typed values. Rooms emit them; hooks log, count or show them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from meshsdk.telemetry.why import UNEXPLAINED, Why


@dataclass(frozen=True, slots=True)
class PlanPublished:
    """A new plan is in force."""

    version: int
    listeners: int
    clusters: int
    seconds: float
    """From the first change to the swap."""


@dataclass(frozen=True, slots=True)
class ResourceRejected:
    """A resource was NACKed; its last good version, if any, stays."""

    type_url: str
    name: str
    error: str
    """Field path and problem, as the control plane was told."""


@dataclass(frozen=True, slots=True)
class ConfigAcknowledged:
    """The control plane was told that a response of this type was taken whole."""

    type_url: str
    names: tuple[str, ...] = ()
    """Of the resources in it."""


@dataclass(frozen=True, slots=True)
class ConfigReported:
    """Accepted configuration of which a part has no effect or cannot be used."""

    resource: str
    path: str
    why: str


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """The control-plane stream came up or ended."""

    connected: bool
    server: str
    reason: str = ""
    retry_in: float = 0.0
    """Seconds until the next try; 0 while connected."""


@dataclass(frozen=True, slots=True)
class IdentityChanged:
    """Our SVID or bundles changed, or their source did."""

    spiffe_id: str
    state: str
    """fresh, unreachable, withdrawn or expired."""
    not_after: float = 0.0
    """Seconds since the epoch."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HostEjected:
    """Outlier detection took a host out of a cluster."""

    cluster: str
    address: str
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class CallDenied:
    """A filter refused a request: facts for the log, never for the caller."""

    direction: str
    method: str
    path: str
    status: int
    details: str
    principal: str
    listener: str = ""
    request_id: str = ""
    config_version: int = 0
    why: Why = field(default=UNEXPLAINED, compare=False)
    """Of a denial by policy: the record of the decision."""


@dataclass(frozen=True, slots=True)
class DecisionAudited:
    """A policy asked for a record of its decision: Istio's AUDIT, Envoy's LOG, or
    `audit_logging_options`."""

    listener: str
    filter: str
    policy: str
    """Empty: none matched."""
    allowed: bool
    method: str
    path: str
    principal: str
    config_version: int = 0
    request_id: str = ""
    why: Why = field(default=UNEXPLAINED, compare=False)


@dataclass(frozen=True, slots=True)
class DryRunDecided:
    """Shadow rules judged a request; nothing was refused for it."""

    listener: str
    filter_chain: str
    filter: str
    prefix: str
    """Of their statistics: `istio_dry_run_allow_`, `istio_dry_run_deny_`."""
    allowed: bool
    policy: str
    """Empty: none matched."""
    config_version: int = 0
    request_id: str = ""
    why: Why = field(default=UNEXPLAINED, compare=False)

    @property
    def action(self) -> str:
        """Istio's `authz_dry_run_action`: `allow` or `deny`; empty for other prefixes."""
        for action in ("allow", "deny"):
            if f"_{action}_" in self.prefix:
                return action
        return ""


@dataclass(frozen=True, slots=True)
class SideCallEnded:
    """A filter asked a service of the mesh (ext_authz, rate limits, keys)."""

    cluster: str
    result: str
    """An HTTP status, `grpc 14`, or why no answer came: `timeout`, `overflow`."""
    seconds: float


Event: TypeAlias = (
    PlanPublished
    | ResourceRejected
    | ConfigAcknowledged
    | ConfigReported
    | StreamChanged
    | IdentityChanged
    | HostEjected
    | CallDenied
    | DecisionAudited
    | DryRunDecided
    | SideCallEnded
)
Emit: TypeAlias = Callable[[Event], None]
"""Hooks never raise and never block."""


def silent(_event: Event) -> None:
    """A hook that does nothing."""
