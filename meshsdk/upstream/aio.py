"""Attempts of coroutines, wherever they run: pools for each event loop."""

import asyncio
import weakref
from typing import cast

from anyio.lowlevel import RunVar

from meshsdk.call.address_map import AddressMap
from meshsdk.clock import Clock
from meshsdk.upstream.aio_pools import AioPools
from meshsdk.upstream.anyio_pools import AnyioPools
from meshsdk.upstream.async_pools import AsyncPools
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.tls import ClientContexts

AnyPools = AsyncPools[Connection]
"""Pools of either kind, for callers that never look at a connection."""


class AsyncUpstream:
    """Made once per mesh and process; opens nothing by itself."""

    def __init__(self, tls: ClientContexts, addresses: AddressMap, clock: Clock) -> None:
        self._tls = tls
        self._addresses = addresses
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """In a forked child: forget the parent's connections without touching them."""
        self._by_loop: dict[asyncio.AbstractEventLoop, AioPools] = {}
        self._of_run: RunVar[AnyioPools] = RunVar("meshsdk.upstream")
        self._of_runs: weakref.WeakSet[AnyioPools] = weakref.WeakSet()

    def here(self) -> AnyPools:
        """The pools of the running event loop; under trio those of the running `trio.run`."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return cast("AnyPools", self._here_in_trio())
        found = self._by_loop.get(loop)
        if found is None:
            for other in [other for other in list(self._by_loop) if other.is_closed()]:
                self._by_loop.pop(other, None)  # each thread has a loop of its own
            found = AioPools(self._tls, self._addresses, self._clock, loop)
            self._by_loop[loop] = found
        return cast("AnyPools", found)

    def _here_in_trio(self) -> AnyioPools:
        try:
            return self._of_run.get()
        except LookupError:
            found = AnyioPools(self._tls, self._addresses, self._clock)
            self._of_run.set(found)
            self._of_runs.add(found)
            return found

    @property
    def loops(self) -> int:
        """Event loops of asyncio that have pools."""
        return len(self._by_loop)

    def close(self) -> None:
        """Close idle connections; those in use end with their calls. Any thread."""
        for loop, pools in list(self._by_loop.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(pools.close_idle)
        for of_run in list(self._of_runs):
            of_run.close_idle()
