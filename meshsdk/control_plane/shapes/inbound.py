"""`virtualInbound`: one set of chains per port, and the chains of all other ports. FEED.md 3.8."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from meshsdk.control_plane.shapes.clusters import socket_address
from meshsdk.control_plane.shapes.listeners import (
    connection_manager,
    http_filters,
    inbound_listener_filters,
    tcp_proxy,
    with_metadata_exchange,
)
from meshsdk.control_plane.shapes.tls import ISTIO_ALPN, ISTIO_HTTP_ALPN, Json, downstream_tls

PeerAuthentication: TypeAlias = Literal["STRICT", "PERMISSIVE"]


@dataclass(frozen=True, slots=True)
class InboundPort:
    """A port of the workload that an HTTP service has."""

    port: int
    """The workload's own, the service's targetPort."""
    service_port: int
    host: str
    mode: PeerAuthentication = "STRICT"
    policies: tuple[Json, ...] = ()
    """RBAC filters, for this port."""


def virtual_inbound(
    ports: Sequence[InboundPort],
    *,
    trust_domain: str = "cluster.local",
    mode: PeerAuthentication = "STRICT",
    policies: Sequence[Json] = (),
    tcp_policies: Sequence[Json] = (),
) -> Json:
    """The listener of everything that comes in. `mode` and the policies (RBAC filters, network
    RBAC filters) are those of the ports that no service has."""
    rest = _connection_manager(
        "InboundPassthroughCluster",
        "inbound|http|0",
        ":0/*",
        "InboundPassthroughCluster;",
        policies,
    )
    chains = [
        {
            "filter_chain_match": {"destination_port": 15006},
            "filters": with_metadata_exchange(tcp_proxy("BlackHoleCluster")),
            "name": "virtualInbound-blackhole",
        },
        *_rest_of_http(rest, trust_domain, mode),
        *_rest_of_tcp(trust_domain, mode, tcp_policies),
    ]
    for port in ports:
        chains.extend(_chains_of(port, trust_domain))
    return {
        "address": socket_address("0.0.0.0", 15006),  # noqa: S104 - a name, nobody binds it
        "continue_on_listener_filters_timeout": True,
        "filter_chains": chains,
        "listener_filters": inbound_listener_filters(),
        "listener_filters_timeout": "0s",
        "max_connections_to_accept_per_socket_event": 1,
        "name": "virtualInbound",
        "traffic_direction": "INBOUND",
    }


def _chains_of(port: InboundPort, trust_domain: str) -> list[Json]:
    manager = _connection_manager(
        f"inbound|{port.port}||",
        f"inbound|http|{port.service_port}",
        f"{port.host}:{port.service_port}/*",
        f"inbound_0.0.0.0_{port.port};",
        port.policies,
    )
    where, name = {"destination_port": port.port}, f"0.0.0.0_{port.port}"
    secured: Json = {**where, "transport_protocol": "tls"}
    plain: Json = {**where, "transport_protocol": "raw_buffer"}
    if port.mode == "STRICT":
        return [_chain(name, secured, manager, downstream_tls(trust_domain))]
    secured["application_protocols"] = list(ISTIO_ALPN)
    return [
        _chain(name, secured, manager, downstream_tls(trust_domain)),
        _chain(name, plain, manager),
    ]


def _rest_of_http(manager: Json, trust_domain: str, mode: PeerAuthentication) -> list[Json]:
    name = "virtualInbound-catchall-http"
    secured: Json = {
        "application_protocols": list(ISTIO_HTTP_ALPN),
        "transport_protocol": "tls",
    }
    plain: Json = {
        "application_protocols": ["http/1.1", "h2c"],
        "transport_protocol": "raw_buffer",
    }
    chains = [_chain(name, secured, manager, downstream_tls(trust_domain))]
    return chains if mode == "STRICT" else [*chains, _chain(name, plain, manager)]


def _rest_of_tcp(
    trust_domain: str, mode: PeerAuthentication, policies: Sequence[Json]
) -> list[Json]:
    name, proxy = "virtualInbound", tcp_proxy("InboundPassthroughCluster")
    tls = downstream_tls(trust_domain, is_tcp=True)
    secured: Json = {"transport_protocol": "tls"}
    if mode == "STRICT":
        return [_chain(name, secured, proxy, tls, policies)]
    mesh: Json = {**secured, "application_protocols": ["istio-peer-exchange", "istio"]}
    plain: Json = {"transport_protocol": "raw_buffer"}
    return [
        _chain(name, mesh, proxy, tls, policies),
        _chain(name, plain, proxy, None, policies),
        _chain(name, secured, proxy, None, policies),
    ]


def _chain(
    name: str,
    match: Json,
    terminal: Json,
    tls: Json | None = None,
    policies: Sequence[Json] = (),
) -> Json:
    chain: Json = {
        "filter_chain_match": match,
        "filters": with_metadata_exchange(*policies, terminal),
        "name": name,
    }
    return chain if tls is None else {**chain, "transport_socket": tls}


def _connection_manager(
    cluster: str, virtual_host: str, operation: str, stat_prefix: str, policies: Sequence[Json]
) -> Json:
    route = {
        "cluster": cluster,
        "max_stream_duration": {"grpc_timeout_header_max": "0s", "max_stream_duration": "0s"},
        "retry_policy": {"num_retries": 2, "retry_on": "reset-before-request"},
        "timeout": "0s",
    }
    routes = [
        {
            "decorator": {"operation": operation},
            "match": {"prefix": "/"},
            "name": "default",
            "route": route,
        }
    ]
    return connection_manager(
        {
            "forward_client_cert_details": "APPEND_FORWARD",
            "http_filters": http_filters(policies, is_inbound=True),
            "route_config": {
                "name": cluster,
                "validate_clusters": False,
                "virtual_hosts": [{"domains": ["*"], "name": virtual_host, "routes": routes}],
            },
            "server_name": "istio-envoy",
            "set_current_client_cert_details": {"dns": True, "subject": True, "uri": True},
            "stat_prefix": stat_prefix,
        }
    )
