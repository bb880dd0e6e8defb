"""Kubernetes' Namespace. It needs none to be used; its labels say nothing of the mesh here."""

from dataclasses import dataclass
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.spec_fields import fields

_ROOT: Final = fields("spec")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and its labels."""

    metadata: Metadata


def _namespace(document: Document) -> Namespace:
    return Namespace(document.metadata)


KIND: Final = Kind("", "Namespace", ("v1",), _namespace, _ROOT, is_namespaced=False)
