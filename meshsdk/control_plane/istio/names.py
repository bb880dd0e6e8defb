"""The name table: which address stands for which host. FEED.md 1.13."""

from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.hostnames import is_wildcard
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import ANY_ADDRESS, Service, is_ip
from meshsdk.control_plane.shapes.tls import Json


def name_table(config: Config, proxy: Proxy, scope: Scope) -> Json:
    """An `istio.networking.nds.v1.NameTable`: hosts with an address, no wildcards."""
    table: dict[str, Json] = {}
    for service in scope.by_host.values():
        if is_wildcard(service.hostname):
            continue
        ips = _ips(service, proxy)
        if ips:
            table[service.hostname] = {"ips": ips, **_of_registry(service)}
    return {"table": table}


def _ips(service: Service, proxy: Proxy) -> list[str]:
    if service.is_headless:
        return sorted({each.address for each in service.endpoints if is_ip(each.address)})
    every = service.addresses_for(dns_capture=proxy.dns_capture)
    return [each for each in every if each != ANY_ADDRESS and is_ip(each)]


def _of_registry(service: Service) -> Json:
    if service.registry == "External":
        return {"registry": "External"}
    return {
        "registry": "Kubernetes",
        "shortname": service.name,
        "namespace": service.namespace,
    }
