"""`MeshMiddleware`: an ASGI application inside the mesh.

Around the whole application, as the outermost layer:

    app = MeshMiddleware(app)

An unmodified `uvicorn module:app` then serves mTLS as its PeerAuthentication says, and each request
is judged before the application sees it. Servers without the lifespan protocol need
`meshsdk.integrations.uvicorn` or a TLS hook; without either a port stays plaintext and its requests
have no principal.
"""

import asyncio
import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Final, Literal

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Deliver, Flow
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Response
from meshsdk.call.serving import enter_serving, leave_serving
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.asgi_exchange import InboundMesh, can_deny, delivered, refuse, settle
from meshsdk.downstream.asgi_http import HttpExchange
from meshsdk.downstream.asgi_scope import (
    AsgiApp,
    AsgiReceive,
    AsgiSend,
    Message,
    Scope,
    app_scope,
    is_judged,
    is_rewritten,
    request_of,
)
from meshsdk.downstream.asgi_websocket import WebsocketExchange
from meshsdk.downstream.capture import Capture, Captured, captured, install, uncaptured
from meshsdk.downstream.current import Current, reset_current, set_current
from meshsdk.downstream.route_template import RouteOf
from meshsdk.errors import MeshError, PeerError, UsageError
from meshsdk.mesh import process_mesh

__all__ = ["MeshMiddleware"]

_LOG = logging.getLogger("meshsdk.integrations.asgi")

_FAILED: Final = Response(500, Headers([("content-type", "text/plain")]), b"Internal Server Error")
_BAD_REQUEST: Final = Response(400, Headers([("connection", "close")]))
_EXPIRED: Final = Response(403, Headers([("connection", "close")]))

_NOT_CAPTURED: Final = (
    "connections of this server were not captured: their requests have no principal, and are refused"
    " where the mesh is STRICT. Run the server with lifespan on, or by meshsdk.integrations.uvicorn"
)
_NOT_READY: Final = (
    "the mesh has no complete configuration or no SVID after %s s: the server listens, and closes"
    " each connection until it has"
)
_TWICE: Final = "MeshMiddleware wraps this application twice: the inner one judges nothing"
_NOT_OUTERMOST: Final = (
    "MeshMiddleware is not the outermost layer: something before it has changed the request that it"
    " judges"
)

_CHECK_FAILED: Final = "the check of a request failed: it is refused"


