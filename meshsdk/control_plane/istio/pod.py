"""Kubernetes' Pod: labels, account and address of a workload. Other fields are its business."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata


@dataclass(frozen=True, slots=True)
class Pod:
    """What the registry asks of a pod."""

    metadata: Metadata
    service_account: str
    address: str
    ports: Mapping[str, int]
    node_name: str = ""
    is_ready: bool = True


def _pod(document: Document) -> Pod:
    spec = document.root.message("spec", None)
    status = document.root.message("status", None)
    ports: dict[str, int] = {}
    for container in () if spec is None else spec.messages("containers", None):
        for port in container.messages("ports", None):
            if port.string("name"):
                ports[port.string("name")] = port.integer("containerPort")
    conditions = () if status is None else status.messages("conditions", None)
    ready = [each.string("status") for each in conditions if each.string("type") == "Ready"]
    return Pod(
        document.metadata,
        ("" if spec is None else spec.string("serviceAccountName")) or "default",
        "" if status is None else status.string("podIP"),
        ports,
        "" if spec is None else spec.string("nodeName"),
        ready != ["False"],
    )


KIND: Final = Kind("", "Pod", ("v1",), _pod)
