"""Route configurations of a sidecar, by name: a port, HOST:PORT of a sniffed service, `http_proxy`
or a socket of the file system. Source: istiod, httproute.go. FEED.md 3.4."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Final, cast

from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.egress import Egress
from meshsdk.control_plane.istio.hash_policy import HashPolicies
from meshsdk.control_plane.istio.hostnames import is_wildcard
from meshsdk.control_plane.istio.http_actions import Destination
from meshsdk.control_plane.istio.http_routes import Asking, http_routes, outbound_cluster
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.proxy_settings import proxy_settings
from meshsdk.control_plane.istio.route_action import retry_policy
from meshsdk.control_plane.istio.services import Service
from meshsdk.control_plane.istio.sidecar import UNIX
from meshsdk.control_plane.istio.virtual_hosts import HostGroup, catch_all, virtual_hosts
from meshsdk.control_plane.istio.virtual_service import VirtualService
from meshsdk.control_plane.shapes.clusters import cluster_name
from meshsdk.control_plane.shapes.tls import Json

HTTP_PROXY: Final = "http_proxy"


def outbound_routes(
    config: Config, proxy: Proxy, scope: Scope, names: Iterable[str]
) -> dict[str, Json]:
    """The route configurations of some names; a name of no listener has the catch-all alone, and
    one of a sniffed service that is gone is empty."""
    building = _Building(config, proxy, scope)
    return {name: building.configuration(name) for name in names}


class _Building:
    """The routes of one node."""

    def __init__(self, config: Config, proxy: Proxy, scope: Scope) -> None:
        self._proxy = proxy
        self._scope = scope
        self._counts = proxy_settings(config, proxy).counts_attempts
        self._retries = config.mesh.default_http_retry_policy
        self._hashes = HashPolicies(config, proxy, scope)
        self._known: dict[tuple[int, int], dict[str, Json]] = {}

    def configuration(self, name: str) -> Json:
        host, _, number = name.rpartition(":")
        is_sniffed = bool(host) and not name.startswith(UNIX)
        port = int(number) if number.isdecimal() and not name.startswith(UNIX) else 0
        egress = self._egress(name, port)
        listener = None if egress is None else egress.listener
        own = None if listener is None else listener.port
        if own is not None and own.protocol == "HTTP_PROXY":
            port = 0
        hosts = {} if egress is None else self._by_name(egress, port)
        if is_sniffed:
            found = [{**hosts[name], "domains": ["*"]}] if name in hosts else []
        else:
            rest = catch_all(self._counts, catch_all_cluster(self._scope))
            found = [*(hosts[each] for each in sorted(hosts)), rest]
        return {
            "ignore_port_in_host_matching": True,
            "max_direct_response_body_size_bytes": 1048576,
            "name": name,
            "validate_clusters": False,
            "virtual_hosts": found,
        }

    def _egress(self, name: str, port: int) -> Egress | None:
        """The listener that a name is of. Source: istiod, GetEgressListenerForRDS."""
        last: Egress | None = None
        for egress in self._scope.egress:
            own = None if egress.listener is None else egress.listener.port
            if own is None or egress.listener is None:
                last = egress
            elif name.startswith(UNIX):
                if egress.listener.bind == name:
                    return egress
            elif port and own.number == port:
                return egress
        if name == HTTP_PROXY and last is None and self._scope.egress:
            return self._scope.egress[0]
        return None if name.startswith(UNIX) else last

    def _by_name(self, egress: Egress, port: int) -> dict[str, Json]:
        """The virtual hosts of a port, made once for all sniffed services that share it."""
        key = id(egress), port  # the scope keeps the id taken
        found = self._known.get(key)
        if found is None:
            made = self._virtual_hosts(egress, port)
            found = self._known[key] = {str(each["name"]): each for each in made}
        return found

    def _virtual_hosts(self, egress: Egress, port: int) -> list[Json]:
        services = _on_port(egress.services, port)
        left = dict(services)
        groups: list[HostGroup] = []
        for rule in egress.virtual_services:
            for group in self._groups(rule, egress, services, port):
                groups.append(group)
                for service in group.services:
                    left.pop(service.hostname, None)
        groups += self._defaults(left.values())
        found = virtual_hosts(
            groups,
            self._proxy,
            with_ports=not port,
            counts_attempts=self._counts,
        )
        if port:
            return [host for number, host in found if number == port]
        return list(_merged(found))

    def _groups(
        self, rule: VirtualService, egress: Egress, services: dict[str, Service], port: int
    ) -> Iterator[HostGroup]:
        """The ports of a VirtualService's hosts, each with its routes."""
        asking = Asking(
            port, self._proxy.namespace, self._proxy.labels, default_retries=self._retries
        )
        routes = tuple(
            http_routes(rule, asking, _cluster_of(services, port), self._hashes.of_destination)
        )
        if not routes:
            return
        hosts, chosen = _separated(rule, egress, services)
        by_port: dict[int, list[Service]] = {}
        for service in chosen:
            for each in service.ports:
                if each.is_http or each.is_auto:
                    by_port.setdefault(each.number, []).append(service)
        if not by_port and port == 80:  # hosts of no service are on port 80 alone, as in istiod
            by_port[80] = []
        for number, found in by_port.items():
            yield HostGroup(number, routes, tuple(found), tuple(hosts))

    def _defaults(self, services: Iterable[Service]) -> Iterator[HostGroup]:
        for service in services:
            for port in service.ports:
                if port.is_http or port.is_auto:
                    route = self._default_route(service, port.number)
                    yield HostGroup(port.number, (route,), (service,))

    def _default_route(self, service: Service, port: int) -> Json:
        action: Json = {
            "cluster": cluster_name(service.hostname, port),
            "max_grpc_timeout": "0s",
            "timeout": "0s",
        }
        policy = retry_policy(self._retries)
        if policy is not None:
            action["retry_policy"] = policy
        hashing = self._hashes.of_destination(Destination(service.hostname, "", port))
        if hashing is not None:
            action["hash_policy"] = [hashing]
        return {
            "decorator": {"operation": f"{service.hostname}:{port}/*"},
            "match": {"prefix": "/"},
            "name": "default",
            "route": action,
        }


