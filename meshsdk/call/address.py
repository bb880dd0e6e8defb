"""Where a socket is."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Address:
    """An IP address or host name and a port; a unix socket has its path as `host` and port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.port == 0 and self.host.startswith("/"):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


UNKNOWN = Address("", 0)


@dataclass(frozen=True, slots=True)
class AddressMap:
    """Where addresses of the feed really are: for tests, and meshes behind port forwards."""

    dial: Mapping[Address, Address] = field(default_factory=dict[Address, Address])
    """Endpoint as the feed names it, to the socket to connect to."""
    local: Mapping[Address, Address] = field(default_factory=dict[Address, Address])
    """Socket that accepted a connection, to the address that the feed's filter chains mean."""

    def to_dial(self, address: Address) -> Address:
        """The socket for an endpoint."""
        return self.dial.get(address, address)

    def as_fed(self, address: Address) -> Address:
        """The feed's address of an accepting socket; one of port alone counts for any host."""
        found = self.local.get(address)
        if found is None:
            found = self.local.get(Address("", address.port), address)
        return found


AS_FED = AddressMap()
