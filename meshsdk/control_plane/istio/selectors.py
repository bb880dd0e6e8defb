"""Which workloads a policy is for: its namespace, the root namespace, and label selectors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from meshsdk.control_plane.istio.documents import Metadata
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_SELECTOR: Final = fields("matchLabels")
TARGET_REFS: Final = {
    "targetRef": "policies of waypoints and gateways are not built; a selector chooses sidecars",
    "targetRefs": "policies of waypoints and gateways are not built; a selector chooses sidecars",
}


@dataclass(frozen=True, slots=True)
class Workload:
    """Whom a translation is for; labels as the registry knows them, not as the node says."""

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


class Selecting(Protocol):
    """A policy that a selector binds to workloads."""

    @property
    def metadata(self) -> Metadata: ...
    @property
    def selector(self) -> Mapping[str, str]: ...


P = TypeVar("P", bound=Selecting)


def parse_selector(spec: SpecReader) -> dict[str, str]:
    """The labels of a spec's `selector`; empty where it chooses the whole namespace."""
    reader = spec.message("selector", _SELECTOR)
    if reader is None:
        return {}
    labels = reader.string_map("matchLabels")
    for key, value in labels.items():
        if not key:
            raise reader.error_at("matchLabels", "expected keys that are not empty")
        if "*" in key or "*" in value:
            raise reader.error_at("matchLabels", f"no wildcards here, found {key}={value}")
    return labels


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether every label of the selector is there; an empty selector chooses all."""
    return all(labels.get(key) == value for key, value in selector.items())


def of_workload(policies: Iterable[P], workload: Workload, root_namespace: str) -> tuple[P, ...]:
    """The policies of the root namespace and of the workload's that choose the workload."""
    places = (root_namespace, workload.namespace)
    return tuple(
        policy
        for policy in policies
        if policy.metadata.namespace in places and selects(policy.selector, workload.labels)
    )
