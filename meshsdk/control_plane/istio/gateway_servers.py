"""The servers of all Gateways that choose a proxy, by the port that it listens on. Source: istiod,
MergeGateways."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.gateway import Gateway, Server
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.selectors import selects


@dataclass(frozen=True, slots=True)
class BoundServer:
    """A server, and the Gateway that it is of."""

    server: Server
    gateway: str
    """namespace/name, as VirtualServices say it."""
    route_name: str
    """Empty where requests are not read."""


@dataclass(slots=True)
class GatewayPort:
    """A listener of a gateway."""

    number: int
    """The proxy's own port."""
    bind: str
    servers: list[BoundServer] = field(default_factory=list[BoundServer])

    def takes(self, server: Server) -> bool:
        """Plaintext HTTP stands with its like, and so does TLS, of any protocol; nothing else
        shares a port."""
        if not self.servers:
            return True
        first = self.servers[0].server
        if _is_plain_http(first) or _is_plain_http(server):
            return _is_plain_http(first) and _is_plain_http(server)
        return first.tls is not None and server.tls is not None


def gateway_ports(config: Config, proxy: Proxy) -> tuple[GatewayPort, ...]:
    """The listeners of a proxy of type `router`; of two servers of one host on one port, and of
    protocols that cannot share one, the older stays."""
    found: dict[tuple[int, str], GatewayPort] = {}
    claimed: dict[tuple[int, str], set[tuple[str, str]]] = {}
    targets = gateway_targets(config, proxy)
    for gateway in config.loaded.all(Gateway):
        if not selects(gateway.selector, proxy.labels):
            continue
        name = f"{gateway.metadata.namespace}/{gateway.metadata.name}"
        for server in gateway.servers:
            for number in targets.get(server.number, (server.number,)):
                key = number, server.bind
                port = found.setdefault(key, GatewayPort(number, server.bind))
                hosts = claimed.setdefault(key, set())
                is_tls_twice = server.tls is not None and hosts & set(server.hosts)
                if is_tls_twice or not port.takes(server):
                    continue
                hosts.update(server.hosts)
                route = _route_name(server, number, gateway)
                port.servers.append(BoundServer(server, name, route))
    return tuple(port for port in found.values() if port.servers)


def by_route(ports: Iterable[GatewayPort]) -> Mapping[str, list[BoundServer]]:
    """The servers of each route configuration."""
    found: dict[str, list[BoundServer]] = {}
    for port in ports:
        for bound in port.servers:
            if bound.route_name:
                found.setdefault(bound.route_name, []).append(bound)
    return found


def gateway_targets(config: Config, proxy: Proxy) -> Mapping[int, tuple[int, ...]]:
    """Service ports to the proxy's own."""
    found: dict[int, tuple[int, ...]] = {}
    for target in config.registry.targets_of(proxy):
        before = found.get(target.port.number, ())
        found[target.port.number] = tuple(dict.fromkeys((*before, target.target_port)))
    return found


def _route_name(server: Server, number: int, gateway: Gateway) -> str:
    bind = f".{server.bind}" if server.bind else ""
    if not server.is_http:
        return ""
    if server.protocol != "HTTPS":
        return f"http.{number}{bind}"
    metadata = gateway.metadata
    return f"https.{server.number}.{server.port_name}.{metadata.name}.{metadata.namespace}{bind}"


def _is_plain_http(server: Server) -> bool:
    return server.is_http and not server.is_terminating