def catch_all_cluster(scope: Scope) -> str:
    """Where unknown hosts go; empty is nowhere."""
    if scope.outbound_mode == "REGISTRY_ONLY":
        return ""
    proxy = scope.egress_proxy
    return "PassthroughCluster" if proxy is None else outbound_cluster(proxy, 0)


def _on_port(services: Iterable[Service], port: int) -> dict[str, Service]:
    """Services by host; of a listener with a port those that have it, with it alone."""
    found: dict[str, Service] = {}
    for service in services:
        if not port:
            found[service.hostname] = service
            continue
        own = service.port(port)
        if own is not None:
            found[service.hostname] = replace(service, ports=(own,))
    return found


def _cluster_of(services: dict[str, Service], port: int) -> Callable[[Destination], str]:
    def cluster_of(destination: Destination) -> str:
        service = services.get(destination.host)
        number = port
        if not destination.port and service is not None and len(service.ports) == 1:
            number = service.ports[0].number
        return outbound_cluster(destination, number)

    return cluster_of


def _separated(
    rule: VirtualService, egress: Egress, services: dict[str, Service]
) -> tuple[list[str], list[Service]]:
    """Hosts that no service has, and services. Source: istiod, separateVSHostsAndServices."""
    hosts: list[str] = []
    chosen: list[Service] = []
    for host in rule.hosts:
        if not is_wildcard(host):
            service = services.get(host)
            hosts += [] if service is not None else [host]
            chosen += [] if service is None else [service]
            continue
        within = [each for name, each in services.items() if _is_under(name, host)]
        chosen += [each for each in within if egress.most_specific(each.hostname) is rule]
        hosts += [] if within else [host]
    return hosts, list({service.hostname: service for service in chosen}.values())


def _is_under(name: str, wildcard: str) -> bool:
    return name.endswith(wildcard[1:]) and name != wildcard[1:]


def _merged(found: Iterable[tuple[int, Json]]) -> Iterator[Json]:
    """All ports in one: but for 80, only domains with a port. Source: istiod,
    mergeAllVirtualHosts."""
    for port, host in found:
        domains = cast("list[str]", host["domains"])
        left = domains if port == 80 else [each for each in domains if ":" in each]
        if left:
            yield {**host, "domains": left}
