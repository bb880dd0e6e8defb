"""uvicorn in the mesh, with or without the lifespan protocol.

    from meshsdk.integrations import uvicorn
    uvicorn.run(app, port=8080)

`uvicorn module:app` needs none of this where the application is a `MeshMiddleware`.
"""

import asyncio
import socket
from typing import cast

import uvicorn

from meshsdk.downstream.asgi_exchange import InboundMesh
from meshsdk.downstream.asgi_scope import AsgiApp
from meshsdk.downstream.capture import install
from meshsdk.downstream.server_context import MeshServerContext
from meshsdk.errors import UsageError
from meshsdk.integrations.asgi import MeshMiddleware

__all__ = ["Config", "Server", "run"]

_TLS_OPTIONS = ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_context_factory")


class Config(uvicorn.Config):
    """A `uvicorn.Config` whose application is judged and whose TLS is the mesh's.

    `proxy_headers` is off unless asked for; what they rewrite, they rewrite after the judgement.
    """

    def __init__(
        self, app: AsgiApp | str, mesh: InboundMesh | None = None, **options: object
    ) -> None:
        """`options`: those of `uvicorn.Config`. UsageError for TLS of one's own."""
        named = [name for name in _TLS_OPTIONS if options.get(name) is not None]
        if named:
            raise UsageError(f"the mesh brings its own TLS: {', '.join(named)} would replace it")
        options.setdefault("proxy_headers", False)
        self.mesh = mesh
        self.in_mesh: MeshMiddleware
        """The application as it is served, once it is loaded."""
        super().__init__(app, **options)  # type: ignore[arg-type]  # uvicorn checks its own

    def load(self) -> None:
        """Load the application, and put it inside the mesh."""
        super().load()
        app = cast("AsgiApp", self.loaded_app)
        if not isinstance(app, MeshMiddleware) or self.mesh not in (None, app.mesh):
            app = MeshMiddleware(app, self.mesh or _mesh_within(app))
        self.in_mesh = self.loaded_app = app
        # uvicorn only passes it on to the loop's create_server, where `Server` takes it up.
        self.ssl = MeshServerContext(app.mesh.server_connections)


def _mesh_within(app: object) -> InboundMesh | None:
    """The mesh of a `MeshMiddleware` beneath layers that uvicorn has put around it."""
    while app is not None and not isinstance(app, MeshMiddleware):
        app = getattr(app, "app", None)
    return None if app is None else app.mesh


class Server(uvicorn.Server):
    """A `uvicorn.Server` whose sockets are the mesh's."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the mesh, then create the servers."""
        if not isinstance(self.config, Config):
            raise UsageError("Server needs a Config of meshsdk.integrations.uvicorn")
        mesh = self.config.in_mesh.mesh
        mesh.start()
        await self.config.in_mesh.until_ready()
        capture = install(asyncio.get_running_loop(), mesh.server_connections)
        try:
            await super().startup(sockets)
        finally:
            capture.uninstall()


def run(app: AsgiApp | str, mesh: InboundMesh | None = None, **options: object) -> None:
    """As `uvicorn.run` in this process; returns when the server has stopped.

    UsageError for workers and reload: uvicorn makes servers of its own there. Its own command does
    both, for an application that is a `MeshMiddleware`.
    """
    config = Config(app, mesh, **options)
    if config.should_reload or config.workers != 1:
        raise UsageError("for workers and reload wrap the app in MeshMiddleware and run uvicorn")
    Server(config).run()
