"""Documents to the registry: services, and the workloads that they select."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from meshsdk.control_plane.istio.hostnames import is_wildcard
from meshsdk.control_plane.istio.kubernetes_registry import kubernetes_service
from meshsdk.control_plane.istio.kubernetes_service import KubernetesService
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.registry import Registry
from meshsdk.control_plane.istio.service_entry import ServiceEntry
from meshsdk.control_plane.istio.services import Endpoint, Service
from meshsdk.control_plane.istio.workload_entry import UNIX, Workload, canonical_address
from meshsdk.control_plane.istio.workload_sources import (
    Sources,
    endpoint_of_entry,
    endpoint_of_pod,
)

_HASH: Final = 16777619  # FNV-1a
_POOL: Final = 255 * 255  # 240.240.0.0/16 without .0 and .255


def build_registry(loaded: Loaded, *, ip_autoallocate: bool = False) -> Registry:
    """Everything that the documents name.

    `ip_autoallocate`: give services without address one of 240.240.0.0/16, the same for the same
    documents; istiod's PILOT_ENABLE_IP_AUTOALLOCATE=false without Kubernetes.
    """
    sources = Sources(loaded)
    default = loaded.mesh_config.default_service_export_to
    services = [
        kubernetes_service(each, sources, default) for each in loaded.all(KubernetesService)
    ]
    for entry in loaded.all(ServiceEntry):
        services += _of_entry(entry, sources, default)
    services = _merged(sorted(services, key=lambda each: each.age_order))
    if ip_autoallocate:
        _allocate(services)
    workloads = {
        (entry.metadata.namespace, entry.metadata.name): endpoint_of_entry(entry, {})
        for entry in sources.entries
    }
    for key, pod in sources.pods.items():
        workloads.setdefault(key, endpoint_of_pod(pod, {}))
    return Registry(tuple(services), workloads)


def _merged(services: Iterable[Service]) -> list[Service]:
    """Entries of one host and namespace are one service where they agree: the ports of all, and
    everybody's endpoints. Source: istiod, canMergeServices."""
    found: dict[tuple[object, ...], Service] = {}
    for i, service in enumerate(services):
        key: tuple[object, ...] = (i,)
        if service.registry == "External":
            key = (
                service.hostname,
                service.namespace,
                service.resolution,
                service.export_to,
                frozenset(service.labels.items()),
            )
        before = found.get(key)
        if before is None:
            found[key] = service
            continue
        numbers = {port.number for port in before.ports}
        more = (port for port in service.ports if port.number not in numbers)
        endpoints = (*before.endpoints, *service.endpoints)
        found[key] = replace(before, ports=(*before.ports, *more), endpoints=endpoints)
    return list(found.values())


# -- ServiceEntry ---------------------------------------------------------------------------


def _of_entry(
    entry: ServiceEntry, sources: Sources, default_export_to: tuple[str, ...]
) -> Iterable[Service]:
    metadata = entry.metadata
    endpoints = [_inline(each, entry) for each in entry.endpoints]
    endpoints += (
        endpoint_of_entry(each, _ports(entry, each.workload))
        for each in sources.with_entry.select(metadata.namespace, entry.selector)
    )
    endpoints += (
        endpoint_of_pod(pod, _ports(entry, Workload(ports=pod.ports)))
        for pod in sources.with_pod.select(metadata.namespace, entry.selector)
    )
    for host in entry.hosts:
        yield Service(
            host,
            metadata.namespace,
            entry.ports,
            host,
            entry.addresses,
            resolution=entry.resolution,
            is_external=entry.is_external,
            registry="External",
            export_to=entry.export_to or default_export_to,
            labels=metadata.labels,
            selector=entry.selector,
            subject_alt_names=entry.subject_alt_names,
            endpoints=tuple(endpoints) or tuple(_itself(host, entry)),
            created=metadata.created,
        )


def _itself(host: str, entry: ServiceEntry) -> Iterable[Endpoint]:
    """A service that resolves by DNS and names no endpoint is its own."""
    if entry.resolution in ("DNS", "DNS_ROUND_ROBIN") and not entry.selector:
        yield Endpoint(host, _ports(entry, Workload()), is_inline=True)


def _ports(entry: ServiceEntry, workload: Workload) -> dict[int, int]:
    """Service ports to the workload's own: its own word, else the service's targetPort."""
    if workload.address.startswith(UNIX):
        return {port.number: 0 for port in entry.ports}
    return {
        port.number: workload.ports.get(port.name) or port.target_port or port.number
        for port in entry.ports
    }


def _inline(workload: Workload, entry: ServiceEntry) -> Endpoint:
    return Endpoint(
        canonical_address(workload.address),
        _ports(entry, workload),
        workload.labels,
        workload.service_account,
        workload.locality,
        workload.weight,
        workload.network,
        namespace=entry.metadata.namespace,
        is_inline=True,
        has_mtls=workload.has_mtls,
    )


# -- addresses ------------------------------------------------------------------------------


def _allocate(services: list[Service]) -> None:
    """Addresses for those that have none and could use one. Source: istiod, autoAllocateIPs."""
    taken: set[int] = set()
    for i, service in enumerate(services):
        is_wanted = (
            service.registry == "External"
            and not service.addresses
            and not is_wildcard(service.hostname)
            and service.resolution != "NONE"
        )
        if not is_wanted:
            continue
        number = _hash(f"{service.namespace}/{service.hostname}") % _POOL
        while number in taken:
            number = (number + 1) % _POOL
        taken.add(number)
        third, fourth = divmod(number, 255)
        services[i] = replace(service, auto_address=f"240.240.{third}.{fourth + 1}")


def _hash(text: str) -> int:
    found = 2166136261
    for octet in text.encode():
        found = ((found ^ octet) * _HASH) & 0xFFFFFFFF
    return found
