"""Documents to the registry: services, and the workloads that they select."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Final

from meshsdk.control_plane.istio.endpoint_slice import EndpointSlice, SliceEndpoint
from meshsdk.control_plane.istio.hostnames import DOMAIN, is_wildcard
from meshsdk.control_plane.istio.kubernetes_endpoints import KubernetesEndpoints
from meshsdk.control_plane.istio.kubernetes_service import KubernetesPort, KubernetesService
from meshsdk.control_plane.istio.loader import Loaded
from meshsdk.control_plane.istio.pod import Pod
from meshsdk.control_plane.istio.registry import Registry
from meshsdk.control_plane.istio.selectors import selects
from meshsdk.control_plane.istio.service_entry import ServiceEntry
from meshsdk.control_plane.istio.services import TLS_MODE, Endpoint, Service, ServicePort
from meshsdk.control_plane.istio.workload_entry import (
    UNIX,
    Workload,
    WorkloadEntry,
    canonical_address,
)

_HASH: Final = 16777619  # FNV-1a
_POOL: Final = 255 * 255  # 240.240.0.0/16 without .0 and .255


def build_registry(loaded: Loaded, *, ip_autoallocate: bool = False) -> Registry:
    """Everything that the documents name.

    `ip_autoallocate`: give services without address one of 240.240.0.0/16, the same for the same
    documents; istiod's PILOT_ENABLE_IP_AUTOALLOCATE=false without Kubernetes.
    """
    entries = loaded.all(WorkloadEntry)
    pods = {(pod.metadata.namespace, pod.metadata.name): pod for pod in loaded.all(Pod)}
    services: list[Service] = []
    for service in loaded.all(KubernetesService):
        services.append(_of_kubernetes(service, loaded, pods, entries))
    for entry in loaded.all(ServiceEntry):
        services += _of_entry(entry, entries, pods.values(), loaded)
    services = _merged(sorted(services, key=lambda each: each.age_order))
    if ip_autoallocate:
        _allocate(services)
    workloads = {
        (entry.metadata.namespace, entry.metadata.name): _endpoint_of_entry(entry, {})
        for entry in entries
    }
    for key, pod in pods.items():
        workloads.setdefault(key, _endpoint_of_pod(pod, {}))
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
    entry: ServiceEntry, entries: Iterable[WorkloadEntry], pods: Iterable[Pod], loaded: Loaded
) -> Iterable[Service]:
    metadata = entry.metadata
    endpoints = [_inline(each, entry) for each in entry.endpoints]
    if entry.selector:
        endpoints += (
            _endpoint_of_entry(each, _ports(entry, each.workload))
            for each in entries
            if each.metadata.namespace == metadata.namespace
            and each.workload.address
            and selects(entry.selector, each.labels)
        )
        endpoints += (
            _endpoint_of_pod(pod, _ports(entry, Workload(ports=pod.ports)))
            for pod in pods
            if pod.metadata.namespace == metadata.namespace
            and pod.address
            and selects(entry.selector, pod.metadata.labels)
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
            export_to=entry.export_to or loaded.mesh_config.default_service_export_to,
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


def _endpoint_of_entry(entry: WorkloadEntry, ports: Mapping[int, int]) -> Endpoint:
    workload = entry.workload
    return Endpoint(
        canonical_address(workload.address),
        ports,
        entry.labels,
        workload.service_account,
        workload.locality,
        workload.weight,
        workload.network,
        entry.metadata.name,
        entry.metadata.namespace,
        has_mtls=Workload(labels=entry.labels, service_account=workload.service_account).has_mtls,
    )


# -- Kubernetes -----------------------------------------------------------------------------


def _of_kubernetes(
    service: KubernetesService,
    loaded: Loaded,
    pods: Mapping[tuple[str, str], Pod],
    entries: Iterable[WorkloadEntry],
) -> Service:
    metadata = service.metadata
    older = (each.slices for each in loaded.all(KubernetesEndpoints))
    slices = [*loaded.all(EndpointSlice), *chain.from_iterable(older)]
    own = [
        each
        for each in slices
        if each.service == metadata.name and each.metadata.namespace == metadata.namespace
    ]
    endpoints = [
        endpoint
        for each in own
        for place in each.endpoints
        for endpoint in _of_place(place, each, service, pods)
    ]
    if service.external_name:
        ports = {port.number: port.number for port in service.ports}
        endpoints = [Endpoint(service.external_name, ports, is_inline=True)]
    elif service.selector:
        known = {each.address for each in endpoints}
        if not own:
            endpoints += _selected_pods(service, pods.values())
        endpoints += (
            _endpoint_of_entry(entry, _entry_ports(service, entry.workload))
            for entry in entries
            if entry.metadata.namespace == metadata.namespace
            and entry.workload.address
            and entry.workload.address not in known
            and selects(service.selector, entry.labels)
        )
    is_alias = bool(service.external_name)
    return Service(
        f"{metadata.name}.{metadata.namespace}.svc.{DOMAIN}",
        metadata.namespace,
        tuple(_service_port(port) for port in service.ports),
        metadata.name,
        service.cluster_ips,
        resolution="DNS" if is_alias else "NONE" if service.is_headless else "STATIC",
        is_external=is_alias,
        registry="Kubernetes",
        export_to=service.export_to or loaded.mesh_config.default_service_export_to,
        labels=metadata.labels,
        selector=service.selector,
        endpoints=tuple(endpoints),
        created=metadata.created,
        external_name=service.external_name,
        publishes_not_ready=service.publishes_not_ready,
    )


def _service_port(port: KubernetesPort) -> ServicePort:
    target = port.target if isinstance(port.target, int) else 0
    return ServicePort(port.number, port.name, port.protocol, target)


def _of_place(
    place: SliceEndpoint,
    found: EndpointSlice,
    service: KubernetesService,
    pods: Mapping[tuple[str, str], Pod],
) -> Iterable[Endpoint]:
    if not place.is_ready and not service.publishes_not_ready:
        return
    namespace = service.metadata.namespace
    pod = pods.get((namespace, place.pod))
    ports = {
        port.number: found.ports[port.name] for port in service.ports if port.name in found.ports
    }
    for address in place.addresses:
        if pod is None:
            yield Endpoint(address, ports, name=place.pod, namespace=namespace)
        else:
            yield _endpoint_of_pod(pod, ports, address)


def _selected_pods(service: KubernetesService, pods: Iterable[Pod]) -> Iterable[Endpoint]:
    """Where no slice says it: the ready pods, as Kubernetes' own controller finds them."""
    for pod in pods:
        is_wanted = (
            pod.metadata.namespace == service.metadata.namespace
            and selects(service.selector, pod.metadata.labels)
            and pod.address
            and (pod.is_ready or service.publishes_not_ready)
        )
        if not is_wanted:
            continue
        ports = {
            port.number: target
            for port in service.ports
            if (target := _named(port.target, pod.ports)) is not None
        }
        yield _endpoint_of_pod(pod, ports)


def _entry_ports(service: KubernetesService, workload: Workload) -> dict[int, int]:
    return {
        port.number: target
        for port in service.ports
        if (
            target := workload.ports.get(port.name)
            or (_named(port.target, workload.ports) or port.number)
        )
    }


def _named(target: int | str, ports: Mapping[str, int]) -> int | None:
    return target if isinstance(target, int) else ports.get(target)


def _endpoint_of_pod(pod: Pod, ports: Mapping[int, int], address: str = "") -> Endpoint:
    labels = pod.metadata.labels
    return Endpoint(
        address or pod.address,
        ports,
        labels,
        pod.service_account,
        labels.get("istio-locality", "").replace(".", "/"),
        name=pod.metadata.name,
        namespace=pod.metadata.namespace,
        is_ready=pod.is_ready,
        has_mtls=labels.get(TLS_MODE) == "istio",
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
