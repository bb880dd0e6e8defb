"""`MeshMiddleware` for WSGI: what applications see, and what never reaches them."""

import io
import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from meshsdk import current_jwt, current_peer, require
from meshsdk.call.connection import Connection
from meshsdk.call.effects import BodyRead, CallApp, Deliver, Flow, ReadBody
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, LocalReply, Request, Response
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.wsgi_environ import Environ, StartResponse, WsgiApp
from meshsdk.errors import UsageError
from meshsdk.integrations.wsgi import MeshMiddleware
from tests.downstream.mesh import ORDER_ID, FakeMesh, Rule, allow_all, permissive
from tests.integrations.asgi_server import DENIED, MTLS, PLAIN, deny_all


@dataclass(eq=False)
class WsgiFakeMesh(FakeMesh):
    """As adapters of blocking servers need it."""

    def ready(self, timeout: float | None, /) -> bool:
        self.waits.append(timeout)
        return self.becomes_ready


class Socket:
    """What gunicorn puts into an environ, accepted by a MeshServerContext."""

    def __init__(self, connection: Connection) -> None:
        self.mesh_connection = connection


def environ_of(raw: str = "/pay", connection: Connection | None = MTLS, **more: object) -> Environ:
    environ: Environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/pay",
        "RAW_URI": raw,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "10.0.0.1",
        "SERVER_PORT": "8080",
        "REMOTE_ADDR": "10.0.0.9",
        "REMOTE_PORT": "4711",
        "HTTP_HOST": "payment.shop",
        "wsgi.input": io.BytesIO(b"0123456789\nrest"),
        "wsgi.url_scheme": "http",
        **more,
    }
    if connection is not None:
        environ["gunicorn.socket"] = Socket(replace(connection, state={}))
    return environ


@dataclass(eq=False)
class Served:
    """What a server got."""

    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes = b""
    written: list[bytes] = field(default_factory=list[bytes])

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: object = None
    ) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return self.written.append


def serve(
    app: WsgiApp, environ: Environ | None = None, mesh: WsgiFakeMesh | None = None
) -> tuple[Served, WsgiFakeMesh]:
    served, mesh = Served(), mesh or mesh_of()
    iterable = MeshMiddleware(app, mesh)(
        environ_of() if environ is None else environ, served.start_response
    )
    try:
        served.body = b"".join(iterable)
    finally:
        cast("Callable[[], None]", getattr(iterable, "close", lambda: None))()
    return served, mesh


def mesh_of(rule: Rule = allow_all) -> WsgiFakeMesh:
    return WsgiFakeMesh(Acceptor(permissive()), rule)


@dataclass(eq=False)
class App:
    """Remembers its environs and answers 200."""

    environs: list[Environ] = field(default_factory=list[Environ])
    chunks: tuple[bytes, ...] = (b"he", b"llo")

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.environs.append(environ)
        start_response("200 OK", [("X-App", "1")])
        return iter(self.chunks)

    @property
    def environ(self) -> Environ:
        assert len(self.environs) == 1
        return self.environs[0]


def test_the_request_is_made_of_what_came() -> None:
    environ = environ_of(
        "/a%2Fb?c=%20",
        REQUEST_METHOD="POST",
        CONTENT_TYPE="text/plain",
        CONTENT_LENGTH="15",
        HTTP_X_ROLE="admin\xff",
        HTTP_CONNECTION="keep-alive",
    )

    _, mesh = serve(App(), environ)

    [request] = mesh.requests
    assert request == Request(
        "POST",
        "payment.shop",
        "/a%2Fb?c=%20",
        Headers(
            [("content-type", "text/plain"), ("content-length", "15"), ("x-role", "admin\xff")]
        ),
        "https",
        has_body=True,
    )
    assert mesh.connections[0].joins_fields


def test_a_denied_request_reaches_neither_the_application_nor_its_body() -> None:
    app, environ = App(), environ_of()

    served, mesh = serve(app, environ, mesh_of(deny_all))

    assert (served.status, served.body) == ("403 Forbidden", DENIED.body)
    assert app.environs == []
    assert cast("io.BytesIO", environ["wsgi.input"]).tell() == 0
    assert isinstance(mesh.ends[0], BodyEnd)


