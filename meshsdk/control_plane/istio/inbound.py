"""The inbound side of a sidecar: its listener with all policies, and clusters to the application.

FEED.md 3.8 to 3.11.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from meshsdk.control_plane.istio.authn import jwt_filter
from meshsdk.control_plane.istio.authorization_policy import AuthorizationPolicy
from meshsdk.control_plane.istio.authz import AuthorizationFilters, authorization_filters
from meshsdk.control_plane.istio.cluster_policy import (
    connection_fields,
    http_protocol_options,
    is_http2,
)
from meshsdk.control_plane.istio.config import Config, Scope
from meshsdk.control_plane.istio.connection_pool import ConnectionPool, parse_connection_pool
from meshsdk.control_plane.istio.destination_rule import DestinationRule
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.observed import observed
from meshsdk.control_plane.istio.peer_authentication import InboundMtls
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.registry import Target
from meshsdk.control_plane.istio.request_authentication import RequestAuthentication
from meshsdk.control_plane.istio.services import Service, ServicePort
from meshsdk.control_plane.istio.sidecar import IngressListener, Sidecar
from meshsdk.control_plane.shapes.clusters import http_options, inbound_cluster, socket_address
from meshsdk.control_plane.shapes.inbound import (
    Inbound,
    InboundPort,
    Speaks,
    bound_listener,
    virtual_inbound,
)
from meshsdk.control_plane.shapes.tls import Json

_LOOPBACK: Final = "127.0.0.1"


def inbound_listeners(config: Config, proxy: Proxy, scope: Scope) -> dict[str, Json]:
    """`virtualInbound`, and the ports of the node's Sidecar that the proxy binds itself; `proxy` as
    the registry knows it."""
    mesh = config.mesh
    found: dict[str, Json] = {}
    mtls = config.mtls_of(proxy.workload)
    policies = _Policies(config, proxy, mtls)
    shown = observed(config, proxy, "SERVER")
    inbound = Inbound(
        mesh.trust_domain,
        mesh.trust_domain_aliases,
        mesh.mesh_mtls_min_version,
        mesh.mesh_mtls_cipher_suites,
        mesh.mesh_mtls_ecdh_curves,
        shown.manager,
        shown.tcp,
        shown.lost,
        shown.listener,
        listen_port=mesh.proxy_inbound_listen_port,
        detection_timeout=seconds_text(mesh.protocol_detection_timeout),
    )
    is_intercepted = proxy.interception_mode != "NONE"
    ports: list[InboundPort] = []
    ingress = _ingress(scope)
    for sidecar, listener in ingress:
        port = _ingress_port(sidecar, listener, proxy, policies)
        if listener.is_bound or not is_intercepted:
            bound = bound_listener(port, inbound)
            found[str(bound["name"])] = bound
        else:
            ports.append(port)
    if not is_intercepted:
        return found
    if not ingress:
        ports = [policies.port(_served(target)) for target in _first_of_ports(config, proxy)]
    taken = {port.port for port in ports}
    rest = policies.port(InboundPort(0, 0, ""))
    rest_of_all = virtual_inbound(
        ports,
        mode=mtls.mode,
        policies=rest.policies,
        tcp_policies=rest.tcp_policies,
        modes={port: mode for port, mode in mtls.ports.items() if port not in taken},
        inbound=inbound,
    )
    return {"virtualInbound": rest_of_all, **found}


def inbound_clusters(config: Config, proxy: Proxy, scope: Scope) -> dict[str, Json]:
    """The clusters that inbound chains name."""
    sidecar = scope.sidecar
    if sidecar is not None and sidecar.ingress:
        default = sidecar.inbound_connection_pool
        pool = None if default is None else parse_connection_pool(default)
        behind = _services_by_port(config, proxy)
        every = [_ingress_cluster(config, proxy, each, behind, pool) for each in sidecar.ingress]
        return {str(each["name"]): each for each in every}
    if proxy.interception_mode == "NONE":
        return {}
    default = None if sidecar is None else sidecar.inbound_connection_pool
    pool = None if default is None else parse_connection_pool(default)
    found: dict[str, Json] = {}
    behind = _services_by_port(config, proxy)
    for target in _first_of_ports(config, proxy):
        cluster = _cluster(config, proxy, target, behind[target.target_port], pool)
        found[str(cluster["name"])] = cluster
    return found


def _ingress(scope: Scope) -> list[tuple[Sidecar, IngressListener]]:
    sidecar = scope.sidecar
    return [] if sidecar is None else [(sidecar, each) for each in sidecar.ingress]


class _Policies:
    """The filters of a workload, made once."""

    def __init__(self, config: Config, proxy: Proxy, mtls: InboundMtls) -> None:
        self._mtls = mtls
        authz: AuthorizationFilters = authorization_filters(
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
        # CUSTOM stands before JWT: who is asked outside knows no claims.
        self._http = (*authz.custom_http, *(() if jwt is None else (jwt,)), *authz.http)
        self._tcp = (*authz.custom_tcp, *authz.tcp)

    def port(self, port: InboundPort) -> InboundPort:
        """A port with its mode and its policies."""
        mode = self._mtls.of(port.port)
        return replace(port, mode=mode, policies=self._http, tcp_policies=self._tcp)


def _first_of_ports(config: Config, proxy: Proxy) -> Iterable[Target]:
    """One service a port of the workload: the oldest."""
    found: dict[int, Target] = {}
    for target in config.registry.targets_of(proxy):
        if target.port.protocol != "UDP" and target.target_port:
            found.setdefault(target.target_port, target)
    return found.values()


def _services_by_port(config: Config, proxy: Proxy) -> Mapping[int, list[Service]]:
    """The workload's ports with all services that lead there."""
    found: dict[int, list[Service]] = {}
    for target in config.registry.targets_of(proxy):
        found.setdefault(target.target_port, []).append(target.service)
    return found


