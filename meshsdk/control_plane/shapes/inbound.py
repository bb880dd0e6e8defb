"""`virtualInbound`: one set of chains per port, and the chains of all other ports. FEED.md 3.8."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal, TypeAlias

from meshsdk.control_plane.shapes.clusters import socket_address
from meshsdk.control_plane.shapes.listeners import (
    connection_manager,
    http_filters,
    tcp_proxy,
    with_metadata_exchange,
)
from meshsdk.control_plane.shapes.tls import ISTIO_ALPN, ISTIO_HTTP_ALPN, Json, downstream_tls

PeerAuthentication: TypeAlias = Literal["STRICT", "PERMISSIVE", "DISABLE"]
Speaks: TypeAlias = Literal["HTTP", "TCP", "AUTO"]

ANY: Final = "0.0.0.0"  # noqa: S104 - a name, nobody binds it
INBOUND_PORT: Final = 15006
_PASSTHROUGH: Final = "InboundPassthroughCluster"
_GRPC_WEB: Final[Json] = {
    "name": "envoy.filters.http.grpc_web",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
    },
}


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port of the workload that a service has."""

    port: int
    """The workload's own, the service's targetPort."""
    service_port: int
    host: str
    mode: PeerAuthentication = "STRICT"
    policies: tuple[Json, ...] = ()
    """HTTP filters (CUSTOM, JWT, RBAC in istiod's order), for this port."""
    speaks: Speaks = "HTTP"
    tcp_policies: tuple[Json, ...] = ()
    """Network filters, for chains without HTTP."""
    is_grpc: bool = False
    is_grpc_web: bool = False
    is_http2: bool = False
    """Declared to be HTTP/2, as gRPC is."""
    bind: str = ANY
    config: str = ""
    """The Sidecar that wants the port, where one does."""


def _manager(config: Json) -> Json:
    """istiod's defaults of an inbound connection manager."""
    details = {"dns": True, "subject": True, "uri": True}
    return connection_manager(
        {
            "forward_client_cert_details": "APPEND_FORWARD",
            "server_name": "istio-envoy",
            "set_current_client_cert_details": details,
            **config,
        }
    )


def _alone(proxy: Json) -> list[Json]:
    return [proxy]


@dataclass(frozen=True, slots=True)
class Inbound:
    """What all inbound chains of a workload share."""

    trust_domain: str = "cluster.local"
    aliases: tuple[str, ...] = ()
    minimum_version: str = "TLSv1_2"
    cipher_suites: tuple[str, ...] = ()
    ecdh_curves: tuple[str, ...] = ()
    manager: Callable[[Json], Json] = _manager
    """Makes a connection manager of its own fields."""
    proxied: Callable[[Json], list[Json]] = _alone
    """Makes the end of a TCP chain of a tcp_proxy filter."""
    lost: Callable[[Json], list[Json]] = _alone
    """The same of one that leads nowhere."""
    listener: Json = field(default_factory=dict[str, object])
    """Fields of the listener beside those that all have."""
    listen_port: int = INBOUND_PORT
    detection_timeout: str = "0s"
    """How long a connection may take to show what it is; `0s` is for ever."""

    def tls(self, *, is_tcp: bool) -> Json:
        """Istio mTLS on a chain."""
        return downstream_tls(
            self.trust_domain,
            is_tcp=is_tcp,
            aliases=self.aliases,
            minimum_version=self.minimum_version,
            cipher_suites=self.cipher_suites,
            ecdh_curves=self.ecdh_curves,
        )


