"""Kubernetes' Service. Fields that the registry does not read are Kubernetes' business."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.services import Protocol, protocol_of
from meshsdk.control_plane.istio.spec_reader import SpecReader

_EXPORT_TO: Final = "networking.istio.io/exportTo"
_WELL_KNOWN_TCP: Final = frozenset({25, 53, 3306, 27017, 6379})  # istiod, kube.wellKnownPorts
_APP_PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "kubernetes.io/h2c": "HTTP2",
    "kubernetes.io/ws": "HTTP",
    "kubernetes.io/wss": "HTTPS",
}


@dataclass(frozen=True, slots=True)
class KubernetesPort:
    """A port of a Service."""

    number: int
    name: str
    protocol: Protocol
    target: int | str
    """The pods' port, or the name of it."""


@dataclass(frozen=True, slots=True)
class KubernetesService:
    """A Service."""

    metadata: Metadata
    ports: tuple[KubernetesPort, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    cluster_ips: tuple[str, ...] = ()
    is_headless: bool = False
    external_name: str = ""
    publishes_not_ready: bool = False
    export_to: tuple[str, ...] = ()
    """The annotation `networking.istio.io/exportTo`; empty where unset."""


def port_protocol(number: int, name: str, protocol: str, app_protocol: str) -> Protocol:
    """What a Service's port speaks. Source: istiod, kube.ConvertProtocol."""
    if protocol == "UDP":
        return "UDP"
    if app_protocol:
        return _APP_PROTOCOLS.get(app_protocol) or protocol_of(app_protocol)
    if name.startswith("grpc-web"):
        return "GRPC_WEB"
    found = protocol_of(name.partition("-")[0])
    if found == "AUTO" and number in _WELL_KNOWN_TCP:
        return "TCP"
    return found


def _service(document: Document) -> KubernetesService:
    spec = document.root.required_message("spec", None)
    kind = spec.string("type") or "ClusterIP"
    cluster_ip = spec.string("clusterIP")
    ips = spec.strings("clusterIPs") or ((cluster_ip,) if cluster_ip else ())
    exported = document.metadata.annotations.get(_EXPORT_TO, "")
    return KubernetesService(
        document.metadata,
        spec.each("ports", None, _port),
        spec.string_map("selector"),
        tuple(ip for ip in ips if ip not in ("", "None")),
        cluster_ip == "None",
        spec.string("externalName") if kind == "ExternalName" else "",
        spec.boolean("publishNotReadyAddresses"),
        tuple(part.strip() for part in exported.split(",") if part.strip()),
    )


def _port(reader: SpecReader) -> KubernetesPort:
    number = reader.integer("port", at_least=1, at_most=65535)
    name = reader.string("name")
    protocol = port_protocol(
        number, name, reader.string("protocol") or "TCP", reader.string("appProtocol")
    )
    return KubernetesPort(number, name, protocol, _target(reader, number))


def _target(reader: SpecReader, default: int) -> int | str:
    found = reader.plain("targetPort")
    if isinstance(found, str) and not found.isdecimal():
        return found
    return reader.integer("targetPort", at_least=1, at_most=65535) if found else default


KIND: Final = Kind("", "Service", ("v1",), _service)
