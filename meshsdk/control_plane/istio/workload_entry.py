"""WorkloadEntry: a workload that no Kubernetes knows."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from meshsdk.control_plane.istio.documents import Document, Kind, Metadata
from meshsdk.control_plane.istio.hostnames import is_host
from meshsdk.control_plane.istio.services import TLS_MODE
from meshsdk.control_plane.istio.spec_fields import fields
from meshsdk.control_plane.istio.spec_reader import SpecReader

WORKLOAD: Final = fields(
    "address", "ports", "labels", "network", "locality", "weight", "serviceAccount"
)
UNIX: Final = "unix://"


@dataclass(frozen=True, slots=True)
class Workload:
    """What a WorkloadEntry, or an endpoint written inside a ServiceEntry, says."""

    address: str = ""
    ports: Mapping[str, int] = field(default_factory=dict[str, int])
    """Port names of services to the workload's own ports."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    network: str = ""
    locality: str = ""
    weight: int = 0
    service_account: str = ""

    @property
    def has_mtls(self) -> bool:
        """By its label; without one, having an account counts. Source: istiod,
        getTLSModeFromWorkloadEntry."""
        label = self.labels.get(TLS_MODE)
        return label == "istio" if label is not None else bool(self.service_account)


@dataclass(frozen=True, slots=True)
class WorkloadEntry:
    """A workload with a name."""

    metadata: Metadata
    workload: Workload

    @property
    def labels(self) -> Mapping[str, str]:
        """The spec's and the document's own, which win. Source: istiod, ConvertWorkloadEntry."""
        return {**self.workload.labels, **self.metadata.labels}


def parse_workload(reader: SpecReader, *, needs_address: bool = True) -> Workload:
    """The message WorkloadEntry, opened with `WORKLOAD`."""
    address = reader.string("address")
    if not address and needs_address and not reader.has("network"):
        raise reader.error("expected address, found none")
    if address:
        _check_address(reader, address)
    ports: dict[str, int] = {}
    found = reader.message("ports", None)
    for name in () if found is None else found.value:
        assert found is not None
        ports[name] = found.integer(name, at_least=1, at_most=65535)
    if address.startswith(UNIX) and ports:
        raise reader.error_at("ports", "a unix socket has no ports")
    return Workload(
        address,
        ports,
        reader.string_map("labels"),
        reader.string("network"),
        reader.string("locality"),
        reader.integer("weight", at_least=0, at_most=4294967295),
        reader.string("serviceAccount"),
    )


def _check_address(reader: SpecReader, address: str) -> None:
    if address.startswith(UNIX):
        path = address.removeprefix(UNIX)
        if not path.startswith(("/", "@")):
            raise reader.error_at("address", f"expected an absolute path, found {address!r}")
        return
    if not is_host(address) or "*" in address:
        problem = f"expected an IP address, a host name or unix:///path, found {address!r}"
        raise reader.error_at("address", problem)


def canonical_address(address: str) -> str:
    """An IPv6 address in its short form, others as they are."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _parse(document: Document) -> WorkloadEntry:
    return WorkloadEntry(document.metadata, parse_workload(document.spec(WORKLOAD)))


KIND: Final = Kind("networking.istio.io", "WorkloadEntry", ("v1", "v1beta1", "v1alpha3"), _parse)
