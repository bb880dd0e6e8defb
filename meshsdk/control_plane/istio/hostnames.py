"""Host names as Istio's documents write them: short ones, whole ones, wildcards."""

import ipaddress
import re
from typing import Final

from meshsdk.control_plane.istio.services import is_ip
from meshsdk.control_plane.istio.spec_reader import SpecReader

DOMAIN: Final = "cluster.local"
"""What istiod adds to short names: its `--domain`."""
_LABEL: Final = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9])?\Z")


def whole_name(host: str, namespace: str) -> str:
    """A name without dots is a service of the namespace. Source: istiod,
    ResolveShortnameToFQDN."""
    if not host or "." in host or "*" in host or ":" in host:
        return host
    return f"{host}.{namespace}.svc.{DOMAIN}"


def is_wildcard(host: str) -> bool:
    """Whether a name stands for many."""
    return host.startswith("*")


def is_within(host: str, wider: str) -> bool:
    """Whether all that `host` means, `wider` means too. Source: istiod, Name.SubsetOf."""
    if not is_wildcard(wider):
        return host == wider
    suffix = wider[1:]
    if is_wildcard(host):
        return len(host) >= len(wider) and host[1:].endswith(suffix)
    return host.endswith(suffix) and len(host) >= len(suffix)


def overlap(one: str, other: str) -> bool:
    """Whether two names share a meaning. Source: istiod, Name.Matches."""
    return is_within(one, other) or is_within(other, one)


def is_host(text: str, *, may_be_address: bool = True) -> bool:
    """Whether istiod takes a text as a host: a name, `*.` and a name, an address."""
    if may_be_address and is_ip(text):
        return True
    name = text.removeprefix("*.")
    if text == "*":
        return True
    labels = name.removesuffix(".").split(".")
    return len(name) <= 255 and all(_LABEL.match(label) for label in labels)


def is_subnet(text: str) -> bool:
    """Whether a text is an IP address, or one with a prefix length."""
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def required_host(reader: SpecReader, name: str) -> str:
    """A field that must be a host."""
    host = reader.required_string(name)
    if not is_host(host):
        raise reader.error_at(name, f"expected a host name, found {host!r}")
    return host
