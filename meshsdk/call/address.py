"""Where a socket is."""

from dataclasses import dataclass


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


def host_of(authority: str) -> str:
    """The host of an authority, without port; an IPv6 literal without its brackets."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]
