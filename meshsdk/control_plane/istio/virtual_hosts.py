"""Virtual hosts of a route configuration: by what names a caller may ask for a service."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import ANY_ADDRESS, Service, is_ip
from meshsdk.control_plane.shapes.tls import Json


@dataclass(frozen=True, slots=True)
class HostGroup:
    """Routes, and the services and bare hosts that have them on a port."""

    port: int
    routes: tuple[Json, ...]
    services: tuple[Service, ...] = ()
    hosts: tuple[str, ...] = ()
    """Of a VirtualService, where no service has them."""


def virtual_hosts(
    groups: Iterable[HostGroup], proxy: Proxy, *, with_ports: bool, counts_attempts: bool
) -> Iterator[tuple[int, Json]]:
    """Port and virtual host; the first to claim a name or a domain has it.

    `with_ports`: the listener has no port of its own, so that domains come with theirs too.
    """
    every = tuple(groups)
    known = {
        name
        for group in every
        for service in group.services
        for name in (service.hostname, f"{service.hostname}:{group.port}")
    }
    names: set[str] = set()
    taken: set[str] = set()
    for group in every:
        for host, service in (
            *((host, None) for host in group.hosts),
            *((service.hostname, service) for service in group.services),
        ):
            name = f"{host}:{group.port}"
            if name in names:
                continue
            names.add(name)
            port = group.port if with_ports else 0
            if service is None:
                domains, expanded = [host], set[str]()
            else:
                domains, expanded = _domains(service, port, proxy)
            left = [
                domain
                for domain in dict.fromkeys(domains)
                if domain.lower() not in taken and not (domain in expanded and domain in known)
            ]
            taken.update(domain.lower() for domain in left)
            if left:
                yield group.port, _virtual_host(name, left, group.routes, counts_attempts)


def _virtual_host(
    name: str, domains: list[str], routes: Iterable[Json], counts_attempts: bool
) -> Json:
    found: Json = {"domains": domains, "name": name, "routes": list(routes)}
    return {**found, "include_request_attempt_count": True} if counts_attempts else found


def _domains(service: Service, port: int, proxy: Proxy) -> tuple[list[str], set[str]]:
    """All domains, and those of them that are other words for the host name. Source: istiod,
    generateVirtualHostDomains."""
    short = list(_with_port(alternatives(service.hostname, proxy.dns_domain), port))
    domains = [*_with_port([service.hostname], port), *short]
    if service.is_headless:
        domains += [f"*.{domain}" for domain in domains]
    known = service.addresses_for(dns_capture=proxy.dns_capture)
    if service.registry == "External":
        known = known[-1:]  # istiod has a service an address, and the last one stays
    addresses = [
        address for address in known if is_ip(address) and address not in (ANY_ADDRESS, "::")
    ]
    bracketed = [f"[{each}]" if ":" in each else each for each in addresses]
    return domains + list(_with_port(bracketed, port)), set(short)


def _with_port(domains: Iterable[str], port: int) -> Iterator[str]:
    for domain in domains:
        yield domain
        if port:
            yield f"{domain}:{port}"


def alternatives(host: str, dns_domain: str) -> list[str]:
    """Shorter names of a host, as a resolver with the caller's search path knows them, and the
    one with a dot at its end. Source: istiod, GenerateAltVirtualHosts."""
    found = [f"{host}."]
    namespace, _, rest = dns_domain.partition(".")
    if not rest.startswith("svc.") or not host.endswith(f".{rest}"):
        return found
    unique = host.removesuffix(f".{rest}")
    name, _, own = unique.partition(".")
    if own == namespace:
        return [*found, name, f"{unique}.svc", unique]
    return [*found, unique, f"{unique}.svc"]


def catch_all(counts_attempts: bool, cluster: str) -> Json:
    """What no virtual host has: past the mesh, to the egress proxy, or (without a cluster)
    nowhere."""
    route: Json = {"match": {"prefix": "/"}}
    if cluster:
        name = "allow_any"
        route["route"] = {"cluster": cluster, "max_grpc_timeout": "0s", "timeout": "0s"}
    else:
        name = "block_all"
        route["direct_response"] = {"status": 502}
    return _virtual_host(name, ["*"], [{**route, "name": name}], counts_attempts)
