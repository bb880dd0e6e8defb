"""A connection's waits, driven by hand on the loops that it runs on."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from hyperframe.frame import PingFrame, SettingsFrame

from meshsdk.upstream.aio_connection import AioConnection
from meshsdk.upstream.connection import Lease
from meshsdk.upstream.http1 import HIGH_WATER, Http1
from meshsdk.upstream.http2 import Http2


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_wait_that_was_given_up_leaves_a_timer_for_the_next(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        connection = AioConnection(loop, memoryview(bytearray(16)), None, Lease(0), Http1())
        for left in (-1.0, 0.0, 5.0):
            given_up = connection.receive(left)
            given_up.send(None)
            given_up.close()
            before = loop.time()
            with pytest.raises(TimeoutError):
                await connection.receive(0.01)
            assert 0.009 <= loop.time() - before < 1.0
        with pytest.raises(TimeoutError):
            await connection.receive(-1.0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


class Socket(asyncio.Transport):
    """Takes everything, and counts it."""

    sent = 0
    is_aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += len(data)

    def abort(self) -> None:
        self.is_aborted = True


def feed(connection: AioConnection, data: bytes) -> None:
    connection.get_buffer(-1)[: len(data)] = data
    connection.buffer_updated(len(data))


async def pinged(times: int, *, reads: bool) -> tuple[AioConnection, Socket]:
    """An idle HTTP/2 connection whose peer sent 100 pings, that many times."""
    loop, socket = asyncio.get_running_loop(), Socket()
    connection = AioConnection(loop, memoryview(bytearray(2048)), None, Lease(0), Http2())
    connection.connection_made(socket)
    feed(connection, SettingsFrame(0).serialize())
    for _ in range(times):
        connection.pause_writing()
        if reads:
            connection.resume_writing()
        if not socket.is_aborted:
            feed(connection, PingFrame(0, b"12345678").serialize() * 100)
    return connection, socket


def test_a_peer_that_pings_and_reads_nothing_is_left() -> None:
    """The answers would fill the memory."""
    connection, socket = asyncio.run(pinged(100, reads=False))
    other, reading = asyncio.run(pinged(100, reads=True))

    assert socket.is_aborted
    assert socket.sent < HIGH_WATER + 4096
    assert not connection.is_alive()
    assert not reading.is_aborted
    assert reading.sent > 100 * 100 * 17
    assert other.is_alive()
