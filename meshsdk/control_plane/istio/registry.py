"""The registry: every service and workload that the documents name, and who may see them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import Endpoint, Service, ServicePort


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a service that a workload serves: what an inbound chain is for."""

    service: Service
    port: ServicePort
    endpoint: Endpoint

    @property
    def target_port(self) -> int:
        """The workload's own port."""
        return self.endpoint.ports[self.port.number]


@dataclass(frozen=True)
class Registry:
    """Services, oldest first."""

    services: tuple[Service, ...] = ()
    workloads: Mapping[tuple[str, str], Endpoint] = field(
        default_factory=dict[tuple[str, str], Endpoint]
    )
    """(namespace, name) of a WorkloadEntry or pod, also of those that no service selects."""

    def services_for(self, proxy: Proxy) -> tuple[Service, ...]:
        """The services that `exportTo` lets a node's namespace see, oldest first. One host name
        may be there twice: the first counts, one of Kubernetes before others (see `by_host`)."""
        return self._visible(proxy.namespace)

    def _visible(self, namespace: str) -> tuple[Service, ...]:
        found = self._by_namespace.get(namespace)
        if found is None:
            found = tuple(each for each in self.services if each.is_visible_in(namespace))
            self._by_namespace[namespace] = found
        return found

    @cached_property
    def _by_namespace(self) -> dict[str, tuple[Service, ...]]:
        return {}

    @cached_property
    def namespaces_of(self) -> Mapping[str, frozenset[str]]:
        """Host name to the namespaces that have a service of it."""
        found: dict[str, set[str]] = {}
        for service in self.services:
            found.setdefault(service.hostname, set()).add(service.namespace)
        return {host: frozenset(names) for host, names in found.items()}

    @cached_property
    def _by_address(self) -> Mapping[tuple[str, str], list[tuple[Service, Endpoint]]]:
        """(namespace, address) to the services that have an endpoint there."""
        found: dict[tuple[str, str], list[tuple[Service, Endpoint]]] = {}
        for service in self.services:
            for endpoint in service.endpoints:
                found.setdefault((service.namespace, endpoint.address), []).append(
                    (service, endpoint)
                )
        return found

    @cached_property
    def _workloads_at(self) -> Mapping[tuple[str, str], list[Endpoint]]:
        """(namespace, address) to the workloads there."""
        found: dict[tuple[str, str], list[Endpoint]] = {}
        for (namespace, _), each in self.workloads.items():
            found.setdefault((namespace, each.address), []).append(each)
        return found

    def known(self, proxy: Proxy) -> Proxy:
        """The node with the labels, locality and account that the registry has of its workload."""
        endpoint = self.workload_of(proxy)
        if endpoint is None:
            return proxy
        return replace(
            proxy,
            labels=endpoint.labels,
            locality=endpoint.locality or proxy.locality,
            service_account=endpoint.service_account or proxy.service_account,
        )

    def workload_of(self, proxy: Proxy) -> Endpoint | None:
        """The workload that a node is: by its name and namespace; by IP only where exactly one
        workload of its namespace has it."""
        found = self.workloads.get((proxy.namespace, proxy.name))
        if found is not None:
            return found
        every = [
            each
            for address in proxy.addresses
            for each in self._workloads_at.get((proxy.namespace, address), ())
        ]
        if len(every) == 1:
            return every[0]
        inline = [
            endpoint
            for address in proxy.addresses
            for _, endpoint in self._by_address.get((proxy.namespace, address), ())
            if endpoint.is_inline
        ]
        return inline[0] if not every and inline else None

    def targets_of(self, proxy: Proxy) -> tuple[Target, ...]:
        """The service ports that a node serves, in the order of services."""
        workload = self.workload_of(proxy)
        own = () if workload is None else (workload.address,)
        found: list[Target] = []
        for address in dict.fromkeys((*own, *proxy.addresses)):
            for service, endpoint in self._by_address.get((proxy.namespace, address), ()):
                if endpoint.is_inline or _is_same(endpoint, workload):
                    found += (
                        Target(service, port, endpoint)
                        for port in service.ports
                        if port.number in endpoint.ports
                    )
        return tuple(found)


def _is_same(endpoint: Endpoint, workload: Endpoint | None) -> bool:
    return workload is not None and (
        (endpoint.namespace, endpoint.name) == (workload.namespace, workload.name)
    )


def by_host(services: Iterable[Service]) -> dict[str, Service]:
    """One service a host name: the oldest, but one of Kubernetes before one that is not, so that
    nobody takes a Kubernetes service's name. What is alike and of one namespace is merged. Source:
    istiod, appendSidecarServices."""
    found: dict[str, Service] = {}
    for service in services:
        before = found.get(service.hostname)
        is_better = before is not None and (
            before.registry != "Kubernetes" and service.registry == "Kubernetes"
        )
        if before is None or is_better:
            found[service.hostname] = service
        elif before is not service and _are_alike(before, service):
            found[service.hostname] = _merged(before, service)
    return found


def _are_alike(one: Service, other: Service) -> bool:
    return (
        one.namespace == other.namespace
        and one.registry == other.registry
        and one.resolution == other.resolution
        and one.labels == other.labels
        and one.selector == other.selector
        and one.export_to == other.export_to
    )


def _merged(one: Service, other: Service) -> Service:
    """The first with the ports and endpoints that only the second has."""
    ports = [port for port in other.ports if one.port(port.number) is None]
    known = {id(each) for each in one.endpoints}
    endpoints = [each for each in other.endpoints if id(each) not in known]
    return replace(one, ports=(*one.ports, *ports), endpoints=(*one.endpoints, *endpoints))
