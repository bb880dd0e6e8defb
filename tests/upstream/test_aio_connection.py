"""A connection's waits, driven by hand on the loops that it runs on."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from meshsdk.upstream.aio_connection import AioConnection
from meshsdk.upstream.connection import Lease
from meshsdk.upstream.http1 import Http1


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
