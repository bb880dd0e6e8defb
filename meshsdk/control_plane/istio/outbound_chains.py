"""Filter chains of outbound listeners that pass bytes: tcp and tls rules, SNI, and clusters.
Source: istiod, tls.go. FEED.md 3.2."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.egress import Egress
from meshsdk.control_plane.istio.envoy_json import message, seconds_text
from meshsdk.control_plane.istio.http_match import MESH
from meshsdk.control_plane.istio.http_routes import outbound_cluster
from meshsdk.control_plane.istio.http_rule import RouteDestination
from meshsdk.control_plane.istio.l4_rule import L4Match, L4Rule
from meshsdk.control_plane.istio.observed import Observed
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import ANY_ADDRESS, Service, ServicePort
from meshsdk.control_plane.istio.virtual_service import VirtualService
from meshsdk.control_plane.shapes.clusters import cluster_name
from meshsdk.control_plane.shapes.listeners import tcp_proxy
from meshsdk.control_plane.shapes.tls import Json


@dataclass(frozen=True, slots=True)
class Chain:
    """A filter chain before its listener is made."""

    filters: tuple[Json, ...]
    match: Json = field(default_factory=dict[str, object])
    """Empty matches everything."""
    config: str = ""
    """The document that says so."""

    def envoy(self) -> Json:
        """The chain as istiod sends it."""
        found: Json = {"filters": list(self.filters), "transport_socket_connect_timeout": "15s"}
        if self.match:
            found["filter_chain_match"] = self.match
        if self.config:
            found["metadata"] = {"filter_metadata": {"istio": {"config": self.config}}}
        return found


@dataclass(frozen=True, slots=True)
class Where:
    """A port of a service, at the place where a listener of it stands."""

    service: Service
    port: ServicePort
    bind: str
    cidr: str = ""
    """Where the service's address is a network."""
    is_file: bool = False


