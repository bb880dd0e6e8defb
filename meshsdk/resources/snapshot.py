"""The resources of one moment, consistent with each other, as the plan is compiled from them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from meshsdk.resources.cluster import Cluster
from meshsdk.resources.listener import Listener
from meshsdk.resources.load_assignment import LoadAssignment
from meshsdk.resources.name_table import NameTable
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.secret import Secret


@dataclass(frozen=True, slots=True)
class Bad:
    """A resource that was refused and has no good version."""

    reason: str
    """Field path and problem, as the control plane was told."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A resource that is named and does not exist, or did not come in time."""

    reason: str = "does not exist"


Absent: TypeAlias = Bad | Missing


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """By name. Values that did not change since the last snapshot are the same objects: compare by
    identity. A named resource that is not here at all was never waited for (a cluster that a route
    names and a wildcard feed never sent)."""

    listeners: Mapping[str, Listener | Absent] = field(
        default_factory=dict[str, "Listener | Absent"]
    )
    routes: Mapping[str, RouteConfiguration | Absent] = field(
        default_factory=dict[str, "RouteConfiguration | Absent"]
    )
    clusters: Mapping[str, Cluster | Absent] = field(default_factory=dict[str, "Cluster | Absent"])
    load_assignments: Mapping[str, LoadAssignment | Absent] = field(
        default_factory=dict[str, "LoadAssignment | Absent"]
    )
    secrets: Mapping[str, Secret | Absent] = field(default_factory=dict[str, "Secret | Absent"])
    name_table: NameTable | None = None
    version: int = 0
    """Counts snapshots; means nothing to a control plane."""
