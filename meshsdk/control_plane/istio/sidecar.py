"""Sidecar: which part of the mesh a workload sees, and the listeners that it wants."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.connection_pool import POOL, parse_connection_pool
from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.hostnames import is_host
from meshsdk.control_plane.istio.http_actions import DESTINATION, Destination, parse_destination
from meshsdk.control_plane.istio.selectors import Workload, selects
from meshsdk.control_plane.istio.services import Protocol, is_ip, protocol_of
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

OutboundMode: TypeAlias = Literal["REGISTRY_ONLY", "ALLOW_ANY"]

_SPEC: Final = fields(
    "workloadSelector", "ingress", "egress", "inboundConnectionPool", "outboundTrafficPolicy"
)
_SELECTOR: Final = fields("labels")
_PORT: Final = fields(
    "number", "protocol", "name", ignored={"targetPort": "istiod does not read it here either"}
)
_INGRESS: Final = fields(
    "port", "bind", "captureMode", "defaultEndpoint", "connectionPool",
    refused={"tls": "TLS other than Istio's own is not built, and the port would be without"},
)  # fmt: skip
_EGRESS: Final = fields("port", "bind", "captureMode", "hosts")
_POLICY: Final = fields("mode", "egressProxy")
_CAPTURE: Final = {"DEFAULT": False, "IPTABLES": False, "NONE": True}
_MODES: Final[Mapping[str, OutboundMode]] = {
    "REGISTRY_ONLY": "REGISTRY_ONLY",
    "ALLOW_ANY": "ALLOW_ANY",
}
UNIX: Final = "unix://"


@dataclass(frozen=True, slots=True)
class ListenerPort:
    """A port that the document names."""

    number: int
    protocol: Protocol
    name: str = ""


@dataclass(frozen=True, slots=True)
class IngressListener:
    """A port of the workload, whatever services say."""

    port: ListenerPort
    bind: str = ""
    is_bound: bool = False
    """`captureMode: NONE`."""
    default_endpoint: str = ""
    """`127.0.0.1:8080`, `0.0.0.0:8080` or `unix:///path`."""
    connection_pool: SpecReader | None = None
    """As a DestinationRule has it."""


@dataclass(frozen=True, slots=True)
class EgressListener:
    """Hosts that the workload may call, on a port of its own or on all."""

    hosts: tuple[tuple[str, str], ...]
    """(namespace, host): `.` is the document's own namespace, `*` any, `~` none."""
    port: ListenerPort | None = None
    bind: str = ""
    is_bound: bool = False


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The scope of some workloads."""

    metadata: Metadata
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    ingress: tuple[IngressListener, ...] = ()
    egress: tuple[EgressListener, ...] = ()
    inbound_connection_pool: SpecReader | None = None
    outbound_mode: OutboundMode | None = None
    egress_proxy: Destination | None = None
    """Where unknown hosts go, instead of past the mesh."""


def parse_sidecar(document: Document) -> Sidecar:
    """The scope, or why istiod would refuse it."""
    spec = document.spec(_SPEC)
    selector = spec.message("workloadSelector", _SELECTOR)
    policy = spec.message("outboundTrafficPolicy", _POLICY)
    namespace = document.metadata.namespace
    proxy = None if policy is None else policy.message("egressProxy", DESTINATION)
    sidecar = Sidecar(
        document.metadata,
        {} if selector is None else selector.string_map("labels"),
        _ingress_listeners(spec),
        _egress_listeners(spec),
        _pool(spec, "inboundConnectionPool"),
        None if policy is None else policy.enum("mode", _MODES, "REGISTRY_ONLY"),
        None if proxy is None else parse_destination(proxy, namespace),
    )
    if not spec.names() or spec.names() == ("workloadSelector",):
        raise spec.error("expected ingress, egress or a policy, found nothing")
    return sidecar


def sidecar_of(
    sidecars: Iterable[Sidecar], workload: Workload, root_namespace: str
) -> Sidecar | None:
    """The one that chooses the workload, then its namespace's, then the mesh's; the oldest of
    each. Source: istiod, getSidecarScope."""
    found: dict[str, Sidecar] = {}
    for sidecar in sidecars:
        namespace = sidecar.metadata.namespace
        if namespace == workload.namespace and sidecar.selector:
            if selects(sidecar.selector, workload.labels):
                found.setdefault("workload", sidecar)
        elif namespace == workload.namespace:
            found.setdefault("namespace", sidecar)
        elif namespace == root_namespace and not sidecar.selector:
            found.setdefault("mesh", sidecar)
    return found.get("workload") or found.get("namespace") or found.get("mesh")


def _ingress_listeners(spec: SpecReader) -> tuple[IngressListener, ...]:
    found: list[IngressListener] = []
    for reader in spec.messages("ingress", _INGRESS):
        port = _port(reader.required_message("port", _PORT))
        if any(each.port.number == port.number for each in found):
            raise reader.error_at("port", f"the port {port.number} is there twice")
        bind = _bind(reader)
        if bind.startswith(UNIX):
            raise reader.error_at("bind", "expected an IP address: no sockets of files here")
        endpoint = reader.string("defaultEndpoint")
        if endpoint and not _is_endpoint(endpoint):
            expected = f"expected 127.0.0.1:PORT, 0.0.0.0:PORT or unix:///PATH, found {endpoint!r}"
            raise reader.error_at("defaultEndpoint", expected)
        listener = IngressListener(
            port,
            bind,
            reader.enum("captureMode", _CAPTURE, "DEFAULT"),
            endpoint,
            _pool(reader, "connectionPool"),
        )
        found.append(listener)
    return tuple(found)


def _egress_listeners(spec: SpecReader) -> tuple[EgressListener, ...]:
    found: list[EgressListener] = []
    for reader in spec.messages("egress", _EGRESS):
        if found and found[-1].port is None:
            raise reader.error("an egress listener without port is the last one")
        port = reader.message("port", _PORT)
        bind = _bind(reader)
        read = None if port is None else _port(port, is_file=bind.startswith(UNIX))
        if bind.startswith(UNIX) and read is None:
            raise reader.error_at("bind", "a socket of the file system needs a port")
        found.append(
            EgressListener(
                _hosts(reader), read, bind, reader.enum("captureMode", _CAPTURE, "DEFAULT")
            )
        )
    return tuple(found)


def _port(reader: SpecReader, *, is_file: bool = False) -> ListenerPort:
    number = reader.integer("number", 0, at_least=0, at_most=65535)
    if bool(number) == is_file:
        expected = "0 where bind is unix:///" if is_file else "1 to 65535"
        raise reader.error_at("number", f"expected {expected}, found {number}")
    return ListenerPort(number, protocol_of(reader.string("protocol")), reader.string("name"))


def _pool(reader: SpecReader, name: str) -> SpecReader | None:
    """Checked here, read where the cluster is made."""
    found = reader.message(name, POOL)
    if found is not None:
        parse_connection_pool(found)
    return found


def _bind(reader: SpecReader) -> str:
    bind = reader.string("bind")
    if bind and not bind.startswith((UNIX, "@")) and not is_ip(bind):
        raise reader.error_at("bind", f"expected an IP address or unix:///PATH, found {bind!r}")
    return bind


def _hosts(reader: SpecReader) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for i, text in enumerate(reader.strings("hosts")):
        namespace, slash, host = text.partition("/")
        if not slash or not namespace or not is_host(host):
            raise reader.error_at("hosts", f"expected NAMESPACE/HOST, found {text!r}", i)
        found.append((namespace, host))
    if not found:
        raise reader.error("expected hosts, found none")
    return tuple(found)


def _is_endpoint(text: str) -> bool:
    if text.startswith(UNIX):
        return len(text) > len(UNIX)
    address, _, port = text.rpartition(":")
    is_here = address in ("127.0.0.1", "0.0.0.0", "[::1]", "[::]")  # noqa: S104 - names
    return is_here and port.isdecimal() and 0 < int(port) < 65536


KIND: Final = Kind("networking.istio.io", "Sidecar", ("v1", "v1beta1", "v1alpha3"), parse_sidecar)
