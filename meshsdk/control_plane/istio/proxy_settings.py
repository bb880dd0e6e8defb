"""What a node's ProxyConfig (in its metadata, else the mesh config's `defaultConfig`) and the rest of
its metadata say of its connection managers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import seconds_text
from meshsdk.control_plane.istio.proxies import Proxy
from meshsdk.control_plane.istio.spec_fields import seconds_of
from meshsdk.control_plane.shapes.tls import Json

_NORMALIZATION: Final[Mapping[str, Json]] = {
    "NONE": {"normalize_path": False},
    "BASE": {},
    "MERGE_SLASHES": {"merge_slashes": True},
    "DECODE_AND_MERGE_SLASHES": {
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    },
}


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """What a node's ProxyConfig and metadata say of its connection managers."""

    counts_attempts: bool = True
    """Whether requests get `x-envoy-attempt-count`."""
    hides_envoy: bool = False
    """Whether Envoy's own `x-envoy-*` headers are left out."""
    fields: Json = field(default_factory=dict[str, object])
    """Of every connection manager."""
    inbound_fields: Json = field(default_factory=dict[str, object])
    """Of the inbound ones, beside `fields`."""
    gateway_fields: Json = field(default_factory=dict[str, object])
    """Of those of a gateway, beside `fields`."""
    idle_timeout: str = ""
    """Of tcp_proxy; empty is Envoy's."""
    tracing: Mapping[str, object] = field(default_factory=dict[str, object])
    """`tracing` as it was written."""


def proxy_settings(config: Config, proxy: Proxy) -> ProxySettings:
    """The node's own settings, else the mesh config's `defaultConfig`."""
    own = proxy.metadata.get("PROXY_CONFIG")
    settings = _mapping(own) if own is not None else config.mesh.default_config
    headers = _mapping(settings.get("proxyHeaders"))
    is_counting = not _is_disabled(headers, "attemptCount")
    found: Json = dict(_NORMALIZATION[config.mesh.path_normalization])
    inbound: Json = {"server_name": "istio-envoy"}
    server = _mapping(headers.get("server"))
    if _is_disabled(headers, "server"):
        found["server_header_transformation"] = "PASS_THROUGH"
        inbound = {}
    elif server.get("value"):
        found["server_name"] = str(server["value"])
        inbound = {}
    if _is_disabled(headers, "requestId"):
        found["generate_request_id"] = False
    inbound["forward_client_cert_details"] = _forwarded(headers)
    details: Json = {"dns": True, "subject": True, "uri": True}
    for name, value in _mapping(headers.get("setCurrentClientCertDetails")).items():
        details[name] = value
    inbound["set_current_client_cert_details"] = {k: v for k, v in details.items() if v}
    idle = _idle_timeout(proxy)
    if idle:
        found["common_http_protocol_options"] = {"idle_timeout": idle}
    if proxy.is_true("HTTP10"):
        found["http_protocol_options"] = {"accept_http_10": True}
    edge = _gateway_fields(_mapping(settings.get("gatewayTopology")), server)
    tracing = _mapping(settings.get("tracing"))
    hides = _is_disabled(headers, "envoyDebugHeaders")
    return ProxySettings(is_counting, hides, found, inbound, edge, idle, tracing)


def _gateway_fields(topology: Mapping[str, object], server: Mapping[str, object]) -> Json:
    """Whom a gateway believes. Source: istiod, createGatewayHTTPFilterChainOpts."""
    found: Json = {}
    hops, details = topology.get("numTrustedProxies"), topology.get("forwardClientCertDetails")
    if isinstance(hops, int) and hops > 0:
        found["xff_num_trusted_hops"] = hops
    if isinstance(details, str) and details != "UNDEFINED":
        found["forward_client_cert_details"] = details
    if server.get("value"):
        found["server_name"] = str(server["value"])
    return found


def _forwarded(headers: Mapping[str, object]) -> str:
    found = headers.get("forwardedClientCert")
    return str(found) if isinstance(found, str) and found != "UNDEFINED" else "APPEND_FORWARD"


def _is_disabled(headers: Mapping[str, object], name: str) -> bool:
    return _mapping(headers.get(name)).get("disabled") is True


def _idle_timeout(proxy: Proxy) -> str:
    seconds = seconds_of(proxy.text("IDLE_TIMEOUT"))
    return "" if seconds is None else seconds_text(seconds)


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
