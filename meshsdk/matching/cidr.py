"""envoy.config.core.v3.CidrRange, and IP addresses as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, NamedTuple

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader

TABLE: Final = MessageTable(
    "envoy.config.core.v3.CidrRange", honoured("address_prefix", "prefix_len"), security=True
)
_BITS: Final = {4: 32, 6: 128}


class Ip(NamedTuple):
    """An IP address."""

    version: int
    number: int


# Peers repeat; a miss costs 1 us. The bound keeps a scan of addresses from growing it.
@lru_cache(maxsize=4096)
def parse_ip(host: str) -> Ip | None:
    """The address that a host is, without its zone; None for names and unix sockets."""
    try:
        found = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return Ip(found.version, int(found))


@dataclass(frozen=True, slots=True)
class CidrRange:
    """A prefix of one address family; an IPv4-mapped IPv6 address is not an IPv4 address."""

    version: int
    network: int
    """The prefix as a number, host bits zero."""
    prefix_length: int

    def contains(self, host: str) -> bool:
        """Whether an address lies in the range; names and unix sockets never do."""
        found = parse_ip(host)
        return found is not None and self.contains_ip(found)

    def contains_ip(self, ip: Ip) -> bool:
        """The same for an address that is parsed already."""
        if ip.version != self.version:
            return False
        shift = _BITS[self.version] - self.prefix_length
        return (ip.number >> shift) == (self.network >> shift)

    def __str__(self) -> str:
        host = ip_address(self.network.to_bytes(_BITS[self.version] // 8, "big"))
        return f"{host}/{self.prefix_length}"


def parse_cidr(reader: Reader) -> CidrRange:
    """A range; an unset length is 0, one beyond the family's is all of it (Envoy, CidrRange)."""
    check(reader, TABLE)
    prefix = reader.required_string("address_prefix")
    found = parse_ip(prefix)
    if found is None or "%" in prefix:
        raise reader.error_at("address_prefix", f"expected an IP address, found {prefix!r}")
    bits = _BITS[found.version]
    length = min(reader.integer("prefix_len", 0, at_least=0, at_most=128), bits)
    shift = bits - length
    return CidrRange(found.version, found.number >> shift << shift, length)


def any_contains(ranges: Sequence[CidrRange], host: str) -> bool:
    """Whether one of the ranges contains the address."""
    found = parse_ip(host)
    return found is not None and any(r.contains_ip(found) for r in ranges)
