"""A reviews process: a plain ASGI application, served by uvicorn, in the mesh."""

import json
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping

import uvicorn

from meshsdk import current_peer
from meshsdk.cli.demo import parent_pipe, shop
from meshsdk.cli.demo.member import join
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.telemetry import silent

_PATIENCE = 10.0

_Message = MutableMapping[str, object]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def application(version: str, port: int) -> Callable[[_Message, _Receive, _Send], Awaitable[None]]:
    """Says who it is, and who calls it: the identity that the mesh has verified."""

    async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        caller = str(current_peer().spiffe_id)
        body = json.dumps({"version": version, "port": port, "caller": caller}).encode()
        length = str(len(body)).encode()
        sent = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    return app


def main() -> None:
    """Tell the parent the port, wait for the mesh to be ready, serve until the parent ends."""
    message = parent_pipe.receive_first()
    workload = next(each for each in shop.REVIEWS if each.name == message["name"])
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    parent_pipe.send({"port": port, "pid": os.getpid()})
    parent_pipe.receive_rest(lambda _: None)
    mesh = join(message, workload.node, silent)
    mesh.ready(_PATIENCE)  # until then a STRICT port would turn callers away
    app = MeshMiddleware(application(shop.REVIEWS[workload], port), mesh)
    config = uvicorn.Config(app, log_level="warning", lifespan="on", proxy_headers=False)
    _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Tells the parent when it accepts connections."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Of uvicorn; the mesh is ready when the application has started."""
        await super().startup(sockets)
        if self.started:
            parent_pipe.send({"ready": True})


if __name__ == "__main__":
    main()