def test_the_applications_answer_passes_and_the_flow_learns_its_end() -> None:
    served, mesh = serve(App())

    assert (served.status, served.headers, served.body) == ("200 OK", [("X-App", "1")], b"hello")
    assert mesh.ends == [BodyEnd(5, 0)]


def test_what_a_client_says_of_its_certificate_never_passes() -> None:
    app = App()

    _, mesh = serve(app, environ_of(HTTP_X_FORWARDED_CLIENT_CERT="URI=spiffe://evil/x"))

    assert "x-forwarded-client-cert" not in mesh.requests[0].headers
    assert "HTTP_X_FORWARDED_CLIENT_CERT" not in app.environ


# THREATS H5: gunicorn takes them from headers of peers that it trusts.
@pytest.mark.parametrize(
    "moved", [{"SCRIPT_NAME": "/pay"}, {"HTTP_SCRIPT_NAME": "/x"}, {"HTTP_PATH_INFO": "/admin"}]
)
def test_a_path_that_a_header_has_moved_is_refused(moved: dict[str, object]) -> None:
    app = App()

    served, mesh = serve(app, {**environ_of(), **moved})

    assert served.status == "400 Bad Request"
    assert app.environs == []
    assert mesh.requests == []


def test_a_mount_that_the_process_was_told_of_is_judged_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SCRIPT_NAME", "/api")
    app = App()

    _, mesh = serve(app, environ_of("/api/pay", SCRIPT_NAME="/api"))

    assert mesh.requests[0].path == "/api/pay"
    assert (app.environ["SCRIPT_NAME"], app.environ["PATH_INFO"]) == ("/api", "/pay")


@dataclass(eq=False)
class _Rewriting(WsgiFakeMesh):
    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        headers = Headers([("x-a", "1"), ("x-a", "2"), ("content-type", "t")])
        changed = replace(request, authority="judged", method="PUT", headers=headers)
        answer = yield CallApp(replace(changed, path="/b%2f%20c?q=1"))
        assert isinstance(answer, Response)
        yield Deliver(answer)


def test_the_application_sees_the_request_that_was_judged_and_no_other_field() -> None:
    app = App()
    environ = environ_of(
        HTTP_X_GONE="1", CONTENT_LENGTH="3", REQUEST_URI="/pay", REMOTE_ADDR="192.0.2.1"
    )

    serve(app, environ, _Rewriting(Acceptor(permissive())))

    seen = {k: v for k, v in app.environ.items() if k.startswith(("HTTP_", "CONTENT_"))}
    assert seen == {"HTTP_X_A": "1,2", "CONTENT_TYPE": "t", "HTTP_HOST": "judged"}
    assert app.environ["REQUEST_METHOD"] == "PUT"
    assert app.environ["wsgi.url_scheme"] == "https"
    peer = MTLS.peer.physical
    assert (app.environ["REMOTE_ADDR"], app.environ["REMOTE_PORT"]) == (peer.host, str(peer.port))
    # P9: an escaped slash stays escaped, or the application would see a segment more.
    assert app.environ["PATH_INFO"] == "/b%2f c"
    assert app.environ["QUERY_STRING"] == "q=1"
    assert app.environ["RAW_URI"] == app.environ["REQUEST_URI"] == "/b%2f%20c?q=1"
    assert environ["PATH_INFO"] == "/pay"


def test_without_the_octets_an_ambiguous_path_is_refused() -> None:
    plain, odd = environ_of(), environ_of(PATH_INFO="/a%2fb")
    del plain["RAW_URI"], odd["RAW_URI"]

    _, mesh = serve(App(), plain)
    served, _ = serve(App(), odd)

    assert mesh.requests[0].path == "/pay"
    assert served.status == "400 Bad Request"


def test_handlers_know_who_calls_also_while_the_body_is_made() -> None:
    seen: list[object] = []

    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        for _ in range(2):
            seen.append(current_peer().spiffe_id)
            yield b"x"

    serve(app)

    assert list(map(str, seen)) == [ORDER_ID] * 2
    assert current_peer().spiffe_id is None
    assert current_jwt() is None


