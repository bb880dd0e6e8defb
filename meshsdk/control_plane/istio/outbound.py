"""Outbound listeners of a sidecar. Source: istiod, buildSidecarOutboundListeners. FEED.md 3.2."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.egress import Egress
from meshsdk.control_plane.istio.envoy_json import message, messages, seconds_text
from meshsdk.control_plane.istio.observed import Observed, observed
from meshsdk.control_plane.istio.outbound_chains import ByteChains, Chain, Where
from meshsdk.control_plane.istio.outbound_routes import (
    HTTP_PROXY,
    catch_all_cluster,
    outbound_routes,
)
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.services import (
    ANY_ADDRESS,
    Protocol,
    Service,
    ServicePort,
    is_ip,
)
from meshsdk.control_plane.istio.sidecar import UNIX, EgressListener
from meshsdk.control_plane.shapes.clusters import socket_address
from meshsdk.control_plane.shapes.listeners import (
    grpc_web,
    http_filters,
    listener_filter,
    tcp_proxy,
    tls_inspector,
)
from meshsdk.control_plane.shapes.tls import Json

__all__ = ["outbound_listeners", "outbound_routes"]

Kind: TypeAlias = Literal["http", "tcp", "auto"]
_LOOPBACK: Final = "127.0.0.1"
_ALONE: Final = frozenset({"MONGO", "MYSQL"})
_PLAINTEXT: Final[Json] = {
    "application_protocols": ["http/1.1", "h2c"],
    "transport_protocol": "raw_buffer",
}


def outbound_listeners(config: Config, proxy: Proxy, scope: Scope) -> dict[str, Json]:
    """All of them by name, and with interception the one for all other addresses."""
    building = _Building(config, proxy, scope)
    for egress in scope.egress:
        building.add(egress)
    found = building.listeners()
    port = proxy.text("HTTP_PROXY_PORT")
    if port.isdecimal():
        name = f"{_LOOPBACK}_{port}"
        found[name] = building.explicit_proxy(name, int(port))
    if proxy.interception_mode != "NONE":
        found["virtualOutbound"] = building.virtual_outbound(config.mesh.proxy_listen_port)
    return dict(sorted(found.items()))


@dataclass(slots=True)
class _Entry:
    """A listener while it is built."""

    bind: str
    port: int
    kind: Kind
    protocol: Protocol
    is_bound: bool
    chains: list[Chain]
    is_locked: bool = False
    """A listener of an egress port: what is for all ports adds nothing to it."""


class _Building:
    """The listeners of one node. Services are taken in order: the first of two that cannot share
    an address has it."""

    def __init__(self, config: Config, proxy: Proxy, scope: Scope) -> None:
        self._proxy = proxy
        self._scope = scope
        self._shown: Observed = observed(config, proxy, "CLIENT")
        self._bytes = ByteChains(config, proxy, scope, self._shown)
        mesh = config.mesh
        self._reserved = (mesh.proxy_listen_port, mesh.proxy_inbound_listen_port)
        self._detection = seconds_text(mesh.protocol_detection_timeout)
        self._is_none = proxy.interception_mode == "NONE"
        self._entries: dict[tuple[str, int], _Entry] = {}

    def add(self, egress: Egress) -> None:
        """Everything that one egress listener lets through."""
        listener = egress.listener
        if listener is not None and listener.port is not None:
            self._add_port(egress, listener)
            return
        for entry in self._entries.values():
            entry.is_locked = True
        bind = "" if listener is None else listener.bind
        is_bound = self._is_none or (listener is not None and listener.is_bound)
        if not bind and is_bound:
            bind = _LOOPBACK
        for service in egress.services:
            for port in service.ports:
                if port.protocol == "UDP" or self._is_reserved(bind, port):
                    continue
                for where in self._places(service, port, bind):
                    self._add(where, egress, is_bound)

    def _add_port(self, egress: Egress, listener: EgressListener) -> None:
        assert listener.port is not None
        is_bound = self._is_none or listener.is_bound or listener.bind.startswith(UNIX)
        port = ServicePort(listener.port.number, listener.port.name, listener.port.protocol)
        bind = listener.bind or (_LOOPBACK if is_bound else "")
        for service in egress.services:
            for where in self._places(service, port, bind):
                self._add(where, egress, is_bound)

    def _places(self, service: Service, port: ServicePort, bind: str) -> Iterator[Where]:
        """Where listeners of a service's port stand."""
        addresses = service.addresses_for(dns_capture=self._proxy.dns_capture)
        if bind or _kind(port) == "http":
            yield Where(service, port, bind or ANY_ADDRESS, is_file=bind.startswith(UNIX))
            return
        if service.resolution == "NONE" and addresses[0] == ANY_ADDRESS and not port.is_tls:
            instances = [each for each in service.endpoints if port.number in each.ports]
            is_plain = service.registry != "Kubernetes" and not instances and not service.selector
            if not is_plain:
                for each in instances:
                    if is_ip(each.address) and each.address != self._proxy.addresses[0]:
                        yield Where(service, port, each.address)
                return
        for address in addresses if service.registry == "External" else addresses[:1]:
            if "/" not in address:
                yield Where(service, port, address)
                continue
            network = ipaddress.ip_network(address, strict=False)
            if network.num_addresses == 1:
                yield Where(service, port, str(network.network_address))
            else:
                yield Where(service, port, ANY_ADDRESS, address)

    def _is_reserved(self, bind: str, port: ServicePort) -> bool:
        """Ports that the proxy itself has on every address. Source: istiod,
        conflictWithReservedListener."""
        is_everywhere = bind == ANY_ADDRESS or (not bind and port.is_http)
        own = [self._proxy.text(key) for key in ("ENVOY_STATUS_PORT", "ENVOY_PROMETHEUS_PORT")]
        return is_everywhere and (port.number in self._reserved or str(port.number) in own)

    def _add(self, where: Where, egress: Egress, is_bound: bool) -> None:
        key = where.bind, where.port.number
        entry = self._entries.get(key)
        kind = _kind(where.port)
        if entry is not None:
            is_there = entry.kind == "auto" or (entry.kind == "http" and kind == "http")
            is_alone = {entry.protocol, where.port.protocol} & _ALONE
            if entry.is_locked or (kind != "tcp" and is_there):
                return  # routes tell the hosts apart
            if is_alone and entry.protocol != where.port.protocol:
                return  # nobody may look at their first bytes
        chains: list[Chain] = []
        if kind != "http":
            chains += self._bytes.of(where, egress)
        if kind != "tcp":
            chains.append(self._http(where, kind))
        if entry is None or (kind == "auto" and entry.kind == "http"):
            # HTTP that every address has is told apart from bytes by looking at them.
            known: Kind = "auto" if kind == "http" and where.bind == ANY_ADDRESS else kind
            protocol = where.port.protocol if known == kind else "AUTO"
            port = where.port.number
            self._entries[key] = _Entry(where.bind, port, known, protocol, is_bound, chains)
            return
        have = [chain.match for chain in entry.chains]
        entry.chains += (chain for chain in chains if chain.match not in have)
        if kind != entry.kind:
            entry.kind, entry.protocol = "auto", "AUTO"

    def _http(self, where: Where, kind: Kind) -> Chain:
        name = str(where.port.number)
        if where.is_file:
            name = where.bind
        elif kind == "auto" and where.bind != ANY_ADDRESS:
            name = f"{where.service.hostname}:{where.port.number}"
        is_sniffed = kind == "auto" or where.bind == ANY_ADDRESS
        config = self._routed(name, f"outbound_{where.bind}_{where.port.number};")
        if where.port.protocol == "GRPC_WEB":
            filters = messages(config["http_filters"])
            config["http_filters"] = [filters[0], grpc_web(), *filters[1:]]
        match = dict(_PLAINTEXT) if is_sniffed else {}
        return Chain((self._shown.manager(config),), match)

    def _routed(self, name: str, stat_prefix: str) -> Json:
        source: Json = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        return {
            "http_filters": http_filters([], is_inbound=False),
            "rds": {"config_source": source, "route_config_name": name},
            "stat_prefix": stat_prefix,
        }

    # -- finished ---------------------------------------------------------------------------

    def listeners(self) -> dict[str, Json]:
        """Every listener so far, by name."""
        found = (self._listener(entry) for entry in self._entries.values())
        return {str(listener["name"]): listener for listener in found}

    def _listener(self, entry: _Entry) -> Json:
        name = _name(entry.bind, entry.port)
        listener: Json = {
            "address": _address(entry.bind, entry.port),
            "continue_on_listener_filters_timeout": True,
            "listener_filters_timeout": "0s",
            "name": name,
            "traffic_direction": "OUTBOUND",
        }
        if entry.is_bound:
            listener["max_connections_to_accept_per_socket_event"] = 1
        else:
            listener["bind_to_port"] = False
        filters: list[Json] = []
        if any("server_names" in chain.match for chain in entry.chains):
            filters.append(tls_inspector())
        if any("application_protocols" in chain.match for chain in entry.chains):
            filters.append(listener_filter("http_inspector", "HttpInspector"))
            listener["listener_filters_timeout"] = self._detection
        if filters:
            listener["listener_filters"] = filters
        return listener | self._chains(entry)

    def _chains(self, entry: _Entry) -> Json:
        narrow = [chain.envoy() for chain in entry.chains if chain.match]
        wide = [chain.envoy() for chain in entry.chains if not chain.match]
        if not narrow:
            return {"filter_chains": wide}
        default = wide[0] if wide else self._fallthrough()
        return {"filter_chains": narrow, "default_filter_chain": default}

    def _fallthrough(self) -> Json:
        return {
            "filter_chain_match": {},
            "filters": self._rest(),
            "name": "PassthroughFilterChain",
        }

    def _rest(self) -> list[Json]:
        return self._shown.tcp(tcp_proxy(catch_all_cluster(self._scope) or "BlackHoleCluster"))

    def explicit_proxy(self, name: str, port: int) -> Json:
        """A listener for requests with a whole URL, of a node that wants one."""
        config = self._routed(HTTP_PROXY, f"outbound_{name};")
        options = message(self._shown.settings.fields.get("http_protocol_options", {}))
        config["http_protocol_options"] = {**options, "allow_absolute_url": True}
        return {
            "address": socket_address(_LOOPBACK, port),
            "continue_on_listener_filters_timeout": True,
            "filter_chains": [Chain((self._shown.manager(config),)).envoy()],
            "listener_filters_timeout": "0s",
            "max_connections_to_accept_per_socket_event": 1,
            "name": name,
            "traffic_direction": "OUTBOUND",
        }

    def virtual_outbound(self, port: int) -> Json:
        """Where addresses go that no other listener has."""
        lost: Json = {
            "filter_chain_match": {"destination_port": port},
            "filters": self._shown.lost(tcp_proxy("BlackHoleCluster")),
            "name": "virtualOutbound-blackhole",
        }
        return {
            **self._shown.listener,
            "address": socket_address(ANY_ADDRESS, port),
            "filter_chains": [
                lost,
                {"filters": self._rest(), "name": "virtualOutbound-catchall-tcp"},
            ],
            "max_connections_to_accept_per_socket_event": 1,
            "name": "virtualOutbound",
            "traffic_direction": "OUTBOUND",
            "use_original_dst": True,
        }


def _kind(port: ServicePort) -> Kind:
    return "http" if port.is_http else "auto" if port.is_auto else "tcp"


def _name(bind: str, port: int) -> str:
    return f"[{bind}]_{port}" if ":" in bind and not bind.startswith(UNIX) else f"{bind}_{port}"


def _address(bind: str, port: int) -> Json:
    if bind.startswith(UNIX):
        return {"pipe": {"path": bind.removeprefix(UNIX)}}
    return socket_address(bind, port)