class MeshMiddleware:
    """Judges each request and websocket, and serves the server's own ports as the mesh says."""

    def __init__(
        self,
        app: AsgiApp,
        mesh: InboundMesh | None = None,
        *,
        ports: Collection[int] | None = None,
        ready_timeout: float | None = 15.0,
        route_of: RouteOf | None = None,
    ) -> None:
        """`mesh` None: the process-wide `Mesh.connect()`, made at its first use in each process.

        `ports`: which of this event loop's later servers are the mesh's; None: all of them.
        `ready_timeout`: seconds that a server waits for its first configuration and SVID before
        it listens, as it could only close connections until then; None: without bound.
        `route_of`: which route of the application a request will take, for policies that ask for
        its template; `meshsdk.downstream.route_template.starlette_route` is one.
        """
        self.app = app
        self._mesh = mesh
        self._ports = ports
        self._ready_timeout = ready_timeout
        self._route_of = route_of
        self._warned: set[str] = set()

    @property
    def mesh(self) -> InboundMesh:
        """The mesh that judges."""
        return process_mesh() if self._mesh is None else self._mesh

    async def __call__(self, scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        kind = scope["type"]
        if kind == "http" or kind == "websocket":
            mesh = self._mesh or self.mesh
            if is_judged(scope, mesh):
                self._warn(_TWICE)
                await self.app(scope, receive, send)
            else:
                await self._judge(mesh, scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(scope, receive, send)
        else:
            raise UsageError(f"ASGI scope type {kind!r} is refused: nothing would judge it")

    # -- requests ---------------------------------------------------------------------------

    async def _judge(
        self, mesh: InboundMesh, scope: Scope, receive: AsgiReceive, send: AsgiSend
    ) -> None:
        try:
            found = captured(receive) or self._uncaptured(mesh, scope, receive)
            if is_rewritten(scope, receive):
                self._warn(_NOT_OUTERMOST)
            age = _age(mesh, found)
            if age == "expired":
                return await refuse(scope, send, _EXPIRED)
            request = request_of(scope, found)
            connection = self._routed(mesh, scope, request, found)
            flow = mesh.inbound(request, connection)
        except PeerError as error:
            _LOG.debug("refused a request: %s", error)
            return await refuse(scope, send, _BAD_REQUEST)
        except Exception:
            _LOG.exception(_CHECK_FAILED)
            return await refuse(scope, send, _FAILED)
        exchange = _exchange(flow, scope, receive, send, found, is_last=age == "last")
        try:
            effect = next(flow)
            if not isinstance(effect, (CallApp, Deliver)):
                effect = await settle(flow, effect, exchange.body, mesh.fetcher)
            if isinstance(effect, Deliver):
                answer, new, serving = delivered(effect), scope, None
                context = None
            else:
                answer, new = None, app_scope(scope, request, effect.request, found, mesh)
                if self._route_of is not None and effect.request.path != request.path:
                    self._check_route(new, connection.route_template)
                serving, context = effect.serving, effect.context
        except PeerError as error:
            _LOG.debug("refused a request: %s", error)
            exchange.abandon(error)
            return await refuse(scope, send, _BAD_REQUEST)
        except Exception as error:
            _LOG.exception(_CHECK_FAILED)
            exchange.abandon(error)
            return await refuse(scope, send, _FAILED)
        except BaseException as error:
            exchange.abandon(error)
            raise
        if answer is not None:
            return await exchange.answer(answer)
        known = context if isinstance(context, CallContext) else None
        token = set_current(Current(found.connection.peer, known))
        entered = enter_serving(serving)
        try:
            await exchange.run(self.app, new)
        finally:
            leave_serving(entered)
            reset_current(token)

    def _routed(
        self, mesh: InboundMesh, scope: Scope, request: Request, found: Captured
    ) -> Connection:
        """The connection, with the route that the application would take."""
        if self._route_of is None or scope["type"] != "http":
            return found.connection
        template = self._route_of(app_scope(scope, request, request, found, mesh))
        return replace(found.connection, route_template=template)

    def _check_route(self, scope: Scope, judged: str) -> None:
        """A path that was normalised may lead elsewhere than policy was told."""
        assert self._route_of is not None
        if judged and self._route_of(scope) != judged:
            raise PeerError("the normalised path takes another route than the one that was judged")

    def _uncaptured(self, mesh: InboundMesh, scope: Scope, receive: AsgiReceive) -> Captured:
        found = uncaptured(receive, mesh.server_connections, scope)
        if found.tls is None:
            self._warn(_NOT_CAPTURED)
        return found

    def _warn(self, what: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            _LOG.warning(what)

    # -- life -------------------------------------------------------------------------------

    async def _lifespan(self, scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Capture what the server creates once the application has started: its own servers, made
        while it starts, are not the mesh's."""
        try:
            mesh = self.mesh
            mesh.start()
            acceptor = mesh.server_connections
        except MeshError as error:
            # Raised here, servers would take it for an application without lifespan, and serve.
            _LOG.error("the mesh did not start: %s", error)
            await receive()
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        capture: Capture | None = None
        has_started = has_failed = False

        async def on_message(message: Message) -> None:
            nonlocal capture, has_started, has_failed
            match message["type"]:
                case "lifespan.startup.complete":
                    has_started = True
                    capture = self._install(acceptor)
                    await self.until_ready()
                case "lifespan.startup.failed":
                    has_failed = True
                case "lifespan.shutdown.complete" | "lifespan.shutdown.failed" if capture:
                    capture.uninstall()
                case _:
                    pass
            await send(message)

        try:
            await self.app(scope, receive, on_message)
        except Exception:
            if not (has_started or has_failed):
                await self._start_alone(acceptor)
            raise
        if not (has_started or has_failed):
            await self._start_alone(acceptor)

    async def _start_alone(self, acceptor: Acceptor) -> None:
        """An application that knows no lifespan raises or returns: the server goes on."""
        self._install(acceptor)
        await self.until_ready()

    async def until_ready(self) -> None:
        """Wait until the mesh is ready, for `ready_timeout` seconds at most."""
        if not await self.mesh.aready(self._ready_timeout):
            _LOG.warning(_NOT_READY, self._ready_timeout)

    def _install(self, acceptor: Acceptor) -> Capture | None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # trio: its servers take a MeshServerContext
            return None
        return install(loop, acceptor, ports=self._ports)


def _age(mesh: InboundMesh, found: Captured) -> Literal["young", "last", "expired"]:
    """Whether a connection may go on: its identity ends with its certificates (THREATS T9)."""
    if found.tls is None:
        return "young"
    now = mesh.server_connections.clock.monotonic()
    if now < found.retires:
        return "young"
    return "expired" if now >= found.expires else "last"


def _exchange(
    flow: Flow[None],
    scope: Scope,
    receive: AsgiReceive,
    send: AsgiSend,
    found: Captured,
    *,
    is_last: bool,
) -> HttpExchange | WebsocketExchange:
    if scope["type"] == "http":
        alone = found.transport if scope["http_version"] == "1.1" else None
        return HttpExchange(flow, receive, send, is_last=is_last, transport=alone)
    return WebsocketExchange(flow, receive, send, can_answer=can_deny(scope))
