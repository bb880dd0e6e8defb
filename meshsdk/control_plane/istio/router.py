"""Listeners and routes of a gateway: a proxy of type `router`. Source: istiod, gateway.go."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, cast

from meshsdk.control_plane.istio.authn import jwt_filter
from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import authorization_filters
from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.envoy_json import message
from meshsdk.control_plane.istio.gateway import Server, ServerTls
from meshsdk.control_plane.istio.gateway_servers import (
    BoundServer,
    GatewayPort,
    by_route,
    gateway_ports,
)
from meshsdk.control_plane.istio.hash_policy import HashPolicies
from meshsdk.control_plane.istio.hostnames import is_within
from meshsdk.control_plane.istio.http_actions import Destination
from meshsdk.control_plane.istio.http_routes import Asking, http_routes, outbound_cluster
from meshsdk.control_plane.istio.observed import observed
from meshsdk.control_plane.istio.outbound_chains import ByteChains, Chain
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.request_authentication import RequestAuthentication
from meshsdk.control_plane.istio.route_match import is_catch_all
from meshsdk.control_plane.istio.services import ANY_ADDRESS
from meshsdk.control_plane.istio.virtual_service import VirtualService
from meshsdk.control_plane.shapes.clusters import socket_address
from meshsdk.control_plane.shapes.gateway_tls import gateway_tls
from meshsdk.control_plane.shapes.listeners import http_filters, tls_inspector
from meshsdk.control_plane.shapes.tls import Json

_HTTP: Final[Json] = {
    "forward_client_cert_details": "SANITIZE_SET",
    "http_protocol_options": {},
    "server_name": "istio-envoy",
    "set_current_client_cert_details": {"cert": True, "dns": True, "subject": True, "uri": True},
    "use_remote_address": True,
}


def gateway_listeners(config: Config, proxy: Proxy, scope: Scope) -> dict[str, Json]:
    """The listeners of a gateway by name; empty where no Gateway chooses it."""
    building = _Listeners(config, proxy, scope)
    found = (building.listener(port) for port in gateway_ports(config, proxy))
    return {str(listener["name"]): listener for listener in found if listener is not None}


class _Listeners:
    """The listeners of one gateway."""

    def __init__(self, config: Config, proxy: Proxy, scope: Scope) -> None:
        self._config = config
        self._proxy = proxy
        self._shown = observed(config, proxy, "CLIENT")
        self._bytes = ByteChains(config, proxy, scope, self._shown)
        self._rules = scope.gateway_rules
        authz = authorization_filters(
            config.loaded.all(AuthorizationPolicy),
            proxy.workload,
            config.mesh,
            config.registry.namespaces_of,
            config.istio_version,
        )
        jwt = jwt_filter(
            config.loaded.all(RequestAuthentication),
            proxy.workload,
            config.mesh,
            config.key_sets,
        )
        self._policies = (*authz.custom_http, *(() if jwt is None else (jwt,)), *authz.http)
        self._tcp_policies = (*authz.custom_tcp, *authz.tcp)

    def listener(self, port: GatewayPort) -> Json | None:
        """None where nothing is behind the port."""
        bind = port.bind or ANY_ADDRESS
        name = f"{bind}_{port.number}"
        chains = list(self._chains(port, name))
        if not chains:
            return None
        listener: Json = {
            **self._shown.listener,
            "address": socket_address(bind, port.number),
            "filter_chains": chains,
            "max_connections_to_accept_per_socket_event": 1,
            "name": name,
            "traffic_direction": "OUTBOUND",
        }
        if any(bound.server.tls is not None and not _is_plain(bound) for bound in port.servers):
            listener["listener_filters"] = [tls_inspector()]
        return listener

    def _chains(self, port: GatewayPort, name: str) -> Iterator[Json]:
        first = port.servers[0]
        if first.server.is_http and not first.server.is_terminating:
            yield self._http(first, name)
            return
        for bound in port.servers:
            if bound.server.is_http:
                yield self._http(bound, name)
            else:
                yield from self._tcp(bound)

    def _http(self, bound: BoundServer, name: str) -> Json:
        source: Json = {"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        options = message(self._shown.settings.fields.get("http_protocol_options", {}))
        config: Json = {
            **_HTTP,
            **self._shown.settings.gateway_fields,
            "http_protocol_options": options,
            "http_filters": http_filters(self._policies, is_inbound=False),
            "rds": {"config_source": source, "route_config_name": bound.route_name},
            "stat_prefix": f"outbound_{name};",
        }
        manager = self._shown.manager(config)
        return self._with_tls(Chain((manager,)).envoy(), bound.server)

    def _tcp(self, bound: BoundServer) -> Iterator[Json]:
        """Connections by their server name, or all of them."""
        server = bound.server
        is_passed = server.tls is not None and not server.is_terminating
        for rule in self._rules:
            if bound.gateway not in rule.gateways or not _shared(server, rule):
                continue
            for match, filters in self._bytes.of_gateway(
                rule, bound.gateway, server.number, is_tls=is_passed
            ):
                chain = Chain((*self._tcp_policies, *filters), match, rule.config).envoy()
                yield self._with_tls(chain, server)
                if not is_passed:
                    return

    def _with_tls(self, chain: Json, server: Server) -> Json:
        tls = server.tls
        if tls is None or not server.is_terminating:
            return chain
        names = [] if "*" in server.names else list(server.names)
        found = dict(chain)
        if names:
            found["filter_chain_match"] = {"server_names": names}
        found["transport_socket"] = _socket(tls, is_http=server.is_http)
        return found


def _is_plain(bound: BoundServer) -> bool:
    return bound.server.is_http and not bound.server.is_terminating


def _socket(tls: ServerTls, *, is_http: bool) -> Json:
    """Source: istiod, buildGatewayListenerTLSContext."""
    if tls.mode == "ISTIO_MUTUAL":
        certificate, roots = "default", "ROOTCA"
    elif tls.credential_name:
        certificate = f"kubernetes://{tls.credential_name}"
        roots = f"{certificate}-cacert" if tls.mode != "SIMPLE" else ""
    else:
        certificate = f"file-cert:{tls.certificate}~{tls.private_key}"
        roots = f"file-root:{tls.ca_certificates}" if tls.ca_certificates else ""
    validation: Json = {}
    if tls.subject_alt_names:
        validation["match_subject_alt_names"] = [{"exact": n} for n in tls.subject_alt_names]
    if tls.spki:
        validation["verify_certificate_spki"] = list(tls.spki)
    if tls.hashes:
        validation["verify_certificate_hash"] = list(tls.hashes)
    versions: Json = {}
    if tls.min_version:
        versions["tls_minimum_protocol_version"] = tls.min_version
    if tls.max_version:
        versions["tls_maximum_protocol_version"] = tls.max_version
    if tls.cipher_suites:
        versions["cipher_suites"] = list(tls.cipher_suites)
    return gateway_tls(
        certificate,
        roots,
        is_required=tls.mode in ("MUTUAL", "ISTIO_MUTUAL"),
        validation=validation,
        versions=versions,
        alpn=("h2", "http/1.1") if is_http else (),
    )


# -- routes ---------------------------------------------------------------------------------


def gateway_routes(
    config: Config, proxy: Proxy, scope: Scope, names: Iterable[str]
) -> dict[str, Json]:
    """The route configurations of a gateway; a name of no server is empty."""
    servers = by_route(gateway_ports(config, proxy))
    hashes = HashPolicies(config, proxy, scope)
    return {
        name: {
            "ignore_port_in_host_matching": True,
            "max_direct_response_body_size_bytes": 1048576,
            "name": name,
            "validate_clusters": False,
            "virtual_hosts": _virtual_hosts(servers[name], config, proxy, scope, hashes),
        }
        if name in servers
        else {"name": name, "validate_clusters": False}
        for name in names
    }


def _virtual_hosts(
    servers: Sequence[BoundServer],
    config: Config,
    proxy: Proxy,
    scope: Scope,
    hashes: HashPolicies,
) -> list[Json]:
    counts = observed(config, proxy, "CLIENT").settings.counts_attempts
    found: dict[str, Json] = {}
    for bound in servers:
        server = bound.server
        is_redirect = server.tls is not None and server.tls.is_redirect
        asking = Asking(
            server.number,
            proxy.namespace,
            proxy.labels,
            bound.gateway,
            server.tls is not None,
            config.mesh.default_http_retry_policy,
        )
        for rule in scope.gateway_rules:
            if bound.gateway not in rule.gateways:
                continue
            routes = http_routes(
                rule, asking, _cluster_of(scope, server.number), hashes.of_destination
            )
            for host in _shared(server, rule) if routes else ():
                _add(found, host, server.number, routes, counts, is_redirect)
        for host in server.names if is_redirect else ():
            _add(found, host, server.number, (), counts, is_redirect)
    if not found:
        return [{"domains": ["*"], "name": f"blackhole:{servers[0].server.number}"}]
    return [_ordered(host) for _, host in sorted(found.items())]


def _add(
    found: dict[str, Json],
    host: str,
    port: int,
    routes: Iterable[Json],
    counts: bool,
    is_redirect: bool,
) -> None:
    virtual_host = found.get(host)
    if virtual_host is None:
        virtual_host = found[host] = {"domains": [host], "name": f"{host}:{port}"}
        if counts:
            virtual_host["include_request_attempt_count"] = True
    have = cast("list[Json]", virtual_host.get("routes", []))
    if have or routes:
        virtual_host["routes"] = [*have, *routes]
    if is_redirect:
        virtual_host["require_tls"] = "ALL"


def _ordered(virtual_host: Mapping[str, object]) -> Json:
    """Routes that match everything last. Source: istiod, SortVHostRoutes."""
    routes = cast("list[Json]", virtual_host.get("routes", []))
    every = [each for each in routes if is_catch_all(message(each["match"]))]
    some = [each for each in routes if not is_catch_all(message(each["match"]))]
    return {**virtual_host, **({"routes": [*some, *every]} if routes else {})}


def _shared(server: Server, rule: VirtualService) -> list[str]:
    """The hosts that both mean; of two the narrower. Source: istiod, Names.Intersection."""
    hosts = [
        host for namespace, host in server.hosts if namespace in ("*", rule.metadata.namespace)
    ]
    found: list[str] = []
    for own in rule.hosts:
        for host in hosts:
            if is_within(own, host):
                found.append(own)
            elif is_within(host, own):
                found.append(host)
    return list(dict.fromkeys(found))


def _cluster_of(scope: Scope, number: int) -> Callable[[Destination], str]:
    """The cluster of a destination; the server's port where nothing names one."""

    def cluster_of(destination: Destination) -> str:
        service = scope.by_host.get(destination.host)
        port = number
        if not destination.port and service is not None and len(service.ports) == 1:
            port = service.ports[0].number
        return outbound_cluster(destination, port)

    return cluster_of