def test_without_a_mesh_socket_there_is_no_principal_whatever_the_environ_says() -> None:
    forged = environ_of(connection=None, SSL_CLIENT_S_DN="CN=admin", REMOTE_USER="admin")

    _, mesh = serve(App(), forged)

    [connection] = mesh.connections
    assert connection.peer.spiffe_id is None
    assert connection.transport_protocol == "raw_buffer"
    assert str(connection.peer.physical) == "10.0.0.9:4711"
    assert connection.local.port == 8080
    assert connection.joins_fields


class Accepted:
    """A socket of the server's own."""

    def getsockname(self) -> tuple[str, int]:
        return "10.0.0.1", 8081

    def getpeername(self) -> tuple[str, int]:
        return "10.0.0.7", 4712


def test_the_servers_socket_says_who_calls_and_no_header() -> None:
    """Servers that trust a proxy take REMOTE_ADDR from X-Forwarded-For."""
    forged = environ_of(connection=None, REMOTE_ADDR="127.0.0.1")
    forged["gunicorn.socket"] = Accepted()

    _, mesh = serve(App(), forged)

    [connection] = mesh.connections
    assert str(connection.peer.physical) == "10.0.0.7:4712"
    assert connection.local.port == 8081


def test_tls_of_the_servers_own_is_neither_plaintext_nor_a_principal() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours, theirs = socket.socketpair()
    with theirs, context.wrap_socket(ours, True, do_handshake_on_connect=False) as tls:
        environ = environ_of(connection=None)
        environ["gunicorn.socket"] = tls
        _, mesh = serve(App(), environ)

    [connection] = mesh.connections
    assert connection.transport_protocol == "tls"
    assert connection.peer.spiffe_id is None


def test_a_body_in_chunks_is_a_body() -> None:
    _, mesh = serve(App(), environ_of(HTTP_TRANSFER_ENCODING="chunked"))

    assert mesh.requests[0].has_body


@dataclass(eq=False)
class _Broken(WsgiFakeMesh):
    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        raise RuntimeError("no plan")


def test_a_mesh_that_fails_before_it_judges_refuses() -> None:
    app = App()

    served, _ = serve(app, mesh=_Broken(Acceptor(permissive())))

    assert served.status == "500 Internal Server Error"
    assert app.environs == []


def test_a_failing_check_refuses_and_the_application_does_not_run() -> None:
    def broken(_request: Request, _connection: Connection) -> LocalReply | None:
        raise RuntimeError("boom")

    app = App()

    served, _ = serve(app, mesh=mesh_of(broken))

    assert (served.status, served.body) == (
        "500 Internal Server Error",
        b"Internal Server Error",
    )
    assert app.environs == []


