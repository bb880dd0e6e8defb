"""MeshConfig: the document without apiVersion and kind."""

from dataclasses import dataclass

from meshsdk.control_plane.istio.nodes import Node
from meshsdk.control_plane.istio.spec_fields import Note, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_FIELDS = fields("trustDomain", "trustDomainAliases", "rootNamespace")


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """The mesh-wide settings, Istio's defaults where unset."""

    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    root_namespace: str = "istio-system"


def parse_mesh_config(node: Node, notes: list[Note]) -> MeshConfig:
    """The settings of a MeshConfig document."""
    reader = SpecReader(node, "", _FIELDS, notes)
    return MeshConfig(
        reader.string("trustDomain", "cluster.local"),
        reader.strings("trustDomainAliases"),
        reader.string("rootNamespace", "istio-system"),
    )
