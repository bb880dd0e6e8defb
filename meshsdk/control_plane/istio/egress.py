"""What one node may call, listener by listener. Source: istiod, SidecarScope."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from meshsdk.control_plane.istio.hostnames import is_wildcard, is_within, overlap
from meshsdk.control_plane.istio.http_match import MESH
from meshsdk.control_plane.istio.http_rule import HttpRule
from meshsdk.control_plane.istio.registry import by_host
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.sidecar import EgressListener
from meshsdk.control_plane.istio.virtual_service import VirtualService


@dataclass(frozen=True)
class Egress:
    """One egress listener with all that it lets through."""

    services: tuple[Service, ...]
    """Oldest first; one host name may be there twice. Of a listener with a port, each has that
    port alone."""
    virtual_services: tuple[VirtualService, ...]
    listener: EgressListener | None = None
    """None where no Sidecar says it: everything."""

    def rules_for(self, hostname: str) -> list[VirtualService]:
        """The VirtualServices of a host, oldest first."""
        found = set(self._exact.get(hostname, ()))
        found.update(i for host, i in self._wildcards if is_within(hostname, host))
        return [self.virtual_services[i] for i in sorted(found)]

    def most_specific(self, hostname: str) -> VirtualService | None:
        """Whose wildcard is nearest to a host's name; the older of two."""
        found = [(-len(host), i) for host, i in self._wildcards if is_within(hostname, host)]
        return self.virtual_services[min(found)[1]] if found else None

    @cached_property
    def _exact(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for i, rule in enumerate(self.virtual_services):
            for host in rule.hosts:
                found.setdefault(host, []).append(i)
        return found

    @cached_property
    def _wildcards(self) -> list[tuple[str, int]]:
        return [
            (host, i) for host, all_of in self._exact.items() if is_wildcard(host) for i in all_of
        ]


def everything(services: Iterable[Service], rules: Iterable[VirtualService]) -> Egress:
    """Without a Sidecar."""
    of_mesh = tuple(rule for rule in rules if MESH in rule.gateways)
    return Egress(tuple(services), of_mesh)


def egress_of(
    listener: EgressListener,
    services: Sequence[Service],
    rules: Sequence[VirtualService],
    namespace: str,
) -> Egress:
    """What one egress listener of a Sidecar of a namespace lets through."""
    hosts = [(namespace if each == "." else each, host) for each, host in listener.hosts]
    imported = [service for service in services if _imports(hosts, service)]
    port = listener.port
    if port is not None and port.number and port.protocol != "HTTP_PROXY":
        imported = list(_with_port(imported, port.number))
    own = [service for service in imported if service.namespace == namespace]
    kept = {host: each.namespace for host, each in by_host([*own, *imported]).items()}
    chosen = tuple(each for each in imported if kept[each.hostname] == each.namespace)
    selected = tuple(rule for rule in rules if MESH in rule.gateways and _imports_rule(hosts, rule))
    return Egress(chosen, selected, listener)


def services_of(
    egress: Iterable[Egress], visible: Sequence[Service], namespace: str
) -> tuple[Service, ...]:
    """All services of some listeners, and those that their VirtualServices send to."""
    parts = tuple(egress)
    every = [service for part in parts for service in part.services]
    by_name = by_host(
        sorted(visible, key=lambda each: (each.namespace != namespace, each.namespace))
    )
    for part in parts:
        for rule in part.virtual_services:
            for host, ports in _destinations(rule, namespace).items():
                target = by_name.get(host)
                if target is not None:
                    narrowed = target if 0 in ports else _narrowed(target, ports)
                    every += [narrowed] if narrowed.ports else []
    order = {each.hostname: i for i, each in reversed(list(enumerate(visible)))}
    return tuple(sorted(by_host(every).values(), key=lambda each: order[each.hostname]))


def _narrowed(service: Service, ports: set[int]) -> Service:
    return replace(service, ports=tuple(port for port in service.ports if port.number in ports))


def _destinations(rule: VirtualService, namespace: str) -> dict[str, set[int]]:
    """Host to ports; port 0 is all of them."""
    found: dict[str, set[int]] = {}
    for http in rule.http:
        if not _is_from(http, namespace):
            continue
        for each in (*(route.destination for route in http.routes),
                     *(mirror.destination for mirror in http.mirrors)):  # fmt: skip
            found.setdefault(each.host, set()).add(each.port)
    for l4 in (*rule.tcp, *rule.tls):
        for route in l4.routes:
            found.setdefault(route.destination.host, set()).add(route.destination.port)
    return found


def _is_from(http: HttpRule, namespace: str) -> bool:
    """Whether a rule may be for callers of a namespace. Source: istiod,
    virtualServiceDestinationsFilteredBySourceNamespace."""
    sources = [match.source_namespace for match in http.matches if match.source_namespace]
    return not sources or namespace in sources


def _with_port(services: Iterable[Service], number: int) -> Iterator[Service]:
    for service in services:
        port = service.port(number)
        if port is not None:
            yield replace(service, ports=(port,))


def _imports(hosts: Iterable[tuple[str, str]], service: Service) -> bool:
    return any(
        namespace in ("*", service.namespace) and is_within(service.hostname, host)
        for namespace, host in hosts
    )


def _imports_rule(hosts: Iterable[tuple[str, str]], rule: VirtualService) -> bool:
    return any(
        namespace in ("*", rule.metadata.namespace)
        and any(overlap(name, host) for name in rule.hosts)
        for namespace, host in hosts
    )
