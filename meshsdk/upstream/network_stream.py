"""The `network_stream` of a response: what httpx lets an application see of its connection."""

import socket

from meshsdk.upstream.aio_connection import AioConnection
from meshsdk.upstream.anyio_connection import AnyioConnection
from meshsdk.upstream.connection import Connection, Http
from meshsdk.upstream.sync_connection import SyncConnection

_INNERMOST = -1
_ASYNCIO_NAMES = {"client_addr": "sockname", "server_addr": "peername", "socket": "socket"}


def extra_info(connection: Connection, name: str) -> object:
    """As httpcore's NetworkStream.get_extra_info; None for what there is not."""
    if name == "ssl_object":
        layer = connection.layer
        return None if layer is None else layer.objects[_INNERMOST]
    match connection:
        case SyncConnection() | AnyioConnection():
            return _of_socket(connection.socket, name)
        case AioConnection():
            transport = connection.transport
            known = _ASYNCIO_NAMES.get(name)
            if transport is None or known is None:
                return None
            found: object = transport.get_extra_info(known)
            return found
        case _:
            return None


def _of_socket(sock: socket.socket, name: str) -> object:
    match name:
        case "client_addr":
            return sock.getsockname()
        case "server_addr":
            return sock.getpeername()
        case "socket":
            return sock
        case _:
            return None


class NetworkStream:
    """For blocking callers. Reading and writing are for after 101 only."""

    __slots__ = ("_connection",)

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection

    def get_extra_info(self, info: str) -> object:
        """As httpcore's."""
        return extra_info(self._connection, info)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Octets of the protocol that was switched to; empty at its end."""
        connection = self._connection
        while not _readable(connection.http):
            connection.receive(timeout)
        return _take(connection.http, max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send octets of the protocol that was switched to."""
        self._connection.write(buffer, timeout, watch=False)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class AsyncNetworkStream:
    """For awaiting callers, otherwise the same."""

    __slots__ = ("_connection",)

    def __init__(self, connection: AioConnection | AnyioConnection) -> None:
        self._connection = connection

    def get_extra_info(self, info: str) -> object:
        """As httpcore's."""
        return extra_info(self._connection, info)

    async def read(  # httpcore's signature
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> bytes:
        """Octets of the protocol that was switched to; empty at its end."""
        connection = self._connection
        while not _readable(connection.http):
            await connection.receive(timeout)
        return _take(connection.http, max_bytes)

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> None:
        """Send octets of the protocol that was switched to."""
        await self._connection.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close the connection."""
        self._connection.close()


def _readable(http: Http) -> bool:
    return bool(http.switched) or http.failure is not None


def _take(http: Http, most: int) -> bytes:
    data = http.switched or b""
    http.switched = data[most:]
    return data[:most]
