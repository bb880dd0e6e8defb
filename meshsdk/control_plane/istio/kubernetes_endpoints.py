"""Kubernetes' Endpoints: what EndpointSlices were before."""

from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.endpoint_slice import EndpointSlice, SliceEndpoint
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_ROOT: Final = fields("subsets")


@dataclass(frozen=True, slots=True)
class KubernetesEndpoints:
    """The same as slices: one a subset; the Service's name is the document's."""

    metadata: Metadata
    slices: tuple[EndpointSlice, ...]


def _endpoints(document: Document) -> KubernetesEndpoints:
    found: list[EndpointSlice] = []
    for subset in document.root.messages("subsets", None):
        ports = {
            port.string("name"): port.integer("port", at_least=1, at_most=65535)
            for port in subset.messages("ports", None)
        }
        every = [
            SliceEndpoint((each.required_string("ip"),), ready, _pod_of(each))
            for name, ready in (("addresses", True), ("notReadyAddresses", False))
            for each in subset.messages(name, None)
        ]
        metadata = document.metadata
        found.append(EndpointSlice(metadata, metadata.name, ports, tuple(every)))
    return KubernetesEndpoints(document.metadata, tuple(found))


def _pod_of(reader: SpecReader) -> str:
    target = reader.message("targetRef", None)
    return "" if target is None else target.string("name")


KIND: Final = Kind("", "Endpoints", ("v1",), _endpoints, _ROOT)
