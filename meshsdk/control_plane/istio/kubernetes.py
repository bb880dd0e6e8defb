"""Kubernetes' own documents: Service, EndpointSlice, Endpoints, Pod, Namespace, ServiceAccount.

Their fields beside those that the registry reads are Kubernetes' business, and not checked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.services import Protocol, protocol_of
from meshsdk.control_plane.istio.spec_fields import Fields, fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

_EXPORT_TO: Final = "networking.istio.io/exportTo"
_WELL_KNOWN_TCP: Final = frozenset({25, 53, 3306, 27017, 6379})  # istiod, kube.wellKnownPorts
_APP_PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "kubernetes.io/h2c": "HTTP2",
    "kubernetes.io/ws": "HTTP",
    "kubernetes.io/wss": "HTTPS",
}
_SLICE_ROOT: Final = fields("addressType", "endpoints", "ports")
_SUBSETS_ROOT: Final = fields("subsets")
_NAMESPACE_ROOT: Final = fields("spec")
_ANYTHING: Final[Fields | None] = None


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


@dataclass(frozen=True, slots=True)
class Pod:
    """What the registry asks of a pod."""

    metadata: Metadata
    service_account: str
    address: str
    ports: Mapping[str, int]
    node_name: str = ""
    is_ready: bool = True


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace and its labels."""

    metadata: Metadata


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
    spec = document.root.required_message("spec", _ANYTHING)
    kind = spec.string("type") or "ClusterIP"
    cluster_ip = spec.string("clusterIP")
    ips = spec.strings("clusterIPs") or ((cluster_ip,) if cluster_ip else ())
    exported = document.metadata.annotations.get(_EXPORT_TO, "")
    return KubernetesService(
        document.metadata,
        spec.each("ports", _ANYTHING, _port),
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


def _slice(document: Document) -> EndpointSlice:
    root = document.root
    service = document.metadata.labels.get("kubernetes.io/service-name", "")
    ports = {
        port.string("name"): port.integer("port", at_least=0, at_most=65535)
        for port in root.messages("ports", _ANYTHING)
    }
    endpoints = root.each("endpoints", _ANYTHING, _slice_endpoint)
    return EndpointSlice(document.metadata, service, ports, endpoints)


def _slice_endpoint(reader: SpecReader) -> SliceEndpoint:
    conditions = reader.message("conditions", _ANYTHING)
    ready = None if conditions is None else conditions.optional_boolean("ready")
    target = reader.message("targetRef", _ANYTHING)
    return SliceEndpoint(
        reader.strings("addresses"),
        ready is not False,
        "" if target is None else target.string("name"),
        reader.string("zone"),
        reader.string("hostname"),
    )


def _endpoints(document: Document) -> tuple[EndpointSlice, ...]:
    """The older form: one slice a subset, the Service's name is the document's."""
    found: list[EndpointSlice] = []
    for subset in document.root.messages("subsets", _ANYTHING):
        ports = {
            port.string("name"): port.integer("port", at_least=1, at_most=65535)
            for port in subset.messages("ports", _ANYTHING)
        }
        every = [
            SliceEndpoint((each.required_string("ip"),), ready, _pod_of(each))
            for name, ready in (("addresses", True), ("notReadyAddresses", False))
            for each in subset.messages(name, _ANYTHING)
        ]
        metadata = document.metadata
        found.append(EndpointSlice(metadata, metadata.name, ports, tuple(every)))
    return tuple(found)


def _pod_of(reader: SpecReader) -> str:
    target = reader.message("targetRef", _ANYTHING)
    return "" if target is None else target.string("name")


def _pod(document: Document) -> Pod:
    spec = document.root.message("spec", _ANYTHING)
    status = document.root.message("status", _ANYTHING)
    ports: dict[str, int] = {}
    for container in () if spec is None else spec.messages("containers", _ANYTHING):
        for port in container.messages("ports", _ANYTHING):
            if port.string("name"):
                ports[port.string("name")] = port.integer("containerPort")
    conditions = () if status is None else status.messages("conditions", _ANYTHING)
    ready = [each.string("status") for each in conditions if each.string("type") == "Ready"]
    return Pod(
        document.metadata,
        ("" if spec is None else spec.string("serviceAccountName")) or "default",
        "" if status is None else status.string("podIP"),
        ports,
        "" if spec is None else spec.string("nodeName"),
        ready != ["False"],
    )


def _namespace(document: Document) -> Namespace:
    return Namespace(document.metadata)


SERVICE: Final = Kind("", "Service", ("v1",), _service)
ENDPOINT_SLICE: Final = Kind("discovery.k8s.io", "EndpointSlice", ("v1",), _slice, _SLICE_ROOT)
ENDPOINTS: Final = Kind("", "Endpoints", ("v1",), _endpoints, _SUBSETS_ROOT)
POD: Final = Kind("", "Pod", ("v1",), _pod)
NAMESPACE: Final = Kind("", "Namespace", ("v1",), _namespace, _NAMESPACE_ROOT, is_namespaced=False)
