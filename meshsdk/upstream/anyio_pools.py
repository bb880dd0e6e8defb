"""Attempts of coroutines on an event loop that is not asyncio's (trio)."""

import anyio

from meshsdk.call.effects import Mirror
from meshsdk.upstream import steps
from meshsdk.upstream.anyio_connection import AnyioConnection, open_stream
from meshsdk.upstream.async_pools import AsyncPools
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.pool import HostPool
from meshsdk.upstream.sync import SyncUpstream
from meshsdk.upstream.sync_connection import set_options


class AnyioPools(AsyncPools[AnyioConnection]):
    """Pools of one `trio.run`."""

    def reset(self) -> None:
        """As `Pools.reset`."""
        super().reset()
        self._shadows = SyncUpstream(self.tls, self.addresses, self.clock)

    def mirror(self, mirror: Mirror, body: RequestBody) -> None:
        """On a thread: a task under trio needs a nursery, and the caller's would wait for it."""
        self._shadows.mirror(mirror, body)

    # -- performing steps -------------------------------------------------------------------

    async def _perform(self, step: steps.Step[AnyioConnection]) -> steps.Result[AnyioConnection]:
        match step:
            case steps.Write(connection, data, timeout, watch):
                await connection.write(data, timeout, watch=watch)
            case steps.Receive(connection, timeout):
                await connection.receive(timeout)
            case steps.Connect(pool, timeout):
                return await self._connect(pool, timeout)
            case steps.Pull(body):
                return await body.apull()
            case steps.Park(pool, timeout, first):
                await _park(pool, timeout, first)
        return None

    async def _connect(
        self, pool: HostPool[AnyioConnection], within: float | None
    ) -> AnyioConnection:
        layer, lease = self.layer(pool), self.lease(pool)
        address = self.addresses.dial(pool.address)
        with anyio.fail_after(within):
            stream = await open_stream(address.host, address.port)
            connection = AnyioConnection(stream, lease, self.http(pool))
            try:
                if address.port:
                    set_options(connection.socket, pool.cluster.tcp_keepalive)
                if layer is not None:
                    await connection.handshake(layer)
            except BaseException:
                connection.close()
                raise
        self.opened(pool, connection)
        return connection


async def _park(pool: HostPool[AnyioConnection], within: float | None, first: bool) -> None:
    woken = anyio.Event()
    if first:
        pool.waiters.appendleft(woken.set)
    else:
        pool.waiters.append(woken.set)
    try:
        with anyio.fail_after(within):
            await woken.wait()
    finally:
        if woken.set in pool.waiters:
            pool.waiters.remove(woken.set)
