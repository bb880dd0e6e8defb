"""Applications on real sockets of 127.0.0.1, and bytes as they go over them."""

import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn

from meshsdk import current_peer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PATIENCE = 10.0
"""Seconds after which what was waited for has not happened."""


@dataclass(eq=False)
class Echo:
    """An application that answers with what it saw, and remembers it."""

    name: str
    seen: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        size, more = 0, True
        while more:
            message = await receive()
            size, more = size + len(message.get("body", b"")), message.get("more_body", False)
        peer = current_peer()
        extensions: dict[str, Any] = scope.get("extensions") or {}
        tls: dict[str, Any] = extensions.get("tls") or {}
        said: dict[str, Any] = {
            "server": self.name,
            "peer": None if peer.spiffe_id is None else str(peer.spiffe_id),
            "method": scope["method"],
            "path": scope["path"],
            "size": size,
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
        }
        self.seen.append({**said, "certificates": tuple(tls.get("client_cert_chain", ()))})
        body = json.dumps(said).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def bound_socket() -> socket.socket:
    """A listening socket on a port of the system's choice."""
    return socket.create_server(("127.0.0.1", 0))


def port_of(bound: socket.socket) -> int:
    """Its port."""
    port: int = bound.getsockname()[1]
    return port


class Serving:
    """uvicorn on a thread of its own, from `with` to its end."""

    def __init__(self, app: App, *sockets: socket.socket, loop: str = "auto") -> None:
        self.app = app
        self._sockets = list(sockets)
        config = uvicorn.Config(
            app, log_level="warning", lifespan="on", proxy_headers=False, loop=loop
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)

    def _run(self) -> None:
        try:
            self._server.run(sockets=self._sockets)
        finally:
            self._server.up.set()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._server.up.wait(PATIENCE)
        assert self._server.started, "the server did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class _Server(uvicorn.Server):
    """Tells when it accepts connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def raw_exchange(port: int, tls: ssl.SSLContext | None = None, request: bytes = b"") -> bytes:
    """All that a server sends to a client of no mesh before it closes; empty for a reset."""
    request = request or b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    received = b""
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE) as tcp,
        suppress(OSError),
        tcp if tls is None else tls.wrap_socket(tcp) as connection,
    ):
        connection.sendall(request)
        while piece := connection.recv(65536):
            received += piece
    return received


def header(said: dict[str, Any], name: str) -> str | None:
    """A field of the request that the application saw; None where it has none."""
    found = [value for each, value in said["headers"] if each == name]
    assert len(found) <= 1, found
    return found[0] if found else None
