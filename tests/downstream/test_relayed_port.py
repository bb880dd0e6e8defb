"""A port of ours in front of a private socket: who gets through, and until when."""

import os
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import pytest

from meshsdk.clock import Clock, SystemClock
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.relayed_port import RelayedPort, bound_socket
from tests.downstream.mesh import ORDER_ID, client_context, permissive

CLOCK = SystemClock()
PATIENCE = 10.0
REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Ahead(SystemClock):
    """The wall clock is ahead: certificates end soon."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return super().time() + self._seconds


@contextmanager
def opened(clock: Clock = CLOCK) -> Generator[RelayedPort]:
    port = RelayedPort(bound_socket("127.0.0.1", 0), Acceptor(permissive()), clock)
    try:
        yield port
    finally:
        port.close()


@contextmanager
def echoing(port: RelayedPort, names: list[str]) -> Generator[None]:
    """A server behind it, which notes what it takes its peers for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(port.inner_path)
    listener.listen()

    def serve(sock: socket.socket) -> None:
        with suppress(OSError), sock:
            while data := sock.recv(4096):
                sock.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, name = listener.accept()
                names.append(f"unix:{name}")
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@contextmanager
def dialled(port: RelayedPort, *, tls: bool = False) -> Generator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port.port), PATIENCE) as plain:
        if not tls:
            yield plain
            return
        with client_context().wrap_socket(plain, server_hostname="a.test") as secure:
            yield secure


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def wait_until_empty(port: RelayedPort) -> None:
    waiting, ends = Event(), CLOCK.monotonic() + PATIENCE
    while port.connections:
        assert CLOCK.monotonic() < ends
        waiting.wait(0.01)


@pytest.mark.parametrize(("tls", "who"), [(True, ORDER_ID), (False, "None")])
def test_the_server_is_told_whom_a_connection_belongs_to(tls: bool, who: str) -> None:
    names: list[str] = []
    with opened() as port, echoing(port, names):
        with dialled(port, tls=tls) as sock:
            sock.sendall(REQUEST)
            assert sock.recv(4)
            connection = port.connection(names[0])
        assert connection is not None
        assert str(connection.peer.spiffe_id) == who
        assert port.connection("unix:elsewhere") is None

        wait_until_empty(port)
        assert port.connection(names[0]) is None


def test_a_connection_ends_with_its_certificate() -> None:
    """THREATS T9."""
    names: list[str] = []
    with (
        opened(Ahead(3600.0 - 0.05)) as port,
        echoing(port, names),
        dialled(port, tls=True) as sock,
    ):
        assert ended(sock)
        wait_until_empty(port)

    assert len(names) == 1


def test_a_silent_peer_holds_up_nobody() -> None:
    with opened() as port, echoing(port, []), dialled(port), dialled(port) as sock:
        sock.sendall(REQUEST)
        assert sock.recv(4)


def test_a_connection_that_nobody_takes_is_closed() -> None:
    with opened() as port, dialled(port) as sock:
        sock.sendall(REQUEST)

        assert ended(sock)
        assert port.connections == 0
        assert not port.is_closed  # its server may still come


def test_nobody_else_reaches_the_server() -> None:
    with opened() as port:
        directory = Path(port.inner_path).parent
        mode = os.stat(directory).st_mode & 0o777

    assert mode == 0o700
    assert not directory.exists()