class ByteChains:
    """The chains of one node."""

    def __init__(self, config: Config, proxy: Proxy, scope: Scope, shown: Observed) -> None:
        self._config = config
        self._proxy = proxy
        self._scope = scope
        self._shown = shown

    def of(self, where: Where, egress: Egress) -> list[Chain]:
        """All that pass a service's bytes."""
        own = egress.rules_for(where.service.hostname)
        if where.port.is_tls:
            return list(self._tls(where, own))
        return list(self._tcp(where, own))

    def of_gateway(
        self, rule: VirtualService, gateway: str, port: int, *, is_tls: bool
    ) -> Iterator[tuple[Json, tuple[Json, ...]]]:
        """Match and filters of the rules that a VirtualService has for a gateway."""
        number = ServicePort(port, "", "TLS" if is_tls else "TCP")
        where = Where(Service(rule.hosts[0], rule.metadata.namespace, (number,)), number, "")
        proxy = self._proxy
        for l4 in rule.tls if is_tls else rule.tcp:
            filters = self._filters(l4.routes, where, rule)
            if not l4.matches and not is_tls:
                yield {}, filters
            for match in l4.matches:
                if match.is_for(gateway, proxy.labels, proxy.namespace, port):
                    yield _match(match.destination_subnets, match.sni_hosts), filters

    def _tls(self, where: Where, rules: Iterable[VirtualService]) -> Iterator[Chain]:
        seen: set[tuple[frozenset[str], frozenset[str]]] = set()
        for rule, l4 in _pairs(rules, is_tls=True):
            for match in l4.matches:
                if not self._is_here(match, where):
                    continue
                key = frozenset(match.sni_hosts), frozenset(match.destination_subnets)
                if key not in seen:
                    seen.add(key)
                    filters = self._filters(l4.routes, where, rule)
                    subnets = self._subnets(match, where)
                    yield Chain(filters, _match(subnets, match.sni_hosts), rule.config)
        if not seen:
            address = where.service.address_for(dns_capture=self._proxy.dns_capture)
            is_shared = where.cidr or (address == ANY_ADDRESS and where.bind == ANY_ADDRESS)
            names = (where.service.hostname,) if is_shared else ()
            yield Chain(self._own(where), _match(_cidrs(where), names))

    def _tcp(self, where: Where, rules: Iterable[VirtualService]) -> Iterator[Chain]:
        for rule, l4 in _pairs(rules, is_tls=False):
            if not l4.matches:
                yield Chain(
                    self._filters(l4.routes, where, rule), _match(_cidrs(where)), rule.config
                )
                return
            subnets: list[str] = []
            for match in l4.matches:
                if not self._is_here(match, where):
                    continue
                if not match.destination_subnets or where.is_file:
                    filters = self._filters(l4.routes, where, rule)
                    yield Chain(filters, _match(_cidrs(where)), rule.config)
                    return
                subnets += match.destination_subnets
            if subnets:
                yield Chain(self._filters(l4.routes, where, rule), _match(subnets))
                if sorted(subnets) == sorted(_cidrs(where)):
                    return
        yield Chain(self._own(where), _match(_cidrs(where)))

    def _is_here(self, match: L4Match, where: Where) -> bool:
        proxy = self._proxy
        return match.is_for(MESH, proxy.labels, proxy.namespace, where.port.number)

    def _subnets(self, match: L4Match, where: Where) -> list[str]:
        if match.destination_subnets and not where.is_file:
            return list(match.destination_subnets)
        return _cidrs(where)

    def _own(self, where: Where) -> tuple[Json, ...]:
        ports = where.service.ports
        number = ports[0].number if len(ports) == 1 else where.port.number
        cluster = cluster_name(where.service.hostname, number)
        return self._to_cluster(where, cluster, where.service, "")

    def _filters(
        self, routes: tuple[RouteDestination, ...], where: Where, rule: VirtualService
    ) -> tuple[Json, ...]:
        first = routes[0].destination
        service = self._scope.by_host.get(first.host)
        if len(routes) == 1:
            number = where.port.number
            if not first.port and service is not None and len(service.ports) == 1:
                number = service.ports[0].number
            cluster = outbound_cluster(first, number)
            return self._to_cluster(where, cluster, service, first.subset)
        clusters: list[Json] = [
            {
                "name": outbound_cluster(each.destination, where.port.number),
                "weight": each.weight,
            }
            for each in routes
            if each.weight
        ]
        prefix = f"{rule.metadata.name}.{rule.metadata.namespace}"
        proxy = tcp_proxy(prefix)
        config = message(proxy["typed_config"])
        del config["cluster"]
        config["weighted_clusters"] = {"clusters": clusters}
        config |= self._policy(service, first.subset)
        return self._stack(where, proxy, prefix)

    def _to_cluster(
        self, where: Where, cluster: str, service: Service | None, subset: str
    ) -> tuple[Json, ...]:
        proxy = tcp_proxy(cluster)
        message(proxy["typed_config"]).update(self._policy(service, subset))
        return self._stack(where, proxy, cluster)

    def _stack(self, where: Where, proxy: Json, prefix: str) -> tuple[Json, ...]:
        stack = self._shown.tcp(proxy)
        if where.port.protocol != "MONGO":
            return tuple(stack)
        mongo: Json = {
            "name": "envoy.filters.network.mongo_proxy",
            "typed_config": {
                "@type": "type.googleapis.com/"
                "envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
                "stat_prefix": prefix,
            },
        }
        return (*stack[:-1], mongo, stack[-1])

    def _policy(self, service: Service | None, subset: str) -> Json:
        """What a DestinationRule says of a TCP proxy."""
        rule = None if service is None else self._config.destination_rule(service, self._proxy)
        if rule is None:
            return {}
        found: Json = {}
        chosen = rule.subset(subset) if subset else None
        policies = [None if chosen is None else chosen.policy, rule.policy]
        for policy in (each for each in policies if each is not None):
            balancer, pool, tunnel = policy.load_balancer, policy.connection_pool, policy.tunnel
            hashing = None if balancer is None else balancer.consistent_hash
            if hashing is not None and hashing.use_source_ip:
                source_ip: Json = {"source_ip": {}}
                found.setdefault("hash_policy", [source_ip])
            if policy is rule.policy and pool is not None and pool.tcp_idle_timeout is not None:
                found["idle_timeout"] = seconds_text(pool.tcp_idle_timeout)
            if tunnel is not None:
                host = f"{tunnel.target_host}:{tunnel.target_port}"
                tunnelling: Json = {"hostname": host}
                tunnelling |= {"use_post": True} if tunnel.protocol == "POST" else {}
                found.setdefault("tunneling_config", tunnelling)
        return found


def _pairs(
    rules: Iterable[VirtualService], *, is_tls: bool
) -> Iterator[tuple[VirtualService, L4Rule]]:
    for rule in rules:
        for each in rule.tls if is_tls else rule.tcp:
            yield rule, each


def _cidrs(where: Where) -> list[str]:
    return [where.cidr] if where.cidr else []


def _match(cidrs: Iterable[str], server_names: Iterable[str] = ()) -> Json:
    found: Json = {}
    ranges = [_range(cidr) for cidr in cidrs]
    if ranges:
        found["prefix_ranges"] = ranges
    if server_names:
        found["server_names"] = list(server_names)
    return found


def _range(cidr: str) -> Json:
    address, _, length = cidr.partition("/")
    return {
        "address_prefix": address,
        "prefix_len": int(length) if length else 128 if ":" in address else 32,
    }
