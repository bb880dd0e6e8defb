import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import cast

import pytest

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.connection import Connection
from meshsdk.downstream.acceptor import Acceptor, Judged
from meshsdk.downstream.decision import Tls
from meshsdk.downstream.server_context import MeshServerContext
from meshsdk.downstream.sockets import PlainSocket
from meshsdk.testing.clock import FakeClock
from tests.downstream.mesh import (
    ORDER_ID,
    anonymous_client,
    client_context,
    permissive,
    stranger,
    strict,
)

GET = b"GET / HTTP/1.1\r\n\r\n"


@contextmanager
def connected() -> Generator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        accepted, _ = listener.accept()
    with client, accepted:
        yield client, accepted


@contextmanager
def meanwhile(step: Callable[[], object]) -> Generator[None]:
    thread = Thread(target=step)
    thread.start()
    yield
    thread.join(10)
    assert not thread.is_alive()


def facts(sock: ssl.SSLSocket) -> Connection:
    return cast("Connection", getattr(sock, "mesh_connection"))  # noqa: B009 -- unknown to ssl


def test_the_peers_identity_is_known_when_the_socket_is_given() -> None:
    context = MeshServerContext(Acceptor(strict()))
    with connected() as (client, accepted):

        def call() -> None:
            with client_context().wrap_socket(client, server_hostname="a.test") as tls:
                tls.sendall(b"hello")
                tls.recv(1)

        with meanwhile(call), context.wrap_socket(accepted, server_side=True) as server:
            assert server.recv(5) == b"hello"
            assert str(facts(server).peer.spiffe_id) == ORDER_ID
            assert facts(server).peer.physical.host == "127.0.0.1"
            assert facts(server).local.port == server.getsockname()[1]


def test_a_plaintext_peer_is_given_as_a_socket_that_servers_can_use() -> None:
    context = MeshServerContext(Acceptor(permissive()))
    with connected() as (client, accepted):
        client.sendall(GET)

        with context.wrap_socket(accepted, server_side=True) as server:
            server.do_handshake()

            assert isinstance(server, PlainSocket)
            assert server.recv(100) == GET
            assert not server.mesh_connection.is_mtls


def test_first_bytes_in_pieces_are_waited_for() -> None:
    with connected() as (client, accepted):

        class Nudging(Acceptor):
            """Lets the next piece come when the last one was not enough."""

            def judge(self, data: bytes, local: Address, peer: Address = UNKNOWN) -> Judged | None:
                judged = super().judge(data, local, peer)
                if judged is None:
                    client.sendall(GET[len(data) : len(data) + 1])
                return judged

        client.sendall(GET[:1])

        with MeshServerContext(Nudging(permissive())).wrap_socket(accepted) as server:
            line = GET[: GET.index(b"\n") + 1]
            assert server.recv(100) == line


def test_a_peer_that_drips_is_closed_when_its_time_is_over() -> None:
    """Each octet in time is not enough: all of the first ones must come within it."""
    clock = FakeClock()
    with connected() as (client, accepted):

        class Dripping(Acceptor):
            def judge(self, data: bytes, local: Address, peer: Address = UNKNOWN) -> Judged | None:
                judged = super().judge(data, local, peer)
                clock.advance(6.0)
                client.sendall(GET[len(data) : len(data) + 1])
                return judged

        client.sendall(GET[:1])

        with pytest.raises(TimeoutError):
            MeshServerContext(Dripping(permissive(), clock=clock)).wrap_socket(accepted)


def test_plaintext_at_a_strict_port_is_closed_and_nothing_is_answered() -> None:
    context = MeshServerContext(Acceptor(strict()))
    with connected() as (client, accepted):
        client.sendall(GET)

        with pytest.raises(ConnectionResetError, match="plaintext at a STRICT port"):
            context.wrap_socket(accepted, server_side=True)

        with pytest.raises(ConnectionResetError):
            client.recv(1)


@pytest.mark.parametrize("client_tls", [stranger(), anonymous_client()], ids=["stranger", "none"])
def test_a_refused_handshake_raises_even_where_the_caller_wants_it_later(
    client_tls: ssl.SSLContext,
) -> None:
    context = MeshServerContext(Acceptor(strict()))
    with connected() as (client, accepted):

        def call() -> None:
            with suppress(OSError), client_tls.wrap_socket(client, server_hostname="a.test") as tls:
                assert tls.recv(1) == b""

        with meanwhile(call), pytest.raises(ssl.SSLError):
            context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)


@pytest.mark.parametrize(
    "first", [b"", b"\x16\x03\x01", b"GET / HT"], ids=["silent", "tls", "http"]
)
def test_a_slow_peer_is_closed(first: bytes) -> None:
    context = MeshServerContext(Acceptor(permissive(), timeout=0.05))
    with connected() as (client, accepted):
        client.sendall(first)

        with pytest.raises(TimeoutError):
            context.wrap_socket(accepted, server_side=True)


@pytest.mark.parametrize("first", [b"", b"GET / HT"], ids=["silent", "http"])
def test_a_peer_that_ends_early_is_closed_at_once(first: bytes) -> None:
    context = MeshServerContext(Acceptor(permissive()))
    with connected() as (client, accepted):
        client.sendall(first)
        client.shutdown(socket.SHUT_WR)

        with pytest.raises(ConnectionResetError):
            context.wrap_socket(accepted, server_side=True)


def test_a_silent_peer_cannot_stop_in_the_middle_of_a_handshake() -> None:
    decider = strict()
    context = MeshServerContext(Acceptor(decider, timeout=0.1))
    bio = ssl.MemoryBIO()
    hello = client_context().wrap_bio(ssl.MemoryBIO(), bio, server_hostname="a.test")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with connected() as (client, accepted):
        client.sendall(bio.read())

        with pytest.raises(TimeoutError):
            context.wrap_socket(accepted, server_side=True)
        assert isinstance(decider.decide(decider.asked[0]), Tls)


def test_the_timeout_of_the_socket_stays_what_it_was() -> None:
    with connected() as (client, accepted):
        client.sendall(GET)
        accepted.settimeout(7.0)

        with MeshServerContext(Acceptor(permissive())).wrap_socket(accepted) as server:
            assert server.gettimeout() == 7.0


def test_a_listening_socket_accepts_judged_connections_and_survives_refusals() -> None:
    context = MeshServerContext(Acceptor(strict()))
    with context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
        with socket.create_connection(listener.getsockname()) as plain:
            plain.sendall(GET)
            with pytest.raises(ConnectionAbortedError):
                listener.accept()

        client = socket.create_connection(listener.getsockname(), timeout=10)

        def call() -> None:
            with client_context().wrap_socket(client, server_hostname="a.test") as tls:
                tls.recv(1)

        with meanwhile(call):
            server, _ = listener.accept()
            with server:
                assert isinstance(server, ssl.SSLSocket)
                assert str(facts(server).peer.spiffe_id) == ORDER_ID
