"""Policies that ask for the framework's route: resolved before it runs, or on the safe side."""

from dataclasses import replace

import pytest

from meshsdk.call.connection import Connection
from meshsdk.call.effects import CallApp, Deliver, Flow
from meshsdk.call.message import LocalReply, Request, Response
from meshsdk.downstream.asgi_scope import Scope
from meshsdk.downstream.route_template import starlette_route
from meshsdk.integrations.asgi import MeshMiddleware
from tests.downstream.mesh import FakeMesh
from tests.filters.policy_case import ENVOY, STRICT, Config, Given, build, rules
from tests.integrations.asgi_server import App, Server, mesh_of, scope_of

ITEM: Config = {
    "metadata": {
        "filter": "envoy.filters.meshsdk.route",
        "path": [{"key": "template"}],
        "value": {"string_match": {"exact": "/items/{id}"}},
    }
}


@pytest.mark.parametrize("extensions", [ENVOY, STRICT])
@pytest.mark.parametrize(
    ("config", "template", "allowed"),
    [
        (rules(ITEM), "/items/{id}", True),
        (rules(ITEM), "/users/{id}", False),
        (rules(ITEM), "", False),
        (rules({"not_rule": ITEM}), "/users/{id}", True),
        (rules({"not_rule": ITEM}), "", False),
        (rules(ITEM, action="DENY"), "/items/{id}", False),
        (rules(ITEM, action="DENY"), "/users/{id}", True),
        (rules(ITEM, action="DENY"), "", False),
        (rules({"not_rule": ITEM}, action="DENY"), "", False),
        (rules({"not_rule": ITEM}, action="DENY"), "/items/{id}", True),
    ],
)
def test_an_unresolved_route_is_denied_and_never_allowed(
    config: Config, template: str, allowed: bool, extensions: object
) -> None:
    given = Given()
    context = given.context()
    context.connection = replace(context.connection, route_template=template)
    http_filter = build({"rules": config}, ENVOY if extensions is ENVOY else STRICT)

    verdict = http_filter.on_request(given.request(), context)

    assert isinstance(verdict, LocalReply) is not allowed


def test_the_router_is_asked_before_the_application_runs() -> None:
    mesh, app = mesh_of(), App()
    asked: list[object] = []

    def route_of(scope: Scope) -> str:
        asked.append(scope["path"])
        return "/pay/{id}"

    Server().call(MeshMiddleware(app, mesh, route_of=route_of), scope_of("/pay/1"))

    assert asked == ["/pay/1"]
    assert mesh.connections[0].route_template == "/pay/{id}"


class _Normalising(FakeMesh):
    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        answer = yield CallApp(replace(request, path="/admin"))
        assert isinstance(answer, Response)
        yield Deliver(answer)


def test_a_path_that_is_normalised_into_another_route_is_refused() -> None:
    app, server = App(), Server()
    mesh = _Normalising(mesh_of().server_connections)

    middleware = MeshMiddleware(app, mesh, route_of=lambda scope: str(scope["path"]))
    server.call(middleware, scope_of("/public/../admin"))

    assert server.status == 400
    assert app.scopes == []


def test_starlettes_templates_are_found_through_mounts() -> None:
    routing = pytest.importorskip("starlette.routing")
    applications = pytest.importorskip("starlette.applications")

    async def handler(_: object) -> None: ...

    items = [routing.Route("/items/{id:int}", handler), routing.Route("/items/{name}", handler)]
    app = applications.Starlette(routes=[routing.Mount("/api", routes=items), *items])
    route_of = starlette_route(app)

    assert route_of(scope_of("/items/7")) == "/items/{id:int}"
    assert route_of(scope_of("/items/x")) == "/items/{name}"
    assert route_of(scope_of("/api/items/7")) == "/api/items/{id:int}"
    assert route_of(scope_of("/items/7", method="DELETE")) == ""
    assert route_of(scope_of("/nowhere")) == ""