def test_a_guard_is_answered_403_whatever_the_framework_makes_of_it() -> None:
    @require(principal=ORDER_ID)
    def pay(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [b"paid"]

    def framework(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            return pay(environ, start_response)
        except Exception:
            start_response("500 Internal Server Error", [])
            return [b"Traceback"]

    for app in (pay, framework):
        allowed, _ = serve(app)
        denied, mesh = serve(app, environ_of(connection=PLAIN))

        assert (allowed.status, allowed.body) == ("200 OK", b"paid")
        assert (denied.status, denied.body) == ("403 Forbidden", b"RBAC: access denied")
        assert len(mesh.ends) == 1


@dataclass(eq=False)
class _Reading(WsgiFakeMesh):
    read: list[BodyRead] = field(default_factory=list[BodyRead])

    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        found = yield ReadBody(4)
        assert isinstance(found, BodyRead)
        self.read.append(found)
        answer = yield CallApp(request)
        assert isinstance(answer, Response)
        self.ends.append(cast("BodyEnd", (yield Deliver(answer))))


@pytest.mark.parametrize("how", ["read", "readline", "lines"])
def test_a_body_that_a_filter_has_read_comes_again(how: str) -> None:
    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        body = cast("io.BytesIO", environ["wsgi.input"])
        match how:
            case "read":
                return [body.read(2), body.read(5), body.read()]
            case "readline":
                return [body.readline(3), body.readline(), body.readline()]
            case _:
                return list(body)

    mesh = _Reading(Acceptor(permissive()))
    served, _ = serve(app, mesh=mesh)

    assert mesh.read == [BodyRead(b"0123", complete=False)]
    assert served.body == b"0123456789\nrest"
    assert mesh.ends == [BodyEnd(15, 15)]


def test_an_exception_of_the_application_passes_and_the_flow_ends() -> None:
    def app(_environ: Environ, _start_response: StartResponse) -> Iterable[bytes]:
        raise ValueError("mine")

    mesh = mesh_of()

    with pytest.raises(ValueError, match="mine"):
        serve(app, mesh=mesh)

    assert len(mesh.ends) == 1
    assert current_peer().spiffe_id is None


def test_an_answer_that_the_server_did_not_send_whole_is_told_so() -> None:
    served, mesh = Served(), mesh_of()
    iterable = MeshMiddleware(App(), mesh)(environ_of(), served.start_response)
    next(iter(iterable))

    cast("Callable[[], None]", getattr(iterable, "close"))()  # noqa: B009 - of an Iterable

    [end] = mesh.ends
    assert isinstance(end, BodyEnd)
    assert end.reset is not None


def test_the_legacy_write_sends_after_the_head() -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", [])
        write(b"by hand ")
        return [b"and not"]

    served, mesh = serve(app)

    assert (served.written, served.body) == ([b"by hand "], b"and not")
    assert mesh.ends == [BodyEnd(15, 0)]


def test_what_a_framework_writes_after_a_guards_refusal_is_not_sent() -> None:
    @require(principal="nobody")
    def pay() -> None:
        raise AssertionError

    def framework(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            pay()
        except Exception:
            write = start_response("500 Internal Server Error", [])
            write(b"Traceback")
            return [b"more of it"]
        return []

    served, mesh = serve(framework)

    assert served.status == "403 Forbidden"
    assert (served.written, served.body) == ([], b"RBAC: access denied")
    assert len(mesh.ends) == 1


@pytest.mark.parametrize("heads", [0, 2])
def test_an_application_that_breaks_the_protocol_is_told(heads: int) -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        for _ in range(heads):
            start_response("200 OK", [])
        return [b"x"]

    mesh = mesh_of()

    with pytest.raises(UsageError, match="start_response"):
        serve(app, mesh=mesh)

    assert len(mesh.ends) == 1


def test_an_error_after_the_head_is_the_servers_to_raise() -> None:
    def app(_environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        yield b"half"
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("500 Internal Server Error", [], sys.exc_info())
        yield b"never"

    class Strict(Served):
        def start_response(
            self, status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[[bytes], object]:
            if isinstance(exc_info, tuple):
                raise cast("ValueError", exc_info[1])
            return super().start_response(status, headers)

    iterable = iter(MeshMiddleware(app, mesh_of())(environ_of(), Strict().start_response))

    assert next(iterable) == b"half"
    with pytest.raises(ValueError, match="mine"):
        next(iterable)


def test_a_mesh_that_has_judged_is_not_asked_again() -> None:
    mesh, app = mesh_of(), App()

    serve(cast("WsgiApp", MeshMiddleware(app, mesh)), mesh=mesh)

    assert len(mesh.requests) == 1


def test_a_mesh_judges_what_another_has_judged() -> None:
    outer, inner, app = mesh_of(), mesh_of(deny_all), App()

    served, _ = serve(cast("WsgiApp", MeshMiddleware(app, inner)), mesh=outer)

    assert served.status == "403 Forbidden"
    assert app.environs == []


def test_a_process_waits_for_its_mesh_once() -> None:
    mesh, app = mesh_of(), App()
    middleware = MeshMiddleware(app, mesh, ready_timeout=3.0)

    for _ in range(2):
        iterable = middleware(environ_of(), Served().start_response)
        cast("Callable[[], None]", getattr(iterable, "close"))()  # noqa: B009 - of an Iterable

    assert (mesh.starts, mesh.waits) == (1, [3.0])
