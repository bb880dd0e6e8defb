"""Kubernetes' Services as the registry has them."""

from collections.abc import Iterable, Mapping

from meshsdk.control_plane.istio.endpoint_slice import EndpointSlice, SliceEndpoint
from meshsdk.control_plane.istio.hostnames import DOMAIN
from meshsdk.control_plane.istio.kubernetes_service import KubernetesPort, KubernetesService
from meshsdk.control_plane.istio.services import Endpoint, Service, ServicePort
from meshsdk.control_plane.istio.workload_entry import Workload
from meshsdk.control_plane.istio.workload_sources import (
    Sources,
    endpoint_of_entry,
    endpoint_of_pod,
)

# -- Kubernetes -----------------------------------------------------------------------------


def kubernetes_service(
    service: KubernetesService, sources: Sources, default_export_to: tuple[str, ...]
) -> Service:
    """The service of a Service: endpoints by its slices, without them by its selector."""
    metadata = service.metadata
    namespace = metadata.namespace
    own = sources.slices.get((namespace, metadata.name), [])
    endpoints = [
        endpoint
        for each in own
        for place in each.endpoints
        for endpoint in _of_place(place, each, service, sources)
    ]
    if service.external_name:
        ports = {port.number: port.number for port in service.ports}
        endpoints = [Endpoint(service.external_name, ports, is_inline=True)]
    elif service.selector:
        known = {each.address for each in endpoints}
        if not own:
            endpoints += _selected_pods(service, sources)
        endpoints += (
            endpoint_of_entry(entry, _entry_ports(service, entry.workload))
            for entry in sources.with_entry.select(namespace, service.selector)
            if entry.workload.address not in known
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
        export_to=service.export_to or default_export_to,
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
    sources: Sources,
) -> Iterable[Endpoint]:
    if not place.is_ready and not service.publishes_not_ready:
        return
    namespace = service.metadata.namespace
    pod = sources.pods.get((namespace, place.pod))
    ports = {
        port.number: found.ports[port.name] for port in service.ports if port.name in found.ports
    }
    for address in place.addresses:
        if pod is None:
            yield Endpoint(address, ports, name=place.pod, namespace=namespace)
        else:
            yield endpoint_of_pod(pod, ports, address)


def _selected_pods(service: KubernetesService, sources: Sources) -> Iterable[Endpoint]:
    """The ready pods, as Kubernetes' own controller finds them."""
    for pod in sources.with_pod.select(service.metadata.namespace, service.selector):
        if not (pod.is_ready or service.publishes_not_ready):
            continue
        ports = {
            port.number: target
            for port in service.ports
            if (target := _named(port.target, pod.ports)) is not None
        }
        yield endpoint_of_pod(pod, ports)


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
