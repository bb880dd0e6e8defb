"""Kubernetes' EndpointSlice: endpoints of a Service. Other fields are Kubernetes' business."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_ROOT: Final = fields("addressType", "endpoints", "ports")


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    """Addresses of one pod."""

    addresses: tuple[str, ...]
    is_ready: bool
    pod: str = ""
    zone: str = ""
    hostname: str = ""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Endpoints of a Service, all with the same ports."""

    metadata: Metadata
    service: str
    ports: Mapping[str, int]
    """Name of the Service's port to the pods' port."""
    endpoints: tuple[SliceEndpoint, ...] = ()


def _slice(document: Document) -> EndpointSlice:
    root = document.root
    service = document.metadata.labels.get("kubernetes.io/service-name", "")
    ports = {
        port.string("name"): port.integer("port", at_least=0, at_most=65535)
        for port in root.messages("ports", None)
    }
    endpoints = root.each("endpoints", None, _slice_endpoint)
    return EndpointSlice(document.metadata, service, ports, endpoints)


def _slice_endpoint(reader: SpecReader) -> SliceEndpoint:
    conditions = reader.message("conditions", None)
    ready = None if conditions is None else conditions.optional_boolean("ready")
    target = reader.message("targetRef", None)
    return SliceEndpoint(
        reader.strings("addresses"),
        ready is not False,
        "" if target is None else target.string("name"),
        reader.string("zone"),
        reader.string("hostname"),
    )


KIND: Final = Kind("discovery.k8s.io", "EndpointSlice", ("v1",), _slice, _ROOT)