def virtual_inbound(
    ports: Sequence[InboundPort],
    *,
    trust_domain: str = "cluster.local",
    mode: PeerAuthentication = "STRICT",
    policies: Sequence[Json] = (),
    tcp_policies: Sequence[Json] = (),
    modes: Mapping[int, PeerAuthentication] | None = None,
    inbound: Inbound | None = None,
) -> Json:
    """The listener of everything that comes in.

    `mode` and the policies (HTTP and network filters) are those of the ports that no service has;
    `modes` of such ports with a mode of their own.
    """
    inbound = inbound or Inbound(trust_domain)
    rest = InboundPort(0, 0, "", mode, tuple(policies), "AUTO", tuple(tcp_policies))
    chains = [
        {
            "filter_chain_match": {"destination_port": inbound.listen_port},
            "filters": with_metadata_exchange(*inbound.lost(tcp_proxy("BlackHoleCluster"))),
            "name": "virtualInbound-blackhole",
        },
        *_rest(rest, {}, inbound),
    ]
    needs = {0: rest}
    for number, other in (modes or {}).items():
        one = InboundPort(number, 0, "", other, rest.policies, "AUTO", rest.tcp_policies)
        chains += _rest(one, {"destination_port": number}, inbound)
        needs[number] = one
    for port in ports:
        chains += port_chains(port, inbound)
        needs[port.port] = port
    return {
        **inbound.listener,
        "address": socket_address(ANY, inbound.listen_port),
        "continue_on_listener_filters_timeout": True,
        "filter_chains": chains,
        "listener_filters": _listener_filters(needs, inbound.listen_port),
        "listener_filters_timeout": inbound.detection_timeout,
        "max_connections_to_accept_per_socket_event": 1,
        "name": "virtualInbound",
        "traffic_direction": "INBOUND",
    }


def bound_listener(port: InboundPort, inbound: Inbound) -> Json:
    """A port that the proxy itself binds: a Sidecar's ingress without interception."""
    filters = _listener_filters({port.port: port}, 0)[1:]
    here: Json = {"destination_port_range": {"start": port.port, "end": port.port + 1}}
    only: Json = {"filter_disabled": {"not_match": here}}
    return {
        **inbound.listener,
        "address": socket_address(port.bind, port.port),
        "continue_on_listener_filters_timeout": True,
        "filter_chains": port_chains(port, inbound),
        "listener_filters": [{**only, **each} for each in filters],
        "listener_filters_timeout": inbound.detection_timeout,
        "max_connections_to_accept_per_socket_event": 1,
        "name": f"{port.bind}_{port.port}",
        "traffic_direction": "INBOUND",
    }


def port_chains(port: InboundPort, inbound: Inbound) -> list[Json]:
    """The chains of one port that a service has."""
    name = f"{port.bind}_{port.port}"
    cluster = f"inbound|{port.port}||"
    manager = _connection_manager(
        cluster,
        f"inbound|http|{port.service_port}",
        f"{port.host}:{port.service_port}/*",
        f"inbound_{name};",
        port,
        inbound,
    )
    proxy = inbound.proxied(tcp_proxy(cluster))
    match: Json = {"destination_port": port.port}
    return _chains(port, (name, name), match, manager, proxy, inbound)


def _rest(port: InboundPort, match: Json, inbound: Inbound) -> list[Json]:
    manager = _connection_manager(
        _PASSTHROUGH, "inbound|http|0", ":0/*", f"{_PASSTHROUGH};", port, inbound
    )
    names = ("virtualInbound-catchall-http", "virtualInbound")
    return _chains(port, names, match, manager, inbound.proxied(tcp_proxy(_PASSTHROUGH)), inbound)


def _chains(
    port: InboundPort,
    names: tuple[str, str],
    match: Json,
    manager: Json,
    proxy: Sequence[Json],
    inbound: Inbound,
) -> list[Json]:
    """The table of FEED.md 3.8, one row a mode; `names` of HTTP and of TCP chains."""
    http = partial(_chain, names[0], port.config, match, [manager])
    tcp = partial(_chain, names[1], port.config, match, [*port.tcp_policies, *proxy])
    http_tls, tcp_tls = inbound.tls(is_tcp=False), inbound.tls(is_tcp=True)
    sniffed = ["http/1.1", "h2c"]
    match port.mode, port.speaks:
        case "STRICT", "HTTP":
            return [http("tls", [], http_tls)]
        case "STRICT", "TCP":
            return [tcp("tls", [], tcp_tls)]
        case "STRICT", _:
            return [http("tls", ISTIO_HTTP_ALPN, http_tls), tcp("tls", [], tcp_tls)]
        case "PERMISSIVE", "HTTP":
            return [http("tls", ISTIO_ALPN, http_tls), http("raw_buffer", [])]
        case "PERMISSIVE", "TCP":
            return [tcp("tls", ISTIO_ALPN, tcp_tls), tcp("tls", []), tcp("raw_buffer", [])]
        case "PERMISSIVE", _:
            return [
                http("tls", ISTIO_HTTP_ALPN, http_tls),
                http("raw_buffer", sniffed),
                tcp("tls", ["istio-peer-exchange", "istio"], tcp_tls),
                tcp("raw_buffer", []),
                tcp("tls", []),
            ]
        case _, "HTTP":
            return [http("raw_buffer", [])]
        case _, "TCP":
            return [tcp("raw_buffer", [])]
        case _:
            return [http("raw_buffer", sniffed), tcp("raw_buffer", [])]


