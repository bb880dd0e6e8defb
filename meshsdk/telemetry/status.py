"""How we stand with the control plane and our identity: told by events, read by anybody."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from meshsdk.clock import Clock
from meshsdk.telemetry.events import (
    CallDenied,
    ConfigAcknowledged,
    DryRunDecided,
    Event,
    HostEjected,
    IdentityChanged,
    PlanPublished,
    ResourceRejected,
    SideCallEnded,
    StreamChanged,
)
from meshsdk.telemetry.policy_counts import PolicyCounts
from meshsdk.telemetry.prometheus import sample_lines

_KEPT: Final = 1000
"""Refused resources by name."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A resource that is refused now."""

    type_url: str
    name: str
    error: str


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """One moment. Times are seconds since the epoch; 0: never."""

    connected: bool
    """Whether the control plane answers; a mesh without one is never connected."""
    server: str
    disconnect_reason: str
    plan_version: int
    plan_published: float
    """When the configuration in force was put in force."""
    last_ack: float
    """When the control plane was last told that all was well."""
    stale_for: float
    """Seconds since the stream ended; 0 while there is one. What is in force stays."""
    rejections: tuple[Rejection, ...]
    identity: str
    """The state of its source; empty where there is none."""
    spiffe_id: str
    certificate_expires: float
    """The first of our certificates to expire."""
    acks: Mapping[str, int] = field(default_factory=dict[str, int])
    """By type URL, since the start."""
    nacks: Mapping[str, int] = field(default_factory=dict[str, int])


class StatusKeeper:
    """A hook for events. Any number of threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._stream = StreamChanged(False, "")
        self._ended = 0.0
        self._identity: IdentityChanged | None = None
        self._version = 0
        self._published = 0.0
        self._last_ack = 0.0
        self._failures = 0
        self._ejections: dict[str, int] = {}
        self._acks: dict[str, int] = {}
        self._nacks: dict[str, int] = {}
        self._rejected: dict[tuple[str, str], str] = {}
        self._policies = PolicyCounts()
        self._side_calls: dict[tuple[str, str], int] = {}

    def emit(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            match event:
                case StreamChanged(connected=connected):
                    if not connected and (self._stream.connected or not self._ended):
                        self._ended = self._clock.time()
                    self._failures += not connected
                    self._stream = event
                case PlanPublished(version=version):
                    self._version, self._published = version, self._clock.time()
                case ConfigAcknowledged(type_url=type_url, names=names):
                    self._last_ack = self._clock.time()
                    self._acks[type_url] = self._acks.get(type_url, 0) + 1
                    for name in names:
                        self._rejected.pop((type_url, name), None)
                case ResourceRejected(type_url=type_url, name=name, error=error):
                    self._nacks[type_url] = self._nacks.get(type_url, 0) + 1
                    self._rejected.pop((type_url, name), None)
                    if len(self._rejected) >= _KEPT:
                        del self._rejected[next(iter(self._rejected))]
                    self._rejected[type_url, name] = error
                case IdentityChanged():
                    self._identity = event
                case HostEjected(cluster=cluster):
                    self._ejections[cluster] = self._ejections.get(cluster, 0) + 1
                case SideCallEnded(cluster=cluster, result=result):
                    key = cluster, result
                    if key not in self._side_calls and len(self._side_calls) >= _KEPT:
                        key = "other", "other"
                    self._side_calls[key] = self._side_calls.get(key, 0) + 1
                case CallDenied() | DryRunDecided():
                    self._policies.count(event)
                case _:
                    pass

    def why_none(self) -> str:
        """Why no configuration comes, as far as the stream knows; empty while it is up."""
        stream = self._stream
        if stream.connected or not stream.reason:
            return ""
        return f"the control plane {stream.server} answers {stream.reason}"

    def status(self) -> MeshStatus:
        """As of now."""
        with self._lock:
            identity, stream = self._identity, self._stream
            stale = self._ended and not stream.connected
            return MeshStatus(
                stream.connected,
                stream.server,
                stream.reason,
                self._version,
                self._published,
                self._last_ack,
                self._clock.time() - self._ended if stale else 0.0,
                tuple(Rejection(*key, error) for key, error in self._rejected.items()),
                "" if identity is None else identity.state,
                "" if identity is None else identity.spiffe_id,
                0.0 if identity is None else identity.not_after,
                dict(self._acks),
                dict(self._nacks),
            )

    def lines(self) -> Iterator[str]:
        """The same as metrics; names of the first ones as in gRFC A78."""
        now = self.status()
        server = {"grpc_xds_server": now.server}
        if now.server:
            connected = [(server, float(now.connected))]
            yield from sample_lines("grpc_xds_client_connected", "gauge", connected)
            failures = [(server, float(self._failures))]
            yield from sample_lines("grpc_xds_client_server_failure_total", "counter", failures)
        for name, counts in (
            ("grpc_xds_client_resource_updates_valid_total", now.acks),
            ("grpc_xds_client_resource_updates_invalid_total", now.nacks),
        ):
            samples = [
                ({**server, "grpc_xds_resource_type": url.rpartition("/")[2]}, float(count))
                for url, count in counts.items()
            ]
            yield from sample_lines(name, "counter", samples)
        gauges = {
            "meshsdk_config_version": float(now.plan_version),
            "meshsdk_config_published_timestamp_seconds": now.plan_published,
            "meshsdk_config_stale_seconds": now.stale_for,
            "meshsdk_xds_last_ack_timestamp_seconds": now.last_ack,
            "meshsdk_xds_rejected_resources": float(len(now.rejections)),
        }
        for name, value in gauges.items():
            yield from sample_lines(name, "gauge", [({}, value)])
        if now.identity:
            state = [({"state": now.identity, "spiffe_id": now.spiffe_id}, 1.0)]
            yield from sample_lines("meshsdk_identity_info", "gauge", state)
            name = "meshsdk_certificate_expiration_timestamp_seconds"
            yield from sample_lines(name, "gauge", [({}, now.certificate_expires)])
        ejections = [({"cluster_name": name}, float(n)) for name, n in self._ejections.items()]
        yield from sample_lines("meshsdk_outlier_ejections_total", "counter", ejections)
        with self._lock:
            policies = list(self._policies.lines())
            asked = list(self._side_calls.items())
        side_calls = [({"cluster_name": c, "result": r}, float(n)) for (c, r), n in asked]
        yield from sample_lines("meshsdk_side_calls_total", "counter", side_calls)
        yield from policies
