"""WorkloadGroup: what workloads that register themselves have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.workload_entry import WORKLOAD, Workload, parse_workload

_HEALTH: Final = "the health of registered workloads is not watched: they leave with their stream"
_SPEC: Final = fields("metadata", "template", ignored={"probe": _HEALTH})
_METADATA: Final = fields("labels", "annotations")


@dataclass(frozen=True, slots=True)
class WorkloadGroup:
    """The template of its entries, whose address comes with the workload."""

    metadata: Metadata
    template: Workload
    entry_labels: Mapping[str, str]
    """`spec.metadata.labels`: labels of the entries."""
    entry_annotations: Mapping[str, str]


def _parse(document: Document) -> WorkloadGroup:
    spec = document.spec(_SPEC)
    entry = spec.message("metadata", _METADATA)
    template = spec.message("template", WORKLOAD)
    if template is None:
        raise spec.error("expected template, found none")
    if template.has("address"):
        raise template.error_at("address", "comes with each workload, not from the group")
    return WorkloadGroup(
        document.metadata,
        parse_workload(template, needs_address=False),
        {} if entry is None else entry.string_map("labels"),
        {} if entry is None else entry.string_map("annotations"),
    )


KIND: Final = Kind("networking.istio.io", "WorkloadGroup", ("v1", "v1beta1", "v1alpha3"), _parse)
