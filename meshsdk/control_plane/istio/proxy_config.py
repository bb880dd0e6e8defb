"""ProxyConfig: how a proxy's process runs. There is none here, and the feed says nothing of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.selectors import parse_selector
from meshsdk.control_plane.istio.spec_fields import fields

_SPEC: Final = fields("selector", "concurrency", "environmentVariables", "image")
_IMAGE: Final = fields("imageType")


@dataclass(frozen=True, slots=True)
class ProxyConfig:
    """A document that changes nothing that a node gets."""

    metadata: Metadata
    selector: Mapping[str, str] = field(default_factory=dict[str, str])


def parse_proxy_config(document: Document) -> ProxyConfig:
    """The document, its names checked."""
    spec = document.spec(_SPEC)
    spec.optional_integer("concurrency", at_least=0)
    spec.string_map("environmentVariables")
    spec.message("image", _IMAGE)
    return ProxyConfig(document.metadata, parse_selector(spec))


KIND: Final = Kind("networking.istio.io", "ProxyConfig", ("v1beta1",), parse_proxy_config)
