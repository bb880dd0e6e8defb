"""Which ports of this process the mesh secures, and which of their connections a call came by."""

import asyncio
import weakref
from typing import Final, Protocol

from meshsdk.call.connection import Connection
from meshsdk.clock import Clock, SystemClock
from meshsdk.downstream.relayed_port import RelayedPort, bound_socket
from meshsdk.errors import NotReadyError, UsageError
from meshsdk.integrations.grpcio.inbound import ServerMesh
from meshsdk.integrations.grpcio.unknown_authority import warn_of_hosts
from meshsdk.runtime.publisher import Publisher

_READY: Final = 15.0
_NO_INTERCEPTOR: Final = (
    "add_mesh_port: the server must be made with interceptors=[server_interceptor(mesh)] (for"
    " grpc.aio: aio_server_interceptor), or no policy would be asked"
)
_ON_A_LOOP: Final = (
    "add_mesh_port would block the event loop until the mesh is ready: await mesh.aready(15) first"
)


class Server(Protocol):
    """A server of grpcio, of either colour."""

    def add_insecure_port(self, address: str) -> int: ...


class MeshPorts:
    """Of one mesh."""

    def __init__(self) -> None:
        self.interceptors = 0
        """Made for this mesh so far."""
        self._open: list[RelayedPort] = []
        self._watched: Publisher | None = None

    def connection(self, peer: str) -> Connection | None:
        """The facts of the connection by which a call came; None where it is none of ours."""
        for port in self._open:
            found = port.connection(peer)
            if found is not None:
                return found
        return None

    def watch(self, mesh: ServerMesh) -> None:
        """Look at what the control plane says, as long as the mesh lives."""
        if self._watched is not mesh.publisher:
            self._watched = mesh.publisher
            warn_of_hosts(mesh.publisher)

    def add(self, server: Server, port: RelayedPort) -> None:
        """A port that ends with its server."""
        self._open = [each for each in self._open if not each.is_closed] + [port]
        weakref.finalize(server, port.close)


_OF: "weakref.WeakKeyDictionary[ServerMesh, MeshPorts]" = weakref.WeakKeyDictionary()


def ports_of(mesh: ServerMesh) -> MeshPorts:
    """The ports of a mesh."""
    found = _OF.get(mesh)
    if found is None:
        found = _OF.setdefault(mesh, MeshPorts())
    return found


def open_port(
    server: Server,
    address: str,
    mesh: ServerMesh,
    *,
    ready_timeout: float = _READY,
    clock: Clock | None = None,
) -> RelayedPort:
    """See `meshsdk.integrations.grpcio.add_mesh_port`."""
    ports = ports_of(mesh)
    if not ports.interceptors:
        raise UsageError(_NO_INTERCEPTOR)
    _insist_ready(mesh, ready_timeout)
    host, port = _host_port(address)
    try:
        listening = bound_socket(host, port)
    except OSError as error:
        raise RuntimeError(f"Failed to bind to address {address}; {error}") from error
    relayed = RelayedPort(listening, mesh.server_connections, clock or SystemClock())
    try:
        if not server.add_insecure_port(f"unix:{relayed.inner_path}"):
            raise RuntimeError(f"the server does not listen behind {address}")
    except BaseException:
        relayed.close()
        raise
    ports.add(server, relayed)
    ports.watch(mesh)
    return relayed


def _insist_ready(mesh: ServerMesh, timeout: float) -> None:
    if mesh.ready(0.0):
        return
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise UsageError(_ON_A_LOOP)
    if not mesh.ready(timeout):
        raise NotReadyError("configuration and identity, without which no port is secure", timeout)


def _host_port(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        raise UsageError(f"add_mesh_port: expected host:port, found {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)