def _served(target: Target) -> InboundPort:
    port = target.port
    return InboundPort(
        target.target_port,
        port.number,
        target.service.hostname,
        speaks=_speaks(port),
        is_grpc=port.protocol in ("GRPC", "GRPC_WEB"),
        is_grpc_web=port.protocol == "GRPC_WEB",
        is_http2=port.is_http2,
    )


def _speaks(port: ServicePort) -> Speaks:
    return "HTTP" if port.is_http else "AUTO" if port.is_auto else "TCP"


def _ingress_port(
    sidecar: Sidecar, listener: IngressListener, proxy: Proxy, policies: _Policies
) -> InboundPort:
    name, namespace = sidecar.metadata.name, sidecar.metadata.namespace
    written = listener.port
    port = ServicePort(written.number, written.name, written.protocol)
    return policies.port(
        InboundPort(
            port.number,
            port.number,
            f"{name}.{namespace}",
            speaks=_speaks(port),
            is_grpc=port.protocol in ("GRPC", "GRPC_WEB"),
            is_grpc_web=port.protocol == "GRPC_WEB",
            is_http2=port.is_http2,
            bind=listener.bind or proxy.addresses[0],
            config=f"/apis/networking.istio.io/v1/namespaces/{namespace}/sidecar/{name}",
        )
    )


# -- clusters -------------------------------------------------------------------------------


def _cluster(
    config: Config,
    proxy: Proxy,
    target: Target,
    every: Iterable[Service],
    default: ConnectionPool | None,
) -> Json:
    """The limits that callers keep are the server's too; a Sidecar's own replace them."""
    service, port = target.service, target.port
    rule = config.destination_rule(service, proxy)
    pool = default
    if pool is None and rule is not None:
        pool = rule.policy_of(port.number).connection_pool
    cluster = inbound_cluster(target.target_port)
    cluster["metadata"] = _metadata(every, rule)
    if config.mesh.inbound_traffic_policy == "LOCALHOST":
        cluster = _to_endpoint(cluster, socket_address(_LOOPBACK, target.target_port))
        del cluster["upstream_bind_config"]
    return _with_pool(config, cluster, port, pool)


def _metadata(services: Iterable[Service], rule: DestinationRule | None = None) -> Json:
    every = [
        {"host": each.hostname, "name": each.name, "namespace": each.namespace}
        for each in {one.hostname: one for one in services}.values()
    ]
    config: Json = {} if rule is None else {"config": rule.config}
    return {"filter_metadata": {"istio": {"services": every, **config}}}


def _with_pool(
    config: Config, cluster: Json, port: ServicePort, pool: ConnectionPool | None
) -> Json:
    http2 = is_http2(config.mesh, port, None)
    options = http_protocol_options(port, pool, is_http2=http2)
    cluster = {**cluster, **connection_fields(config.mesh, pool)}
    if options is not None:
        cluster["typed_extension_protocol_options"] = http_options(options)
    return cluster


def _ingress_cluster(
    config: Config,
    proxy: Proxy,
    listener: IngressListener,
    behind: Mapping[int, list[Service]],
    default: ConnectionPool | None,
) -> Json:
    written = listener.port
    own = listener.connection_pool
    pool = default if own is None else parse_connection_pool(own)
    port = ServicePort(written.number, written.name, written.protocol)
    cluster = inbound_cluster(port.number)
    if port.number in behind:
        cluster["metadata"] = _metadata(behind[port.number])
    if listener.default_endpoint:
        cluster = _to_endpoint(cluster, _address(listener.default_endpoint, proxy))
        if listener.default_endpoint.startswith((_LOOPBACK, "[::1]")):
            del cluster["upstream_bind_config"]
    return _with_pool(config, cluster, port, pool)


def _to_endpoint(cluster: Json, address: Json) -> Json:
    """A cluster of one endpoint, instead of what the caller dialled."""
    kept = {k: v for k, v in cluster.items() if k not in ("lb_policy", "cleanup_interval")}
    assignment = {
        "cluster_name": cluster["name"],
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }
    return {**kept, "type": "STATIC", "load_assignment": assignment}


def _address(endpoint: str, proxy: Proxy) -> Json:
    if endpoint.startswith("unix://"):
        return socket_address(endpoint, 0)
    host, _, port = endpoint.rpartition(":")
    is_any = host in ("0.0.0.0", "[::]")  # noqa: S104 - a name
    return socket_address(proxy.addresses[0] if is_any else host.strip("[]"), int(port))
