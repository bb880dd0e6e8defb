"""What performs side calls, for blocking and for awaiting callers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from meshsdk.call.effects import Fetch, Fetched, Reply, SideCall
from meshsdk.call.message import Reset, ResetReason
from meshsdk.flow.plan import Plan
from meshsdk.runtime.background import Background
from meshsdk.upstream.aio import AsyncUpstream
from meshsdk.upstream.fetch import fetched
from meshsdk.upstream.grpc_fetch import answer_of, request_of
from meshsdk.upstream.sync import SyncUpstream

_ASIDE: Final = 8
"""Threads at once for calls that nobody waits for."""


class MeshFetcher:
    """One for a mesh and process. Each side call takes the newest plan."""

    def __init__(
        self,
        plan: Callable[[], Plan | None],
        sync_upstream: SyncUpstream,
        async_upstream: AsyncUpstream,
    ) -> None:
        self._plan = plan
        self._sync = sync_upstream
        self._async = async_upstream
        self._background = Background(_ASIDE)

    def fetch(self, effect: SideCall) -> Reply:
        """On this thread: `Fetched`, `GrpcFetched`, or a `Reset` that says why there is neither.

        None where nobody waits (`Fetch.done`).
        """
        pools, plan = self._sync, self._plan()
        if isinstance(effect, Fetch):
            if effect.done is not None:
                self._aside(effect, effect.done)
                return None
            return pools.run(fetched(pools, plan, effect))
        request = request_of(effect)
        return answer_of(effect, pools.run(fetched(pools, plan, request, is_grpc=True)))

    async def afetch(self, effect: SideCall) -> Reply:
        """As `fetch`, in this task and on its event loop."""
        pools, plan = self._async.here(), self._plan()
        if isinstance(effect, Fetch):
            if effect.done is not None:
                self._aside(effect, effect.done)
                return None
            return await pools.run(fetched(pools, plan, effect))
        request = request_of(effect)
        return answer_of(effect, await pools.run(fetched(pools, plan, request, is_grpc=True)))

    def _aside(self, effect: Fetch, done: Callable[[Fetched | Reset], None]) -> None:
        waited_for = replace(effect, done=None)

        def work() -> None:
            done(self._sync.run(fetched(self._sync, self._plan(), waited_for)))

        if not self._background.run(work):
            done(Reset(ResetReason.OVERFLOW, request_sent=False))
