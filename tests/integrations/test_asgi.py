import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest

from meshsdk.call.connection import NOBODY, Connection
from meshsdk.call.effects import (
    CallApp,
    Deliver,
    Fetch,
    Fetched,
    Flow,
    ReadBody,
    Reply,
    SideCall,
    Sleep,
    WaitForConfig,
    read_body,
)
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Request, Response
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Message, Scope
from meshsdk.downstream.current import current_peer
from meshsdk.errors import UsageError
from meshsdk.flow.drive import NoFetcher
from meshsdk.integrations.asgi import MeshMiddleware
from tests.downstream.mesh import ORDER_ID, FakeMesh
from tests.integrations.asgi_server import (
    MTLS,
    PEER,
    PLAIN,
    App,
    Server,
    deny_all,
    mesh_of,
    scope_of,
    serve,
)

FORGED = b'By=spiffe://x;URI="spiffe://cluster.local/ns/shop/sa/admin"'


def as_judged(change: Callable[[Request], Request]) -> type[FakeMesh]:
    """A mesh whose flow hands the application another request."""

    class Changing(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            answer = yield CallApp(change(request))
            assert isinstance(answer, Response)
            yield Deliver(answer)

    return Changing


def serve_changed(scope: Scope, change: Callable[[Request], Request]) -> App:
    app = App()
    Server().call(MeshMiddleware(app, as_judged(change)(mesh_of().server_connections)), scope)
    return app


# -- the request ------------------------------------------------------------------------------


def test_the_request_is_made_of_the_octets_that_came() -> None:
    scope = scope_of("/a%2Fb", (b"X-Role", b"admin\xff"), query=b"c=%20", method="POST")

    _, _, mesh = serve(scope)

    request = mesh.requests[0]
    assert (request.method, request.authority, request.path) == (
        "POST",
        "payment.shop",
        "/a%2Fb?c=%20",
    )
    assert list(request.headers) == [("x-role", "admin\xff")]
    assert (request.scheme, request.protocol, request.has_body) == ("https", "http1", False)
    assert mesh.connections == [MTLS]


@pytest.mark.parametrize(
    "name", [b"x-forwarded-client-cert", b"X-Forwarded-Client-Cert", b"x_forwarded_client_cert"]
)
def test_what_a_client_says_of_its_certificate_never_passes(name: bytes) -> None:
    _, app, mesh = serve(scope_of("/", (name, FORGED)))

    assert len(mesh.requests[0].headers) == 0
    assert app.scope["headers"] == [(b"host", b"payment.shop")]


def test_pairs_that_the_server_could_change_are_not_kept() -> None:
    pairs = [[b"host", b"payment.shop"], [b"x-role", b"guest"]]

    _, app, mesh = serve(scope_of("/", extra={"headers": pairs}))
    pairs[1][1] = b"admin"

    assert mesh.requests[0].headers.get("x-role") == "guest"
    assert app.scope["headers"] == [(b"host", b"payment.shop"), (b"x-role", b"guest")]


@pytest.mark.parametrize(("value", "kept"), [(b"keep-alive", False), (b"x-role", True)])
def test_only_what_nominates_fields_is_kept_of_connection(value: bytes, kept: bool) -> None:
    _, _, mesh = serve(scope_of("/", (b"connection", value)))

    assert ("connection" in mesh.requests[0].headers) is kept


def test_two_hosts_are_one_authority_that_no_grammar_allows() -> None:
    _, _, mesh = serve(scope_of("/", (b"Host", b"secret.test")))

    assert mesh.requests[0].authority == "payment.shop,secret.test"
    assert "host" not in mesh.requests[0].headers


@pytest.mark.parametrize(
    ("headers", "version", "expected"),
    [
        ([(b"content-length", b"0")], "1.1", False),
        ([(b"content-length", b"3")], "1.1", True),
        ([(b"transfer-encoding", b"chunked")], "1.1", True),
        ([], "2", True),
    ],
)
def test_a_body_may_follow_where_the_framing_says_so(
    headers: list[tuple[bytes, bytes]], version: str, expected: bool
) -> None:
    _, _, mesh = serve(scope_of("/", *headers, method="POST", extra={"http_version": version}))

    assert mesh.requests[0].has_body is expected


@pytest.mark.parametrize(("path", "expected"), [("/a b/ä", "/a%20b/%C3%A4"), ("/a;b=c", "/a;b=c")])
def test_a_path_without_octets_is_quoted_again(path: str, expected: str) -> None:
    scope = scope_of(path)
    del scope["raw_path"]

    _, _, mesh = serve(scope)

    assert mesh.requests[0].path == expected


@pytest.mark.parametrize("raw", ["missing", None])
def test_a_path_without_octets_that_is_ambiguous_is_refused(raw: str | None) -> None:
    scope = scope_of("/a%2fb", extra={"raw_path": raw})
    if raw:
        del scope["raw_path"]

    server, app, _ = serve(scope)

    assert server.status == 400
    assert app.scopes == []


def test_a_root_path_that_the_server_puts_in_front_is_not_judged_but_kept_for_the_app() -> None:
    scope = scope_of("/api/admin", extra={"root_path": "/api"})

    _, app, mesh = serve(scope, server=Server(root_path="/api"))

    assert mesh.requests[0].path == "/admin"
    assert (app.scope["path"], app.scope["raw_path"]) == ("/api/admin", b"/api/admin")


def test_a_mounted_path_is_judged_whole() -> None:
    _, _, mesh = serve(scope_of("/api/admin", extra={"root_path": "/api"}))

    assert mesh.requests[0].path == "/api/admin"


# -- the application's scope --------------------------------------------------------------------


def test_the_application_sees_the_request_that_was_judged() -> None:
    def change(request: Request) -> Request:
        return replace(
            request,
            path="/new%20path?x=1",
            authority="other.shop",
            headers=Headers([("x-request-id", "7")]),
        )

    scope = serve_changed(scope_of("/old", (b"x-old", b"1"), query=b"y=2"), change).scope

    assert (scope["path"], scope["raw_path"]) == ("/new path", b"/new%20path")
    assert scope["query_string"] == b"x=1"
    assert scope["headers"] == [(b"host", b"other.shop"), (b"x-request-id", b"7")]


def test_the_server_cannot_change_the_applications_headers_later() -> None:
    scope = scope_of("/", (b"x-role", b"guest"))
    seen: list[object] = []

    async def answer(inner: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        headers.append((b"authorization", b"from a trailer"))
        seen.append(inner["headers"])

    serve(scope, app=App(answer))

    assert seen == [[(b"host", b"payment.shop"), (b"x-role", b"guest")]]


def test_the_servers_scope_and_extensions_stay_as_they_were() -> None:
    extensions: dict[str, object] = {
        "tls": {"client_cert_name": "the previous caller"},
        "other": {},
    }
    scope = scope_of("/", extra={"extensions": extensions})
    before = {**scope, "extensions": {**extensions}}

    _, app, _ = serve(scope, server=Server(PLAIN))

    assert scope == before
    assert app.scope["extensions"] == {"other": {}}


def test_the_tls_extension_tells_the_verified_peer() -> None:
    _, app, _ = serve(scope_of())

    extensions = app.scope["extensions"]
    assert isinstance(extensions, dict)
    assert extensions["tls"] == {
        "server_cert": None,
        "client_cert_chain": (PEER.certificate.pem if PEER.certificate else "",),
        "client_cert_name": ORDER_ID,
        "client_cert_error": None,
        "tls_version": 0x0304,
        "cipher_suite": None,
    }
    assert app.scope["scheme"] == "https"


def test_addresses_come_from_the_socket() -> None:
    _, app, _ = serve(scope_of())

    assert (app.scope["client"], app.scope["server"]) == (("10.0.0.9", 4711), ("10.0.0.1", 8080))


def test_handlers_know_who_calls() -> None:
    seen: list[object] = []

    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        seen.append(current_peer())
        seen.append(await asyncio.to_thread(current_peer))

    serve(scope_of(), app=App(answer))

    assert seen == [PEER, PEER]
    assert current_peer() == NOBODY


# -- answers ------------------------------------------------------------------------------------


def test_a_denied_request_reaches_neither_the_application_nor_its_body() -> None:
    server, app, mesh = serve(scope_of(method="POST"), rule=deny_all)

    assert (server.status, server.content) == (403, b"RBAC: access denied")
    assert app.scopes == []
    assert server.received == 0
    assert mesh.ends == [BodyEnd(19, 0)]


def test_an_empty_denial_has_a_length() -> None:
    class Closing(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            yield Deliver(Response(503, Headers([("connection", "close")])))

    server = Server()
    server.call(MeshMiddleware(App(), Closing(mesh_of().server_connections)), scope_of())

    assert server.headers == {b"connection": b"close", b"content-length": b"0"}


def test_the_applications_answer_passes_and_the_flow_learns_its_end() -> None:
    server, _, mesh = serve(scope_of())

    assert (server.status, server.headers, server.content) == (200, {b"x-app": b"1"}, b"hello")
    assert mesh.ends == [BodyEnd(5, 0)]


def test_what_the_flow_delivers_is_what_goes_out() -> None:
    class Adding(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            answer = yield CallApp(request)
            assert isinstance(answer, Response)
            yield Deliver(replace(answer, status=201, headers=answer.headers.add("x-mesh", "1")))

    server = Server()
    server.call(MeshMiddleware(App(), Adding(mesh_of().server_connections)), scope_of())

    assert server.status == 201
    assert server.headers == {b"x-app": b"1", b"x-mesh": b"1"}
    assert server.content == b"hello"


def test_an_answer_that_the_flow_replaces_silences_the_application() -> None:
    class Replacing(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            yield CallApp(request)
            self.ends.append((yield Deliver(Response(502, Headers(), b"no"))))  # type: ignore[arg-type]

    mesh, server = Replacing(mesh_of().server_connections), Server()
    server.call(MeshMiddleware(App(), mesh), scope_of())

    assert (server.status, server.content, len(server.sent)) == (502, b"no", 2)
    assert mesh.ends == [BodyEnd(2, 0)]


def test_an_exception_of_the_application_passes_once_the_flow_knows() -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        raise ValueError("mine")

    mesh = mesh_of()
    with pytest.raises(ValueError, match="mine"):
        Server().call(MeshMiddleware(App(answer), mesh), scope_of())

    assert mesh.ends == ["ValueError('mine')"]


def test_an_answer_that_breaks_off_is_a_reset() -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"he", "more_body": True})
        raise ValueError("mine")

    mesh = mesh_of()
    with pytest.raises(ValueError, match="mine"):
        Server().call(MeshMiddleware(App(answer), mesh), scope_of())

    end = mesh.ends[0]
    assert isinstance(end, BodyEnd)
    assert end.bytes_sent == 2
    assert end.reset is not None


def test_an_application_that_answers_nothing_releases_its_flow() -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        return

    _, _, mesh = serve(scope_of(), app=App(answer))

    assert mesh.ends == ["dropped"]


def test_trailers_end_the_answer() -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"hello"})
        assert mesh.ends == []
        await send({"type": "http.response.trailers", "headers": []})

    mesh = mesh_of()
    server = Server()
    server.call(MeshMiddleware(App(answer), mesh), scope_of())

    assert mesh.ends == [BodyEnd(5, 0)]
    assert [m["type"] for m in server.sent][-1] == "http.response.trailers"


def test_an_exception_in_the_check_is_a_bare_500_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def rule(_request: Request, _connection: Connection) -> None:
        raise KeyError("secret detail")

    server, app, _ = serve(scope_of(), rule=rule)

    assert (server.status, server.content) == (500, b"Internal Server Error")
    assert app.scopes == []
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


# -- effects ------------------------------------------------------------------------------------


def reading(limit: int, seen: list[object]) -> type[FakeMesh]:
    class Reading(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            seen.append((yield from read_body(limit)))
            yield Sleep(0.0)
            answer = yield CallApp(request)
            assert isinstance(answer, Response)
            self.ends.append((yield Deliver(answer)))  # type: ignore[arg-type]

    return Reading


def echo() -> App:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            chunk = message["body"]
            assert isinstance(chunk, bytes)
            body += chunk
            more = bool(message.get("more_body"))
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": body})

    return App(answer)


def chunks(*data: bytes) -> list[Message]:
    last = len(data) - 1
    return [
        {"type": "http.request", "body": each, "more_body": at < last}
        for at, each in enumerate(data)
    ]


@pytest.mark.parametrize(
    ("limit", "data", "complete"),
    [(100, b"abcdef", True), (6, b"abcdef", True), (4, b"abcd", False), (3, b"abc", False)],
)
def test_a_body_that_a_filter_reads_reaches_the_application_whole(
    limit: int, data: bytes, complete: bool
) -> None:
    seen: list[object] = []
    mesh = reading(limit, seen)(mesh_of().server_connections)
    server = Server(body=chunks(b"abc", b"d", b"ef"))

    server.call(MeshMiddleware(echo(), mesh), scope_of(method="POST"))

    read = seen[0]
    assert (read.data, read.complete) == (data, complete)  # type: ignore[attr-defined]
    assert server.content == b"abcdef"
    assert mesh.ends == [BodyEnd(6, 6)]


def test_an_effect_that_no_server_can_perform_refuses_the_request() -> None:
    class Waiting(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            yield WaitForConfig("a listener", 1.0)

    server, app = Server(), App()
    server.call(MeshMiddleware(app, Waiting(mesh_of().server_connections)), scope_of())

    assert server.status == 500
    assert app.scopes == []


def test_a_check_that_cannot_even_begin_refuses_the_request() -> None:
    class Broken(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            raise RuntimeError("a defect of ours")

    server, app = Server(), App()
    server.call(MeshMiddleware(app, Broken(mesh_of().server_connections)), scope_of())

    assert server.status == 500
    assert app.scopes == []


def test_a_side_call_is_made_by_the_mesh_and_its_filter_decides() -> None:
    class Fetching(FakeMesh):
        def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
            found = yield Fetch("authz", request)
            assert isinstance(found, Fetched)
            yield Deliver(Response(401 if found.body == b"authz" else 500))

    class Answering(NoFetcher):
        async def afetch(self, effect: SideCall) -> Reply:
            return Fetched(Response(200), effect.cluster.encode())

    server, app = Server(), App()
    mesh = Fetching(mesh_of().server_connections, fetcher=Answering())
    server.call(MeshMiddleware(app, mesh), scope_of())

    assert server.status == 401
    assert app.scopes == []


def test_read_body_is_an_effect_of_flows() -> None:
    assert next(read_body(1)) == ReadBody(1)


# -- its place ----------------------------------------------------------------------------------


def test_a_second_wrap_judges_nothing(caplog: pytest.LogCaptureFixture) -> None:
    mesh, app, server = mesh_of(), App(), Server()

    for _ in range(2):
        server.call(MeshMiddleware(MeshMiddleware(app, mesh), mesh), scope_of())

    assert len(mesh.requests) == 2
    assert len(app.scopes) == 2


def test_another_mesh_within_judges_too() -> None:
    outer, inner, server = mesh_of(), mesh_of(deny_all), Server()

    server.call(MeshMiddleware(MeshMiddleware(App(), inner), outer), scope_of())

    assert server.status == 403


def test_a_layer_outside_that_changes_the_request_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    middleware, server = MeshMiddleware(App(), mesh_of()), Server()
    server.scope = scope_of("/outer")  # type: ignore[attr-defined]

    for _ in range(2):
        server.call(middleware, scope_of("/inner"))

    assert [r.getMessage() for r in caplog.records if "outermost" in r.getMessage()] != []
    assert len(caplog.records) == 1


def test_a_connection_that_was_not_captured_has_no_principal_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mesh = mesh_of()
    middleware = MeshMiddleware(App(), mesh)

    for _ in range(2):
        Server(connection=None).call(middleware, scope_of())

    connection = mesh.connections[0]
    assert not connection.is_mtls
    assert (connection.local.port, connection.peer.physical.port) == (2, 1)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "not captured" in caplog.text


def test_an_address_from_a_header_is_nobodys() -> None:
    mesh = mesh_of()

    Server(connection=None).call(
        MeshMiddleware(App(), mesh), scope_of(extra={"client": ("10.9.9.9", 0)})
    )

    assert mesh.connections[0].peer.physical.host == ""


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(UsageError, match="'telepathy'"):
        serve(scope_of(kind="telepathy"))


def test_an_old_connection_is_closed_after_its_answer_and_an_expired_one_is_refused() -> None:
    mesh = mesh_of()
    now = mesh.server_connections.clock.monotonic()
    for retires, expires, status, close in (
        (now, now + 9, 200, b"close"),
        (now - 9, now, 403, b"close"),
    ):
        server = Server()
        server.mesh_captured.retires, server.mesh_captured.expires = retires, expires
        server.mesh_captured.tls = object()  # type: ignore[assignment]  # only whether there is one
        server.mesh_captured.notes["tls"] = {}

        server.call(MeshMiddleware(App(), mesh), scope_of())

        assert (server.status, server.headers[b"connection"]) == (status, close)


# -- websockets ---------------------------------------------------------------------------------


async def accepting(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
    await receive()
    await send({"type": "websocket.accept", "headers": [(b"x-app", b"1")]})
    await send({"type": "websocket.send", "text": "hello"})
    await send({"type": "websocket.close"})


def websocket(*extensions: str) -> Scope:
    known = {name: dict[str, object]() for name in extensions}
    scope = scope_of("/ws", kind="websocket", extra={"extensions": known})
    del scope["method"]
    return scope


def test_a_websocket_is_judged_as_the_get_that_it_is() -> None:
    server, app, mesh = serve(websocket(), app=App(accepting))

    assert (mesh.requests[0].method, mesh.requests[0].path) == ("GET", "/ws")
    assert [m["type"] for m in server.sent] == [
        "websocket.accept",
        "websocket.send",
        "websocket.close",
    ]
    assert app.scope["scheme"] == "wss"
    assert "method" not in app.scope
    assert mesh.ends == [BodyEnd(5, 0)]


def test_a_denied_websocket_is_closed_before_it_is_accepted() -> None:
    server, app, _ = serve(websocket(), rule=deny_all, app=App(accepting))

    assert [m["type"] for m in server.sent] == ["websocket.close"]
    assert app.scopes == []
    assert server.received == 0


def test_a_denied_websocket_is_answered_where_the_server_can() -> None:
    server, _, _ = serve(websocket("websocket.http.response"), rule=deny_all)

    assert [m["type"] for m in server.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert (server.status, server.content) == (403, b"RBAC: access denied")


def test_a_websocket_that_the_application_refuses_ends_its_flow() -> None:
    async def refusing(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "websocket.close"})

    _, _, mesh = serve(websocket(), app=App(refusing))

    assert mesh.ends == [BodyEnd(0, 0)]


def test_a_websocket_that_breaks_off_tells_its_flow() -> None:
    async def failing(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        await send({"type": "websocket.accept"})
        raise ValueError("mine")

    mesh = mesh_of()
    with pytest.raises(ValueError, match="mine"):
        Server().call(MeshMiddleware(App(failing), mesh), websocket())

    end = mesh.ends[0]
    assert isinstance(end, BodyEnd)
    assert end.reset is not None


# -- lifespan -----------------------------------------------------------------------------------


async def lifespan(app: App, mesh: FakeMesh) -> tuple[list[Message], bool]:
    """The messages of a start, and whether servers that are created then are the mesh's."""
    loop = asyncio.get_running_loop()
    original = loop.create_server
    server = Server(body=[{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    captured_within: list[bool] = []

    async def send(message: Message) -> None:
        server.sent.append(message)
        captured_within.append(loop.create_server != original)

    try:
        await MeshMiddleware(app, mesh)({"type": "lifespan"}, server.receive, send)
    except ValueError:
        captured_within.append(loop.create_server != original)
    return server.sent, captured_within[0]


def test_servers_are_captured_from_the_end_of_startup_to_shutdown() -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        await receive()
        assert asyncio.get_running_loop().create_server == original[0]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    original: list[object] = []

    async def main() -> None:
        original.append(asyncio.get_running_loop().create_server)
        mesh = mesh_of()

        sent, is_captured = await lifespan(App(answer), mesh)

        assert is_captured
        assert mesh.starts == 1
        assert [m["type"] for m in sent] == [
            "lifespan.startup.complete",
            "lifespan.shutdown.complete",
        ]
        assert asyncio.get_running_loop().create_server == original[0]

    asyncio.run(main())


@pytest.mark.parametrize("becomes_ready", [True, False])
def test_a_server_listens_once_the_mesh_is_ready_or_its_time_is_up(
    becomes_ready: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        await receive()
        assert mesh.waits == []
        await send({"type": "lifespan.startup.complete"})
        assert mesh.waits == [15.0]
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    mesh = mesh_of()
    mesh.becomes_ready = becomes_ready

    sent, is_captured = asyncio.run(lifespan(App(answer), mesh))

    assert is_captured
    assert len(sent) == 2
    assert ("no SVID after 15.0 s" in caplog.text) is not becomes_ready


def test_an_application_without_lifespan_is_captured_all_the_same() -> None:
    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        raise ValueError("only http")

    async def main() -> None:
        mesh = mesh_of()
        _, is_captured = await lifespan(App(answer), mesh)
        assert is_captured
        assert mesh.waits == [15.0]

    asyncio.run(main())


def test_a_mesh_that_does_not_start_stops_the_server() -> None:
    class Broken(FakeMesh):
        def start(self) -> None:
            raise UsageError("nothing says where the control plane is")

    async def main() -> None:
        sent, is_captured = await lifespan(App(), Broken(mesh_of().server_connections))
        assert sent == [
            {
                "type": "lifespan.startup.failed",
                "message": "nothing says where the control plane is",
            }
        ]
        assert not is_captured

    asyncio.run(main())
