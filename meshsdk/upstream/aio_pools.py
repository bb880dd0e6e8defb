"""Attempts of coroutines on one asyncio event loop, uvloop too."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial

from meshsdk.call.address_map import AddressMap
from meshsdk.call.effects import Mirror
from meshsdk.clock import Clock
from meshsdk.errors import MeshError
from meshsdk.upstream import steps
from meshsdk.upstream.aio_connection import AioConnection
from meshsdk.upstream.async_pools import AsyncPools
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.body_copy import CopyDropped, LoopCopy
from meshsdk.upstream.dialing import is_unix
from meshsdk.upstream.pool import HostPool
from meshsdk.upstream.sync_connection import set_options
from meshsdk.upstream.tls import ClientContexts

_BUFFER = 256 * 1024
"""Octets read at once: asyncio's own figure."""


class AioPools(AsyncPools[AioConnection]):
    """Pools of one event loop."""

    def __init__(
        self,
        tls: ClientContexts,
        addresses: AddressMap,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(tls, addresses, clock)
        self._loop = loop
        self._buffer = memoryview(bytearray(_BUFFER))
        self._shadows: set[asyncio.Task[None]] = set()

    # -- performing steps -------------------------------------------------------------------

    def _perform(self, step: steps.Step[AioConnection]) -> Awaitable[steps.Result[AioConnection]]:
        match step:
            case steps.Write(connection, data, timeout):
                return connection.write(data, timeout)
            case steps.Receive(connection, timeout):
                return connection.receive(timeout)
            case steps.Connect(pool, timeout):
                return self._connect(pool, timeout)
            case steps.Pull(body):
                return body.apull()
            case steps.Park(pool, timeout, first):
                return self._park(pool, timeout, first)

    async def _connect(self, pool: HostPool[AioConnection], within: float | None) -> AioConnection:
        connection = AioConnection(
            self._loop, self._buffer, self.layer(pool), self.lease(pool), self.http(pool)
        )
        address = self.addresses.dial(pool.address)
        try:
            async with asyncio.timeout(within):
                if is_unix(address):
                    await self._loop.create_unix_connection(lambda: connection, address.host)
                else:
                    await self._loop.create_connection(
                        lambda: connection, address.host, address.port
                    )
                    _set_options(connection, pool)
                await connection.open_layer()
        except BaseException:
            connection.close()
            raise
        self.opened(pool, connection)
        connection.on_lost = partial(pool.closed, connection.lease)
        return connection

    async def _park(self, pool: HostPool[AioConnection], within: float | None, first: bool) -> None:
        woken = self._loop.create_future()

        def wake() -> None:
            if woken.done():
                pool.wake_one()  # given up: the next one's turn
            else:
                woken.set_result(None)

        if first:
            pool.waiters.appendleft(wake)
        else:
            pool.waiters.append(wake)
        try:
            async with asyncio.timeout(within):
                await woken
        finally:
            woken.cancel()
            if wake in pool.waiters:
                pool.waiters.remove(wake)

    # -- shadow requests --------------------------------------------------------------------

    def mirror(self, mirror: Mirror, body: RequestBody) -> None:
        """Send a shadow request in a task of its own, which ends with the loop."""
        if body.exhausted:
            shadow = RequestBody(body.read_whole())
        else:
            copy = LoopCopy()
            body.copy_to(copy)
            shadow = RequestBody(async_source=aiter(copy))
        task = self._loop.create_task(self._quietly(mirror, shadow))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _quietly(self, mirror: Mirror, body: RequestBody) -> None:
        with suppress(MeshError, TimeoutError, CopyDropped):  # nobody is there to be told
            await self.shadow(mirror, body)

    # -- idle connections -------------------------------------------------------------------

    def made(self, pool: HostPool[AioConnection]) -> None:
        """See to it that connections do not outlive their idle timeout."""
        pool.on_idle = self._start_sweeping

    def _start_sweeping(self, pool: HostPool[AioConnection]) -> None:
        timeout = pool.cluster.http.idle_timeout
        if timeout is not None and not pool.sweeping:
            pool.sweeping = True
            self._loop.call_later(timeout, self._sweep, pool)

    def _sweep(self, pool: HostPool[AioConnection]) -> None:
        pool.sweeping = False
        now = self.clock.monotonic()
        while pool.idle and pool.idle[0].lease.idle_until <= now:
            pool.discard(pool.idle.popleft())
        if pool.idle:
            pool.sweeping = True
            self._loop.call_later(pool.idle[0].lease.idle_until - now, self._sweep, pool)


def _set_options(connection: AioConnection, pool: HostPool[AioConnection]) -> None:
    keepalive = pool.cluster.tcp_keepalive
    transport = connection.transport
    if keepalive is not None and transport is not None:
        set_options(transport.get_extra_info("socket"), keepalive)
