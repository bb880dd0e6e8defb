import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from typing import cast

import pytest
import trio
import uvloop

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.decision import RefusedConnectionError
from meshsdk.downstream.server_context import MeshServerContext, SniffingObject
from meshsdk.testing._handshake import Handshake, shake
from tests.downstream.mesh import (
    CA,
    ISTIO_ALPN,
    ORDER_ID,
    PAYMENT_ID,
    IstioDecider,
    anonymous_client,
    client_context,
    permissive,
    stranger,
    strict,
)

LOCAL = Address("10.0.0.1", 8080)
GET = b"GET / HTTP/1.1\r\n\r\n"

Run = Callable[[Coroutine[object, object, None]], None]
LOOPS = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


def context(decider: IstioDecider, local: Address | None = LOCAL) -> MeshServerContext:
    return MeshServerContext(Acceptor(decider), local=local)


def facts(handshake: Handshake) -> Connection:
    assert isinstance(handshake.server, SniffingObject)
    found = handshake.server.mesh_connection
    assert found is not None
    return found


def plaintext(decider: IstioDecider, data: bytes) -> tuple[ssl.SSLObject, ssl.MemoryBIO]:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    return context(decider).wrap_bio(incoming, outgoing, server_side=True), outgoing


def test_the_peers_verified_identity_is_among_the_facts() -> None:
    handshake = shake(client_context(), context(strict()))

    found = facts(handshake)
    assert handshake.succeeded
    assert str(found.peer.spiffe_id) == ORDER_ID
    assert found.is_mtls
    assert (found.local, found.transport_protocol) == (LOCAL, "tls")
    assert (found.server_name, found.application_protocols) == ("reviews.default", ISTIO_ALPN)
    assert (found.tls_version, found.selected_alpn) == ("TLSv1.3", "http/1.1")
    assert found.local_uri_sans == (PAYMENT_ID,)


@pytest.mark.parametrize("client", [stranger(), anonymous_client()], ids=["stranger", "anonymous"])
def test_a_peer_without_a_certificate_of_ours_has_no_facts(client: ssl.SSLContext) -> None:
    handshake = shake(client, context(strict()))

    assert isinstance(handshake.server, SniffingObject)
    assert isinstance(handshake.server_error, ssl.SSLError)
    assert handshake.server.mesh_connection is None
    with pytest.raises(ssl.SSLError):
        handshake.server.read(10)


def test_plaintext_passes_where_it_is_permitted_and_is_nobody() -> None:
    server, outgoing = plaintext(permissive(), GET)

    server.do_handshake()

    assert isinstance(server, SniffingObject)
    assert server.mesh_connection is not None
    assert not server.mesh_connection.is_mtls
    assert (server.read(3), server.read(100)) == (b"GET", GET[3:])
    with pytest.raises(ssl.SSLWantReadError):
        server.read(100)
    assert server.write(b"HTTP/1.1 200 OK\r\n\r\n") == 19
    assert outgoing.read() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert (server.version(), server.getpeercert(), server.pending()) == (None, None, 0)


def test_plaintext_is_read_into_a_buffer_as_ssl_does() -> None:
    server, _ = plaintext(permissive(), GET)
    server.do_handshake()
    buffer = bytearray(5)

    count: object = server.read(100, buffer)

    assert count == len(buffer)
    assert bytes(buffer) == GET[:5]


def test_plaintext_at_a_strict_port_is_refused_again_and_again() -> None:
    server, outgoing = plaintext(strict(), GET)

    for step in (server.do_handshake, server.do_handshake, lambda: server.read(10)):
        with pytest.raises(RefusedConnectionError):
            step()
    with pytest.raises(RefusedConnectionError):
        server.write(b"x")
    assert outgoing.read() == b""


def test_reading_without_a_handshake_does_not_walk_past_the_decision() -> None:
    server, _ = plaintext(strict(), GET)

    with pytest.raises(RefusedConnectionError):
        server.read(10)


def test_the_offered_protocols_choose_the_chain_of_a_permissive_port() -> None:
    ordinary = shake(client_context(alpn=("http/1.1",)), context(permissive()))
    istio = shake(client_context(), context(permissive()))

    assert isinstance(ordinary.server_error, RefusedConnectionError)
    assert istio.succeeded


def test_each_connection_gets_the_newest_certificate() -> None:
    decider = strict()
    server = context(decider)
    first = shake(client_context(), server)
    decider.rotate(CA.context("shop/payment-v2"))

    second = shake(client_context(), server)

    assert facts(first).local_uri_sans == (PAYMENT_ID,)
    assert facts(second).local_uri_sans == (f"{PAYMENT_ID}-v2",)


def test_without_an_address_no_event_loop_can_use_it() -> None:
    with pytest.raises(RefusedConnectionError, match="local="):
        context(strict(), None).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)


def ask(port: int, client: ssl.SSLContext | None) -> bytes:
    """What a blocking client reads until the end; empty where it was refused."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        try:
            stream = sock if client is None else client.wrap_socket(sock, server_hostname="a.test")
            stream.sendall(GET)
            return stream.recv(100)
        except OSError:
            return b""


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none

    def data_received(self, data: bytes) -> None:
        tls = self.transport.get_extra_info("ssl_object")
        found: Connection = tls.mesh_connection
        self.transport.write(str(found.peer.spiffe_id).encode())
        self.transport.close()


@LOOPS
def test_event_loops_serve_both_kinds_on_one_port(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await loop.create_server(
            Echo, "127.0.0.1", 0, ssl=context(permissive())
        ) as server:
            port = server.sockets[0].getsockname()[1]
            secure = await asyncio.to_thread(ask, port, client_context())
            plain = await asyncio.to_thread(ask, port, None)
            other = await asyncio.to_thread(ask, port, client_context(alpn=("http/1.1",)))
        assert (secure, plain, other) == (ORDER_ID.encode(), b"None", b"")

    run(main())


def test_trio_serves_both_kinds_on_one_port() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        tls = trio.SSLStream(stream, context(permissive()), server_side=True)
        await tls.do_handshake()
        await tls.receive_some(100)
        # trio forwards the names that it knows, and this is none of them.
        found: Connection = getattr(tls, "_ssl_object").mesh_connection  # noqa: B009
        await tls.send_all(str(found.peer.spiffe_id).encode())
        await tls.aclose()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            port = listeners[0].socket.getsockname()[1]
            secure = await trio.to_thread.run_sync(ask, port, client_context())
            plain = await trio.to_thread.run_sync(ask, port, None)
            nursery.cancel_scope.cancel()
        assert (secure, plain) == (ORDER_ID.encode(), b"None")

    trio.run(main)
