"""ServiceEntry: a service that no Kubernetes knows. FEED.md 3.6."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.hostnames import is_host, is_subnet, is_wildcard
from meshsdk.control_plane.istio.services import (
    Protocol,
    Resolution,
    ServicePort,
    is_ip,
    protocol_of,
)
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader
from meshsdk.control_plane.istio.workload_entry import UNIX, WORKLOAD, Workload, parse_workload

_SPEC: Final = fields(
    "hosts", "addresses", "ports", "location", "resolution", "endpoints", "exportTo",
    "subjectAltNames", "workloadSelector",
)  # fmt: skip
_PORT: Final = fields("number", "name", "protocol", "targetPort")
_SELECTOR: Final = fields("labels")
_RESOLUTIONS: Final[Mapping[str, Resolution]] = {
    "NONE": "NONE",
    "STATIC": "STATIC",
    "DNS": "DNS",
    "DNS_ROUND_ROBIN": "DNS_ROUND_ROBIN",
    "DYNAMIC_DNS": "DYNAMIC_DNS",
}
_LOCATIONS: Final = {"MESH_EXTERNAL": True, "MESH_INTERNAL": False}


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One service a host."""

    metadata: Metadata
    hosts: tuple[str, ...]
    ports: tuple[ServicePort, ...]
    addresses: tuple[str, ...] = ()
    is_external: bool = True
    resolution: Resolution = "NONE"
    endpoints: tuple[Workload, ...] = ()
    export_to: tuple[str, ...] = ()
    """Empty where unset: the mesh's default."""
    subject_alt_names: tuple[str, ...] = ()
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels of WorkloadEntries and pods of its namespace; empty where it selects none."""


def _parse(document: Document) -> ServiceEntry:
    spec = document.spec(_SPEC)
    ports = spec.each("ports", _PORT, _port)
    _check_unique(spec, ports)
    selector = spec.message("workloadSelector", _SELECTOR)
    entry = ServiceEntry(
        document.metadata,
        _hosts(spec),
        ports,
        _addresses(spec),
        spec.enum("location", _LOCATIONS, "MESH_EXTERNAL"),
        spec.enum("resolution", _RESOLUTIONS, "NONE"),
        tuple(parse_workload(each) for each in spec.messages("endpoints", WORKLOAD)),
        export_to(spec),
        spec.strings("subjectAltNames"),
        {} if selector is None else selector.string_map("labels"),
    )
    if selector is not None and entry.endpoints:
        raise spec.error_at("endpoints", "expected one of workloadSelector and endpoints")
    _check_resolution(spec, entry)
    _check_endpoints(spec, entry)
    return entry


def export_to(spec: SpecReader) -> tuple[str, ...]:
    """An `exportTo`, as istiod checks it; empty where unset."""
    found = spec.strings("exportTo")
    for i, each in enumerate(found):
        if not each or "*" in each[1:]:
            problem = f"expected *, ., ~ or a namespace, found {each!r}"
            raise spec.error_at("exportTo", problem, i)
    if len(found) > 1 and "~" in found:
        raise spec.error_at("exportTo", "~ (no namespace) stands alone")
    return found


def _hosts(spec: SpecReader) -> tuple[str, ...]:
    hosts = spec.strings("hosts")
    if not hosts:
        raise spec.error("expected at least one of hosts, found none")
    for i, host in enumerate(hosts):
        if host == "*":
            raise spec.error_at("hosts", "* is every host: name a domain", i)
        if not is_host(host, may_be_address=False):
            raise spec.error_at("hosts", f"expected a host name, found {host!r}", i)
    return hosts


def _addresses(spec: SpecReader) -> tuple[str, ...]:
    found = spec.strings("addresses")
    for i, address in enumerate(found):
        if not is_subnet(address):
            raise spec.error_at("addresses", f"expected an IP or a CIDR, found {address!r}", i)
    return tuple(_canonical(address) for address in found)


def _canonical(address: str) -> str:
    """A prefix that is the whole address is an address."""
    network = ipaddress.ip_network(address, strict=False)
    if "/" in address and network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return address


def _port(reader: SpecReader) -> ServicePort:
    written = reader.string("protocol")
    protocol: Protocol = protocol_of(written)
    if written and protocol == "AUTO":
        raise reader.error_at("protocol", f"expected HTTP, GRPC, TCP, TLS ..., found {written!r}")
    if not reader.has("number"):
        raise reader.error("expected number, found none")
    return ServicePort(
        reader.integer("number", at_least=1, at_most=65535),
        reader.required_string("name"),
        protocol,
        reader.integer("targetPort", at_least=0, at_most=65535),
    )


def _check_unique(spec: SpecReader, ports: tuple[ServicePort, ...]) -> None:
    numbers: set[int] = set()
    names: set[str] = set()
    for i, port in enumerate(ports):
        if port.number in numbers:
            raise spec.error_at("ports", f"the number {port.number} is there twice", i)
        if port.name in names:
            raise spec.error_at("ports", f"the name {port.name} is there twice", i)
        numbers.add(port.number)
        names.add(port.name)


def _check_resolution(spec: SpecReader, entry: ServiceEntry) -> None:
    """Source: istiod, ValidateServiceEntry."""
    resolution = entry.resolution
    if resolution == "NONE" and entry.endpoints:
        raise spec.error_at("endpoints", "resolution NONE has no endpoints")
    if resolution == "DYNAMIC_DNS":
        if entry.endpoints or entry.selector:
            raise spec.error_at("resolution", "DYNAMIC_DNS has no endpoints")
        if not all(is_wildcard(host) for host in entry.hosts):
            raise spec.error_at("hosts", "DYNAMIC_DNS is for wildcard hosts")
    if resolution == "DNS_ROUND_ROBIN" and len(entry.endpoints) > 1:
        raise spec.error_at("endpoints", "DNS_ROUND_ROBIN has at most one endpoint")
    is_itself = not entry.endpoints and not entry.selector
    is_dns = resolution in ("DNS", "DNS_ROUND_ROBIN")
    if is_dns and is_itself and any(map(is_wildcard, entry.hosts)):
        problem = f"a wildcard host cannot be resolved by {resolution}: name endpoints"
        raise spec.error_at("hosts", problem)
    if resolution not in ("NONE", "STATIC"):
        for i, address in enumerate(entry.addresses):
            if not is_ip(address):
                raise spec.error_at("addresses", "a CIDR needs resolution NONE or STATIC", i)


def _check_endpoints(spec: SpecReader, entry: ServiceEntry) -> None:
    names = {port.name for port in entry.ports}
    for i, endpoint in enumerate(entry.endpoints):
        unknown = next((name for name in endpoint.ports if name not in names), None)
        if unknown is not None:
            raise spec.error_at("endpoints", f"the port {unknown} is none of the service's", i)
        address = endpoint.address
        is_static = not address or address.startswith(UNIX) or is_ip(address)
        if entry.resolution == "STATIC" and not is_static:
            raise spec.error_at("endpoints", f"STATIC needs IPs, found {address!r}", i)
        if entry.resolution in ("DNS", "DNS_ROUND_ROBIN") and address.startswith(UNIX):
            raise spec.error_at("endpoints", f"DNS needs hosts or IPs, found {address!r}", i)


KIND: Final = Kind("networking.istio.io", "ServiceEntry", ("v1", "v1beta1", "v1alpha3"), _parse)
