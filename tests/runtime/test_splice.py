"""What the splicer does where it cannot go on as usual; octets: tests/upstream/test_endpoint_transports.py."""

import errno
import socket
from collections.abc import Generator
from contextlib import ExitStack
from threading import Event

import pytest

from meshsdk.runtime.splice import Splicer
from meshsdk.testing.clock import FakeClock

PATIENCE = 10.0


class Starved(socket.socket):
    """A listener for which there is no descriptor, until there is one."""

    tries = 0
    has_room = False

    def accept(self) -> "tuple[socket.socket, object]":
        self.tries += 1
        if not self.has_room:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def splicer(clock: FakeClock) -> Generator[Splicer]:
    found = Splicer(clock)
    yield found
    found.close()


def test_a_listener_that_cannot_accept_is_left_alone_for_a_while(
    splicer: Splicer, clock: FakeClock
) -> None:
    accepted: list[socket.socket] = []
    came = Event()

    def on_accept(sock: socket.socket) -> None:
        accepted.append(sock)
        came.set()

    with ExitStack() as stack:
        listener = Starved(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        splicer.listen(listener, on_accept)
        stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE))
        near, left = socket.socketpair()
        right, far = socket.socketpair()
        stack.enter_context(near)
        stack.enter_context(far)
        near.settimeout(PATIENCE)
        far.settimeout(PATIENCE)
        splicer.join(left, right)
        for _ in range(20):  # rounds of its thread
            near.sendall(b"x")
            assert far.recv(1) == b"x"
        assert listener.tries == 1

        listener.has_room = True
        clock.advance(1.0)
        near.sendall(b"x")  # it looks at the clock again
        assert came.wait(PATIENCE)
        accepted[0].close()


def test_what_is_joined_too_late_is_closed(splicer: Splicer) -> None:
    near, left = socket.socketpair()
    right, far = socket.socketpair()
    ends: list[int] = []
    splicer.close()

    link = splicer.join(left, right, on_end=lambda: ends.append(1))

    with near, far:
        assert near.recv(1) == b""
        assert far.recv(1) == b""
    assert link.is_over()
    assert ends == [1]


def test_a_listener_that_comes_too_late_is_closed(splicer: Splicer) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    splicer.close()

    splicer.listen(listener, lambda sock: sock.close())

    assert listener.fileno() == -1