def _chain(
    name: str,
    config: str,
    match: Json,
    filters: Sequence[Json],
    transport: str,
    alpn: Sequence[str],
    tls: Json | None = None,
) -> Json:
    where: Json = {**match, "transport_protocol": transport}
    chain: Json = {
        "filter_chain_match": {**where, "application_protocols": list(alpn)} if alpn else where,
        "filters": with_metadata_exchange(*filters),
        "name": name,
    }
    if config:
        chain["metadata"] = {"filter_metadata": {"istio": {"config": config}}}
    return chain if tls is None else {**chain, "transport_socket": tls}


def _connection_manager(
    cluster: str,
    virtual_host: str,
    operation: str,
    stat_prefix: str,
    port: InboundPort,
    inbound: Inbound,
) -> Json:
    route: Json = {
        "cluster": cluster,
        "max_stream_duration": {"grpc_timeout_header_max": "0s", "max_stream_duration": "0s"},
        "timeout": "0s",
    }
    if not port.is_grpc:
        route["retry_policy"] = {"num_retries": 2, "retry_on": "reset-before-request"}
    routes = [
        {
            "decorator": {"operation": operation},
            "match": {"prefix": "/"},
            "name": "default",
            "route": route,
        }
    ]
    policies = [*port.policies, *([_GRPC_WEB] if port.is_grpc_web else [])]
    config: Json = {
        "http_filters": http_filters(policies, is_inbound=True),
        "route_config": {
            "name": cluster,
            "validate_clusters": False,
            "virtual_hosts": [{"domains": ["*"], "name": virtual_host, "routes": routes}],
        },
        "stat_prefix": stat_prefix,
    }
    if port.is_http2:
        config["http2_protocol_options"] = {}
    return inbound.manager(config)


# -- listener filters -----------------------------------------------------------------------


def _listener_filters(needs: Mapping[int, InboundPort], listen_port: int) -> list[Json]:
    """Where the connection went, whether it is TLS, and whether it is HTTP; the last two are off
    on ports that need no answer (port 0 is all others)."""
    quiet_tls = [number for number, port in needs.items() if port.mode == "DISABLE"]
    quiet_http = [
        number for number, port in needs.items() if port.speaks != "AUTO" or port.mode == "STRICT"
    ]
    found = [_listener_filter("original_dst", "OriginalDst")]
    own = [listen_port] if listen_port else []
    if len(quiet_tls) < len(needs):
        inspector = _listener_filter("tls_inspector", "TlsInspector", initial_read_buffer_size=512)
        found.append({**_disabled([*quiet_tls, *own]), **inspector})
    if len(quiet_http) < len(needs):
        inspector = _listener_filter("http_inspector", "HttpInspector")
        found.append({**_disabled([*quiet_http, *own]), **inspector})
    return found


def _disabled(ports: Sequence[int]) -> Json:
    ranges: list[Json] = [
        {"destination_port_range": {"start": port, "end": port + 1} if port else {"end": 1}}
        for port in sorted(set(ports))
    ]
    if not ranges:
        return {}
    return {"filter_disabled": ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}}


def _listener_filter(name: str, message: str, **config: int) -> Json:
    type_url = f"type.googleapis.com/envoy.extensions.filters.listener.{name}.v3.{message}"
    return {
        "name": f"envoy.filters.listener.{name}",
        "typed_config": {"@type": type_url, **config},
    }
