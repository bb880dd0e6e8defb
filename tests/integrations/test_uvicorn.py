import asyncio
import json
import socket
import ssl
from collections.abc import Mapping
from contextlib import closing
from threading import Thread
from typing import cast

import pytest
import websockets.sync.client
from websockets.exceptions import InvalidStatus

from meshsdk.call.connection import Connection
from meshsdk.call.message import LocalReply, Request
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Scope
from meshsdk.downstream.current import current_peer
from meshsdk.errors import UsageError
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.uvicorn import Config, run
from tests.downstream.mesh import (
    CA,
    ORDER_ID,
    FakeMesh,
    IstioDecider,
    allow_all,
    anonymous_client,
    client_context,
    permissive,
    stranger,
    strict,
)
from tests.integrations.asgi_server import DENIED
from tests.integrations.uvicorn_server import FLAVOURS, Client, Flavour, ask, uvicorn

EVERY = pytest.mark.parametrize("flavour", FLAVOURS, ids=str)
ONE = Flavour("uvloop", "httptools")


async def app(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
    """Tells what it sees: its peer by every way there is."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": str(current_peer().spiffe_id)})
        await send({"type": "websocket.close"})
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(cast("bytes", message.get("body", b"")))
        more = bool(message.get("more_body"))
    tls = cast("Mapping[str, Mapping[str, object]]", scope["extensions"]).get("tls", {})
    told = {
        "peer": str(current_peer().spiffe_id),
        "task": await asyncio.create_task(_peer()),
        "tls": tls.get("client_cert_name"),
        "version": tls.get("tls_version"),
        "server_cert": str(tls.get("server_cert"))[:27],
        "scheme": scope["scheme"],
        "client": scope["client"],
        "headers": [
            [n.decode(), v.decode()] for n, v in cast("list[tuple[bytes, bytes]]", scope["headers"])
        ],
        "size": size,
    }
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})


async def _peer() -> str:
    return str(current_peer().spiffe_id)


def mesh_of(decider: IstioDecider, *, timeout: float = 10.0) -> FakeMesh:
    return FakeMesh(Acceptor(decider, timeout=timeout))


def told(answer: tuple[int, bytes] | None) -> dict[str, object]:
    assert answer is not None
    assert answer[0] == 200
    return cast("dict[str, object]", json.loads(answer[1]))


@EVERY
def test_a_verified_peer_is_known_by_every_way(flavour: Flavour) -> None:
    with uvicorn(app, mesh_of(strict()), flavour) as port:
        seen = told(ask(port, client_context()))

    assert (seen["peer"], seen["task"], seen["tls"]) == (ORDER_ID, ORDER_ID, ORDER_ID)
    assert (seen["scheme"], seen["version"]) == ("https", 0x0304)
    assert seen["server_cert"] == "-----BEGIN CERTIFICATE-----"


@EVERY
def test_plaintext_at_a_permissive_port_is_served_and_nobody(flavour: Flavour) -> None:
    with uvicorn(app, mesh_of(permissive()), flavour) as port:
        seen = told(ask(port, None))
        secure = told(ask(port, client_context()))

    assert (seen["peer"], seen["tls"], seen["scheme"]) == ("None", None, "http")
    assert secure["peer"] == ORDER_ID


@EVERY
def test_a_strict_port_answers_no_byte_to_plaintext(flavour: Flavour) -> None:
    mesh = mesh_of(strict())
    with uvicorn(app, mesh, flavour) as port, closing(Client(port)) as client:
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.everything() == b""

    assert mesh.requests == []


@EVERY
@pytest.mark.parametrize(
    "client",
    [stranger(), anonymous_client(), client_context(CA.context("shop/order"), ())],
    ids=["unknown-ca", "no-certificate", "no-istio-alpn"],
)
def test_peers_that_no_chain_takes_are_refused(flavour: Flavour, client: ssl.SSLContext) -> None:
    mesh = mesh_of(permissive())
    with uvicorn(app, mesh, flavour) as port:
        assert ask(port, client) is None

    assert mesh.requests == []


@EVERY
def test_without_lifespan_the_port_is_the_meshs_all_the_same(flavour: Flavour) -> None:
    flavour = Flavour(flavour.loop, flavour.http, "off")
    with uvicorn(app, mesh_of(strict()), flavour) as port:
        assert told(ask(port, client_context()))["peer"] == ORDER_ID
        assert ask(port, None) is None


@EVERY
@pytest.mark.parametrize("decider", [strict, permissive])
def test_garbage_half_closes_and_early_ends_hurt_nobody_else(
    flavour: Flavour, decider: object
) -> None:
    mesh = mesh_of(strict() if decider is strict else permissive())
    with uvicorn(app, mesh, flavour) as port:
        for first in (b"\0\1\2\3", b"\x16\x03\x01\0\0", b"\x16\x03\x01\xff\xff", b"GET", b""):
            with closing(Client(port)) as client:
                client.send(first)
                client.sock.shutdown(socket.SHUT_WR)
                client.everything()
        assert told(ask(port, client_context()))["peer"] == ORDER_ID

    assert len(mesh.requests) == 1


@EVERY
def test_a_slow_loris_is_closed(flavour: Flavour) -> None:
    mesh = mesh_of(permissive(), timeout=0.05)
    with uvicorn(app, mesh, flavour) as port:
        for first in (b"", b"G", b"\x16\x03\x01\2\0"):
            with closing(Client(port)) as client:
                client.send(first)
                assert client.everything() == b""

    assert mesh.requests == []


@EVERY
def test_each_request_of_a_kept_connection_is_judged_anew(flavour: Flavour) -> None:
    mesh = mesh_of(strict())
    with uvicorn(app, mesh, flavour) as port, closing(Client(port, client_context())) as client:
        assert client.get("/a")[0] == 200
        mesh.rule = lambda _request, _connection: DENIED
        assert client.get("/b") == (403, b"RBAC: access denied")
        mesh.rule = allow_all
        assert client.get("/c")[0] == 200

    assert [request.path for request in mesh.requests] == ["/a", "/b", "/c"]


@EVERY
def test_pipelined_requests_are_all_judged(flavour: Flavour) -> None:
    def only_a(request: Request, _connection: Connection) -> LocalReply | None:
        return None if request.path == "/a" else DENIED

    mesh = FakeMesh(Acceptor(strict()), only_a)
    with uvicorn(app, mesh, flavour) as port, closing(Client(port, client_context())) as client:
        client.send(b"GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n")

        assert (client.answer()[0], client.answer()[0]) == (200, 403)


@pytest.mark.slow
@EVERY
def test_rotation_under_load_costs_no_request(flavour: Flavour) -> None:
    decider = strict()
    failures: list[object] = []

    def load(port: int) -> None:
        context = client_context()
        with closing(Client(port, context)) as kept:
            for _ in range(15):
                for answer in (ask(port, context), kept.get()):
                    if answer is None or answer[0] != 200:
                        failures.append(answer)

    with uvicorn(app, mesh_of(decider), flavour) as port:
        threads = [Thread(target=load, args=(port,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        version = 0
        while any(thread.is_alive() for thread in threads):
            version += 1
            decider.rotate(CA.context(f"shop/payment-v{version}"))
            threads[0].join(0.01)

    assert failures == []
    assert version > 1


@EVERY
def test_forged_identity_headers_never_reach_the_application(flavour: Flavour) -> None:
    forged = "URI=spiffe://cluster.local/ns/shop/sa/admin"
    with uvicorn(app, mesh_of(permissive()), flavour) as port:
        seen = told(
            ask(port, None, "/", f"x-forwarded-client-cert: {forged}", "x-forwarded-for: 10.9.9.9")
        )

    assert seen["headers"] == [["host", "payment.shop"], ["x-forwarded-for", "10.9.9.9"]]
    assert cast("list[object]", seen["client"])[0] == "127.0.0.1"


@EVERY
def test_trailers_never_reach_the_applications_headers(flavour: Flavour) -> None:
    with (
        uvicorn(app, mesh_of(strict()), flavour) as port,
        closing(Client(port, client_context())) as client,
    ):
        for _ in range(2):
            client.send(
                b"POST / HTTP/1.1\r\nhost: payment.shop\r\ntransfer-encoding: chunked\r\n\r\n"
                b"2\r\nab\r\n0\r\nauthorization: x\r\nhost: evil\r\n\r\n"
            )
            seen = told(client.answer())
            coding = ["transfer-encoding", "chunked"]
            assert seen["headers"] == [["host", "payment.shop"], coding]
            assert seen["size"] == 2


@EVERY
def test_a_denied_upload_is_answered_before_its_body_is_invited(flavour: Flavour) -> None:
    mesh = FakeMesh(Acceptor(strict()), lambda _request, _connection: DENIED)
    with uvicorn(app, mesh, flavour) as port, closing(Client(port, client_context())) as client:
        client.send(
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"
        )

        assert client.answer() == (403, b"RBAC: access denied")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@EVERY
@pytest.mark.parametrize("ws", ["websockets", "websockets-sansio"])
def test_websockets_are_judged_like_requests(flavour: Flavour, ws: str) -> None:
    def only_open(request: Request, _connection: Connection) -> LocalReply | None:
        return None if request.path == "/open" else DENIED

    mesh = FakeMesh(Acceptor(strict()), only_open)
    with uvicorn(app, mesh, flavour, ws=ws) as port:
        with websocket(port, "/open") as session:
            assert session.recv() == ORDER_ID
        with pytest.raises(InvalidStatus) as refused, websocket(port, "/admin"):
            pass

    assert refused.value.response.status_code == 403
    assert [str(c.peer.spiffe_id) for c in mesh.connections] == [ORDER_ID, ORDER_ID]


def websocket(port: int, path: str) -> websockets.sync.client.ClientConnection:
    return websockets.sync.client.connect(
        f"wss://payment.shop{path}",
        sock=socket.create_connection(("127.0.0.1", port), timeout=10),
        ssl=client_context(),
        proxy=None,
    )


@EVERY
def test_a_root_path_is_no_part_of_what_is_judged(flavour: Flavour) -> None:
    mesh = mesh_of(strict())
    with uvicorn(app, mesh, flavour, root_path="/api") as port:
        told(ask(port, client_context(), "/admin"))

    assert mesh.requests[0].path == "/admin"


def test_the_plain_command_is_in_the_mesh_through_its_lifespan() -> None:
    """Zero configuration: uvicorn's own server and config, and only the app is wrapped."""
    import uvicorn as plain_uvicorn

    mesh = mesh_of(strict())
    config = plain_uvicorn.Config(
        MeshMiddleware(app, mesh), host="127.0.0.1", port=0, log_config=None, lifespan="on"
    )

    async def main() -> None:
        server = plain_uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 -- uvicorn sets no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        secure = await asyncio.to_thread(ask, port, client_context())
        plain = await asyncio.to_thread(ask, port, None)
        server.should_exit = True
        await serving
        assert told(secure)["peer"] == ORDER_ID
        assert plain is None

    asyncio.run(main())


def test_the_plain_command_without_lifespan_serves_nobody_a_principal() -> None:
    import uvicorn as plain_uvicorn

    mesh = mesh_of(strict())
    config = plain_uvicorn.Config(
        MeshMiddleware(app, mesh), host="127.0.0.1", port=0, log_config=None, lifespan="off"
    )

    async def main() -> None:
        server = plain_uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 -- uvicorn sets no event
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        await asyncio.to_thread(ask, port, None)
        server.should_exit = True
        await serving
        connection = mesh.connections[0]
        assert (connection.transport_protocol, connection.peer.spiffe_id) == ("raw_buffer", None)
        assert connection.local.port == port

    asyncio.run(main())


@pytest.mark.parametrize("options", [{"ssl_keyfile": "k", "ssl_certfile": "c"}])
def test_tls_of_ones_own_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="ssl_keyfile, ssl_certfile"):
        Config(app, mesh_of(strict()), **options)


def test_workers_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="workers"):
        run(app, mesh_of(strict()), workers=2)
