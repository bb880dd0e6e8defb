"""`MeshMiddleware` for WSGI: a blocking application inside the mesh.

Around the whole application, as the outermost layer:

    app = MeshMiddleware(app)

Each request is judged before the application sees it. The peer's identity is known where the server
accepts by a `MeshServerContext`; else the caller has no principal, whatever headers say, and is
refused where the mesh is STRICT.

WSGI joins repeated fields and spells `X_Role` like `X-Role`: let the server drop names with `_`
(gunicorn does). A DENY by header looks at the parts of a list too.
"""

import logging
from collections.abc import Iterable
from threading import Lock
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Deliver
from meshsdk.call.serving import Entered, enter_serving, leave_serving
from meshsdk.downstream.asgi_exchange import delivered
from meshsdk.downstream.current import Current, reset_current, set_current
from meshsdk.downstream.wsgi_environ import (
    JUDGED,
    Environ,
    StartResponse,
    WsgiApp,
    app_environ,
    connection_of,
    request_of,
)
from meshsdk.downstream.wsgi_exchange import Input, Readable, WsgiExchange, WsgiMesh, whole
from meshsdk.errors import PeerError
from meshsdk.mesh import process_mesh

__all__ = ["MeshMiddleware"]

_LOG = logging.getLogger("meshsdk.integrations.wsgi")
_CHECK_FAILED: Final = "the check of a request failed: it is refused"
_NOT_READY: Final = "the mesh has no complete configuration or no SVID after %s s"
_TWICE: Final = "MeshMiddleware wraps this application twice: the inner one judges nothing"


class MeshMiddleware:
    """Judges each request on the thread that serves it."""

    def __init__(
        self, app: WsgiApp, mesh: WsgiMesh | None = None, *, ready_timeout: float | None = 15.0
    ) -> None:
        """`mesh` None: the process-wide `Mesh.connect()`, made at its first use in each process.

        `ready_timeout`: seconds for which the first request of a process waits for the first
        configuration; then it is judged with what there is, which is to refuse it.
        """
        self.app = app
        self._mesh = mesh
        self._ready_timeout = ready_timeout
        self._ready: WsgiMesh | None = None
        self._starting = Lock()
        self._warned = False

    @property
    def mesh(self) -> WsgiMesh:
        """The mesh that judges."""
        return process_mesh() if self._mesh is None else self._mesh

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            mesh = self._started()
            if environ.get(JUDGED) is mesh:
                self._warn()
                return self.app(environ, start_response)
            connection = connection_of(environ, mesh.server_connections)
            request = request_of(environ, connection)
            flow = mesh.inbound(request, connection)
        except PeerError as error:
            _LOG.debug("refused a request: %s", error)
            return whole(start_response, 400)
        except Exception:
            _LOG.exception(_CHECK_FAILED)
            return whole(start_response, 500)
        body = Input(_input(environ))
        exchange = WsgiExchange(flow, start_response, body, mesh.fetcher)
        try:
            effect = exchange.settle(next(flow))
            if isinstance(effect, Deliver):
                return exchange.answer(delivered(effect))
            new = app_environ(environ, effect.request, connection, mesh)
        except Exception as error:
            _LOG.exception(_CHECK_FAILED)
            exchange.abandon(error)
            return whole(start_response, 500)
        new["wsgi.input"] = body
        context = effect.context if isinstance(effect.context, CallContext) else None
        serving = enter_serving(effect.serving)
        token = set_current(Current(connection.peer, context))
        try:
            exchange.run(self.app, new)
        except BaseException:
            reset_current(token)
            leave_serving(serving)
            raise
        return _Served(exchange, token, serving)

    def _started(self) -> WsgiMesh:
        """The mesh, waited for once in each process."""
        mesh = self._mesh or self.mesh
        if self._ready is not mesh:
            with self._starting:
                mesh.start()
                if self._ready is not mesh and not mesh.ready(self._ready_timeout):
                    _LOG.warning(_NOT_READY, self._ready_timeout)
                self._ready = mesh
        return mesh

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            _LOG.warning(_TWICE)


class _Served:
    """The body, whose chunks the application makes as the request's own code."""

    def __init__(self, exchange: WsgiExchange, token: object, serving: Entered) -> None:
        self._exchange = exchange
        self._token = token
        self._serving = serving

    def __iter__(self) -> WsgiExchange:
        return self._exchange

    def close(self) -> None:
        """For the server, on the thread that made the call."""
        try:
            self._exchange.close()
        finally:
            leave_serving(self._serving)
            reset_current(self._token)  # type: ignore[arg-type]  # a Token[Current]


def _input(environ: Environ) -> Readable:
    found = environ["wsgi.input"]
    assert hasattr(found, "read")
    return found  # type: ignore[return-value]  # PEP 3333
