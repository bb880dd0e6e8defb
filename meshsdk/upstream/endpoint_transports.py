"""Where a gRPC channel dials to reach one host of a cluster: plaintext, or a TLS relay of ours.

gRPC's own TLS offers no ALPN but h2 and cannot verify SPIFFE IDs, so it dials a private unix socket,
and the octets go on over a TLS connection that the mesh opens, by the same contexts as for HTTP.
"""

import math
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Final, Literal

from meshsdk.call.address import Address
from meshsdk.call.address_map import AddressMap
from meshsdk.call.endpoint import Host
from meshsdk.call.message import Reset
from meshsdk.clock import Clock
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.resources.tls import UpstreamTls
from meshsdk.runtime.background import Background
from meshsdk.runtime.splice import Splicer
from meshsdk.upstream.dialing import is_unix
from meshsdk.upstream.relay import Relay, Route
from meshsdk.upstream.tls import ClientContexts, server_name

_DIALS_AT_ONCE: Final = 256
_LONGEST: Final = 80
"""Of a directory's name, so that a socket's path in it fits (108 octets on Linux)."""


@dataclass(frozen=True, slots=True, eq=False)
class EndpointTransport:
    """One host, as a gRPC channel dials it; whoever opened it closes it."""

    target: str
    """In gRPC's form: `ipv4:10.0.0.1:80`, or the `unix:` socket of the relay."""
    relay: Relay | None
    """None: plaintext."""
    generation: int = 0
    """Of trust: another one than `EndpointTransports.generation` must carry no further call."""

    @property
    def is_secure(self) -> bool:
        """Whether the mesh's own TLS lies under it; its channel wants UDS credentials then."""
        return self.relay is not None

    @property
    def renew_at(self) -> float:
        """Monotonic seconds from which a fresh one must be opened: a certificate ends."""
        return math.inf if self.relay is None else self.relay.renew_at

    @property
    def failure(self) -> Reset | None:
        """Why the last connection could not be made; None where it was, and for plaintext."""
        return None if self.relay is None else self.relay.failure

    def close(self) -> None:
        """Close it with its connections."""
        if self.relay is not None:
            self.relay.close()


class EndpointTransports:
    """Opens transports. One per mesh and process; its thread starts with the first TLS host."""

    def __init__(self, tls: ClientContexts, addresses: AddressMap, clock: Clock) -> None:
        self._tls = tls
        self._addresses = addresses
        self._clock = clock
        self._splicer = Splicer(clock, "meshsdk-relay")
        self._dialers = Background(_DIALS_AT_ONCE)
        self._lock = threading.Lock()
        self._directory = ""
        self._count = 0
        self._owner = os.getpid()

    @property
    def generation(self) -> int:
        """Rises when connections that were made before must carry no further call."""
        return self._tls.generation

    @property
    def connections(self) -> int:
        """Open TLS connections."""
        return len(self._splicer.links)

    def open(
        self,
        plan: ClusterPlan,
        host: Host,
        authority: str = "",
        *,
        protocol: Literal["h2", "tcp"] = "h2",
    ) -> EndpointTransport:
        """A transport to a host. Dials nothing yet; nothing that goes wrong later is raised.

        `authority`: of the calls, for `auto_sni`. `protocol`: what ALPN is to say.
        """
        socket = host.socket
        if socket is None:
            address = self._addresses.dial(host.endpoint.address)
            return EndpointTransport(target_of(address), None)
        assert isinstance(socket, UpstreamTls)
        sni = server_name(socket, plan.cluster, host, authority)
        route = Route(host.endpoint.address, socket, protocol, sni, plan.cluster)
        relay = Relay(
            route,
            self._path(),
            self._tls,
            self._addresses,
            self._clock,
            self._splicer,
            self._dialers,
        )
        return EndpointTransport(f"unix:{relay.path}", relay, self.generation)

    def _path(self) -> str:
        with self._lock:
            if not self._directory:
                found = tempfile.mkdtemp(prefix="meshsdk-")  # 0700
                if len(found) > _LONGEST:
                    os.rmdir(found)
                    found = tempfile.mkdtemp(prefix="meshsdk-", dir="/tmp")
                self._directory = found
            self._count += 1
            return str(Path(self._directory, str(self._count)))

    def close(self) -> None:
        """Close every connection and the thread."""
        self._splicer.close()
        with self._lock:
            found, self._directory = self._directory, ""
        if found and os.getpid() == self._owner:
            with suppress(OSError):
                shutil.rmtree(found)


def target_of(address: Address) -> str:
    """An address as a gRPC target."""
    if is_unix(address):
        name = address.host
        return f"unix-abstract:{name[1:]}" if name.startswith("@") else f"unix:{name}"
    try:
        ip = ip_address(address.host)
    except ValueError:
        return f"dns:{address}"
    return f"{'ipv6' if isinstance(ip, IPv6Address) else 'ipv4'}:{address}"
