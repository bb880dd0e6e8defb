"""The name of a resource, read from its bytes without parsing them.

State-of-the-world responses do not say names, and unchanged resources are never decoded.
"""

from typing import Final

# Field 1 is the name: `name`, of a ClusterLoadAssignment `cluster_name`.
_NAMED: Final = frozenset(
    {
        "envoy.config.cluster.v3.Cluster",
        "envoy.config.core.v3.TypedExtensionConfig",
        "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "envoy.config.listener.v3.Listener",
        "envoy.config.route.v3.RouteConfiguration",
        "envoy.config.route.v3.ScopedRouteConfiguration",
        "envoy.config.route.v3.VirtualHost",
        "envoy.extensions.transport_sockets.tls.v3.Secret",
        "envoy.service.runtime.v3.Runtime",
    }
)
# istiod's single resources are named "" (FEED.md 1.8).
_NAMELESS: Final = frozenset(
    {"istio.networking.nds.v1.NameTable", "istio.mesh.v1alpha1.ProxyConfig"}
)


def peek_name(message: str, raw: bytes) -> str | None:
    """A resource's name; None for types that are not known to have one, and for broken bytes."""
    if message in _NAMELESS:
        return ""
    if message not in _NAMED:
        return None
    try:
        return _last_string(raw)
    except (IndexError, ValueError):
        return None


def _last_string(raw: bytes) -> str:
    """The string in field 1 of a message; of several the last counts, as in every parser."""
    found, position = b"", 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        match tag & 7:
            case 0:
                _, position = _varint(raw, position)
            case 1:
                position += 8
            case 2:
                length, position = _varint(raw, position)
                if tag == 0x0A:
                    found = raw[position : position + length]
                position += length
            case 5:
                position += 4
            case _:
                raise ValueError("a wire type that proto3 does not have")
    if position > len(raw):
        raise IndexError("the last field is cut off")
    return found.decode()


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = raw[position]
        position += 1
        value |= (octet & 0x7F) << shift
        shift += 7
        if octet < 0x80:
            return value, position
