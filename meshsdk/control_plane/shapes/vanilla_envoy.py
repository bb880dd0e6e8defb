"""A node's resources for an Envoy without Istio's build and without iptables.

Such an Envoy has no `istio.*` filters, so the cluster itself names the ALPN that `istio.alpn`
would have chosen for HTTP/1.1; and it must bind what iptables would have brought to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from meshsdk.control_plane.ads_server import NodeSnapshot
from meshsdk.control_plane.ads_session import CLUSTER, LISTENER, SECRET
from meshsdk.control_plane.shapes.clusters import socket_address
from meshsdk.control_plane.shapes.tls import Json

_ALPN: Final = ("istio-http/1.1", "istio", "http/1.1")
_ADS: Final[Json] = {"ads": {}, "resource_api_version": "V3"}
_ENVOYS: Final = "type.googleapis.com/envoy."  # the types that it asks for


@dataclass(frozen=True, slots=True)
class Credentials:
    """The workload's, PEM; served as the secrets `default` and `ROOTCA` over ADS."""

    certificate_chain: str
    private_key: str = field(repr=False)
    roots: str


@dataclass(frozen=True, slots=True)
class Ports:
    """Where this Envoy binds, and where its application is."""

    outbound: Mapping[str, int]
    """Listener name, `0.0.0.0_80`, to the port of 127.0.0.1 to bind; others are left out."""
    inbound: Mapping[int, int]
    """The workload's port, which Envoy binds, to the application's port on 127.0.0.1."""


def vanilla_envoy(resources: NodeSnapshot, ports: Ports, credentials: Credentials) -> NodeSnapshot:
    """The same configuration for a vanilla Envoy, types that it does not ask for left out."""
    given = _plain(resources)
    clusters = {name: _cluster(name, each, ports) for name, each in given[CLUSTER].items()}
    listeners: dict[str, Json] = {}
    for name, listener in given[LISTENER].items():
        if name in ports.outbound:
            bound = {key: value for key, value in listener.items() if key != "bind_to_port"}
            address = socket_address("127.0.0.1", ports.outbound[name])
            listeners[name] = {**bound, "address": address}
        elif name == "virtualInbound":
            for port in ports.inbound:
                listeners[f"inbound_{port}"] = _inbound_listener(listener, port)
    kept = {url: named for url, named in given.items() if url.startswith(_ENVOYS)}
    secrets = _secrets(credentials)
    return {**kept, CLUSTER: clusters, LISTENER: listeners, SECRET: secrets}


def _plain(resources: NodeSnapshot) -> dict[str, dict[str, Json]]:
    return {
        url: {name: cast("Json", _without_istio(each)) for name, each in named.items()}
        for url, named in resources.items()
    }


def _without_istio(data: object) -> object:
    """A copy without Istio's filters, with ALPN and secrets as a vanilla Envoy wants them."""
    match data:
        case Mapping():
            fields = cast("Mapping[str, object]", data)
            copied = {key: _without_istio(value) for key, value in fields.items()}
            if copied.get("alpn_protocols") == ["istio-peer-exchange", "istio"]:
                copied["alpn_protocols"] = list(_ALPN)
            if "sds_config" in copied:
                copied["sds_config"] = _ADS
            return copied
        case list() | tuple():
            items = cast("list[object]", data)
            return [_without_istio(item) for item in items if not _is_of_istio(item)]
        case _:
            return data


def _is_of_istio(item: object) -> bool:
    if not isinstance(item, Mapping):
        return False
    fields = cast("Mapping[str, object]", item)
    return "typed_config" in fields and str(fields.get("name")).startswith("istio.")


def _cluster(name: str, cluster: Json, ports: Ports) -> Json:
    application = next(
        (own for port, own in ports.inbound.items() if name == f"inbound|{port}||"), None
    )
    if application is None:
        return cluster
    dropped = ("lb_policy", "cleanup_interval", "upstream_bind_config")
    kept = {key: value for key, value in cluster.items() if key not in dropped}
    endpoint = {"endpoint": {"address": socket_address("127.0.0.1", application)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {**kept, "type": "STATIC", "load_assignment": assignment}


def _inbound_listener(virtual_inbound: Json, port: int) -> Json:
    chains = cast("list[Json]", virtual_inbound["filter_chains"])
    inspector: Json = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/"
            "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
        },
    }
    return {
        "name": f"inbound_{port}",
        "traffic_direction": "INBOUND",
        "address": socket_address("127.0.0.1", port),
        "filter_chains": [chain for chain in chains if _is_of_port(chain, port)],
        "listener_filters": [inspector],
    }


def _is_of_port(chain: Json, port: int) -> bool:
    match = cast("Json", chain.get("filter_chain_match", {}))
    return match.get("destination_port") == port


def _secrets(credentials: Credentials) -> dict[str, Json]:
    certificate = {
        "certificate_chain": {"inline_string": credentials.certificate_chain},
        "private_key": {"inline_string": credentials.private_key},
    }
    roots = {"trusted_ca": {"inline_string": credentials.roots}}
    return {
        "default": {"name": "default", "tls_certificate": certificate},
        "ROOTCA": {"name": "ROOTCA", "validation_context": roots},
    }
