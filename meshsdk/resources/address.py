"""envoy.config.core.v3.Address of an upstream, as far as a library can dial it."""

import ipaddress
import re
from typing import Final

from meshsdk.call.address import Address
from meshsdk.config.fields import MessageTable, honoured, ignored, not_built, refused
from meshsdk.config.reader import Reader

SOCKET_ADDRESS: Final = MessageTable(
    "envoy.config.core.v3.SocketAddress",
    honoured("address", "port_value", "protocol")
    | {
        "named_port": refused("Envoy takes no named port here"),
        "resolver_name": not_built("custom address resolvers"),
        "ipv4_compat": ignored("matter of listening sockets"),
        "network_namespace_filepath": refused("the SDK lives in its process's own network"),
    },
)
ADDRESS: Final = MessageTable(
    "envoy.config.core.v3.Address",
    honoured("socket_address", "pipe")
    | {"envoy_internal_address": not_built("internal listeners (HBONE tunnels)")},
)
_DOTTED_QUAD: Final = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!\Z)|\Z)){4}", re.ASCII)


def parse_address(reader: Reader) -> Address | None:
    """Host (an IP address or a name) and port; a pipe has port 0.

    None: an Envoy internal address, which names a listener instead of a socket.
    """
    kind = reader.required("socket_address", "pipe", "envoy_internal_address")
    if kind == "envoy_internal_address":
        return None
    if kind == "pipe":
        return Address(reader.required_message("pipe").required_string("path"), 0)
    return _socket_address(reader.required_message("socket_address"))


def _socket_address(reader: Reader) -> Address:
    host = reader.required_string("address")
    if reader.required("port_value", "named_port") == "named_port":
        raise reader.error_at("named_port", "expected port_value, found a named port")
    if reader.string("protocol", "TCP") != "TCP":
        raise reader.error_at("protocol", f"expected TCP, found {reader.string('protocol')!r}")
    return Address(host, reader.integer("port_value", at_least=0, at_most=65535))


def is_ip(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address as inet_pton reads it."""
    if _DOTTED_QUAD.fullmatch(host):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
