"""Documents to the resources of one node: what istiod would send it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshsdk.control_plane.shapes.tls import Json


@dataclass(frozen=True, slots=True)
class NodeState:
    """The whole state of a node: name to resource, proto-JSON."""

    clusters: Mapping[str, Json] = field(default_factory=dict[str, Json])
    endpoints: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """By cluster name."""
    listeners: Mapping[str, Json] = field(default_factory=dict[str, Json])
    routes: Mapping[str, Json] = field(default_factory=dict[str, Json])
    names: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """The name table, under the empty name."""

    def dump(self) -> dict[str, Mapping[str, Json]]:
        """The shape of recorded states."""
        return {
            "CDS": self.clusters,
            "EDS": self.endpoints,
            "LDS": self.listeners,
            "NDS": self.names,
            "RDS": self.routes,
            "ECDS": {},
            "PCDS": {},
        }
