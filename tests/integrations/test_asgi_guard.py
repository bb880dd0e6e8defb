"""Guards in handlers of ASGI applications: 403 whatever the framework makes of the exception."""

import pytest

from meshsdk import ForbiddenError, current_jwt, require
from meshsdk.call.effects import CallApp, Deliver, Flow
from meshsdk.call.message import Request, Response
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Scope
from meshsdk.integrations.asgi import MeshMiddleware
from tests.downstream.mesh import ORDER_ID, FakeMesh
from tests.filters.policy_case import Given
from tests.integrations.asgi_server import MTLS, PLAIN, App, Server, mesh_of, scope_of, serve

BODY = b"RBAC: access denied"


@require(principal=ORDER_ID)
async def pay(_scope: Scope, _receive: AsgiReceive, send: AsgiSend) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"paid"})


def test_a_bare_application_is_answered_403_where_a_guard_says_no() -> None:
    allowed, _, _ = serve(scope_of(), app=App(pay), server=Server(MTLS))
    denied, _, mesh = serve(scope_of(), app=App(pay), server=Server(PLAIN))

    assert (allowed.status, allowed.content) == (200, b"paid")
    assert (denied.status, denied.content) == (403, BODY)
    assert len(mesh.ends) == 1


def test_a_5xx_that_a_framework_makes_of_it_is_403_and_its_body_stays_inside() -> None:
    async def framework(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        try:
            await pay(scope, receive, send)
        except ForbiddenError:
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"Traceback"})
            raise

    server, _, mesh = serve(scope_of(), app=App(framework), server=Server(PLAIN))

    assert (server.status, server.content) == (403, BODY)
    assert len(mesh.ends) == 1


def test_an_answer_of_the_applications_own_stays() -> None:
    async def framework(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        try:
            await pay(scope, receive, send)
        except ForbiddenError:
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b"nothing here"})

    server, _, _ = serve(scope_of(), app=App(framework), server=Server(PLAIN))

    assert (server.status, server.content) == (404, b"nothing here")


def test_an_error_that_no_guard_raised_stays_a_5xx() -> None:
    async def broken(_scope: Scope, _receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"later"})

    server, _, _ = serve(scope_of(), app=App(broken), server=Server(PLAIN))

    assert (server.status, server.content) == (503, b"later")


class _WithToken(FakeMesh):
    """A mesh whose jwt_authn found a token good."""

    def inbound(self, request: Request, connection: object, /) -> Flow[None]:
        context = Given().context()
        context.claims = ({"iss": "https://issuer", "sub": "alice"},)
        answer = yield CallApp(request, None, context)
        assert isinstance(answer, Response)
        yield Deliver(answer)


def test_handlers_see_the_verified_token() -> None:
    seen: list[str] = []

    async def handler(_scope: Scope, _receive: AsgiReceive, send: AsgiSend) -> None:
        token = current_jwt()
        assert token is not None
        seen.append(token.principal)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    Server().call(MeshMiddleware(handler, _WithToken(mesh_of().server_connections)), scope_of())

    assert seen == ["https://issuer/alice"]
    assert current_jwt() is None


@pytest.mark.slow
def test_starlette_handlers_sync_and_async_are_guarded() -> None:
    applications = pytest.importorskip("starlette.applications")
    responses = pytest.importorskip("starlette.responses")
    routing = pytest.importorskip("starlette.routing")

    @require(principal=ORDER_ID)
    def sync_handler(_: object) -> object:
        return responses.PlainTextResponse("sync")

    @require(principal=ORDER_ID)
    async def async_handler(_: object) -> object:
        return responses.PlainTextResponse("async")

    app = applications.Starlette(
        routes=[routing.Route("/sync", sync_handler), routing.Route("/async", async_handler)]
    )
    for path in ("sync", "async"):
        allowed, denied = Server(MTLS), Server(PLAIN)
        allowed.call(MeshMiddleware(app, mesh_of()), scope_of(f"/{path}"))
        denied.call(MeshMiddleware(app, mesh_of()), scope_of(f"/{path}"))

        assert (allowed.status, allowed.content) == (200, path.encode())
        assert (denied.status, denied.content) == (403, BODY)
