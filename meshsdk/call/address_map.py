"""Where an address of the feed really is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from meshsdk.call.address import Address

_NOWHERE: Mapping[Address, Address] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Redirects connections: for tests, and for meshes that are reached through port forwards.

    Nothing but the socket changes: names, SNI and the expected identity stay the feed's.
    """

    upstream: Mapping[Address, Address] = field(default_factory=lambda: _NOWHERE)
    """From the endpoint's address to the one to dial."""
    local: Mapping[int, Address] = field(default_factory=lambda: MappingProxyType({}))
    """From a port on which this process listens to the address that the feed knows it by."""

    def dial(self, address: Address) -> Address:
        """The address to connect to."""
        return self.upstream.get(address, address)


AS_THEY_ARE = AddressMap()
