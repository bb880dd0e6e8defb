"""Nodes that are a vanilla Envoy (`user_agent_name: envoy`): their variant of the feed."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.control_plane.ads_server import NodeSnapshot
from meshsdk.control_plane.ads_session import LISTENER, SECRET
from meshsdk.control_plane.ca import Signing
from meshsdk.control_plane.node_secrets import envoy_credentials
from meshsdk.control_plane.shapes.vanilla_envoy import Credentials, Ports, vanilla_envoy

PORTS: Final = "MESHSDK_PORTS"
"""Node metadata: `{"outbound": {"0.0.0.0_80": 15080}, "inbound": {"8080": 18080}}`, which listener
is bound to which port of 127.0.0.1, and where the application behind each own port is."""
_TTL: Final = 24 * 3600.0


def is_envoy(node: Mapping[str, object]) -> bool:
    """Whether this is an Envoy without Istio's filters."""
    return node.get("user_agent_name") == "envoy"


@dataclass(frozen=True, slots=True)
class _Held:
    credentials: Credentials
    roots: bytes
    renews: float


class VanillaNodes:
    """Keeps each node's certificate until it is due."""

    def __init__(self, signing: Callable[[], Signing], ttl: float | None) -> None:
        self._signing = signing
        self._ttl = ttl or _TTL
        self._held: dict[tuple[str, SpiffeId], _Held] = {}
        self._lock = threading.Lock()

    def variant(
        self, found: NodeSnapshot, node: Mapping[str, object], caller: SpiffeId
    ) -> NodeSnapshot:
        """One function of the feed: see `shapes/vanilla_envoy.py`."""
        credentials = self._credentials(str(node.get("id")), caller)
        made = vanilla_envoy(found, _ports(node, found), credentials)
        return {**made, SECRET: {**found.get(SECRET, {}), **made[SECRET]}}

    def _credentials(self, node_id: str, caller: SpiffeId) -> Credentials:
        signing = self._signing()
        now = signing.authority.clock.time()
        key = node_id, caller
        with self._lock:
            held = self._held.get(key)
            if held is None or held.roots != signing.roots_pem or now >= held.renews:
                made = envoy_credentials(signing, caller, self._ttl)
                held = self._held[key] = _Held(made, signing.roots_pem, now + self._ttl / 2)
            return held.credentials

    def forget_due(self) -> bool:
        """Forget what is to be renewed or was made under other roots; whether there was any. Nodes
        that are there still get another when they are served next."""
        if not self._held:
            return False
        signing = self._signing()
        now, roots = signing.authority.clock.time(), signing.roots_pem
        with self._lock:
            over = [
                key for key, each in self._held.items() if now >= each.renews or each.roots != roots
            ]
            for key in over:
                del self._held[key]
        return bool(over)


def _ports(node: Mapping[str, object], found: NodeSnapshot) -> Ports:
    """By the node's metadata; without it outbound listeners keep their own ports, as with
    interception NONE, and no inbound port is bound."""
    metadata = _mapping(node.get("metadata"))
    said = _mapping(metadata.get(PORTS))
    outbound = {name: _port(port) for name, port in _mapping(said.get("outbound")).items()}
    if "outbound" not in said:
        outbound = dict(_own_ports(found))
    inbound = {_port(name): _port(port) for name, port in _mapping(said.get("inbound")).items()}
    return Ports({name: port for name, port in outbound.items() if port}, inbound)


def _own_ports(found: NodeSnapshot) -> Mapping[str, int]:
    ports = {name: name.rpartition("_")[2] for name in found.get(LISTENER, {})}
    return {name: int(port) for name, port in ports.items() if port.isdigit()}


def _port(value: object) -> int:
    """0 where it is none."""
    text = str(value).removesuffix(".0")
    return int(text) if text.isdigit() and int(text) <= 65535 else 0


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}
