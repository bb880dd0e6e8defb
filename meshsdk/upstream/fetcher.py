"""What performs side calls, for blocking and for awaiting callers."""

from collections.abc import Callable

from meshsdk.call.effects import Fetch, Reply, SideCall
from meshsdk.flow.plan import Plan
from meshsdk.upstream.aio import AsyncUpstream
from meshsdk.upstream.fetch import fetched
from meshsdk.upstream.grpc_fetch import answer_of, request_of
from meshsdk.upstream.sync import SyncUpstream


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

    def fetch(self, effect: SideCall) -> Reply:
        """On this thread: `Fetched`, `GrpcFetched`, or a `Reset` that says why there is neither."""
        pools, plan = self._sync, self._plan()
        if isinstance(effect, Fetch):
            return pools.run(fetched(pools, plan, effect))
        request = request_of(effect)
        return answer_of(effect, pools.run(fetched(pools, plan, request, is_grpc=True)))

    async def afetch(self, effect: SideCall) -> Reply:
        """As `fetch`, in this task and on its event loop."""
        pools, plan = self._async.here(), self._plan()
        if isinstance(effect, Fetch):
            return await pools.run(fetched(pools, plan, effect))
        request = request_of(effect)
        return answer_of(effect, await pools.run(fetched(pools, plan, request, is_grpc=True)))
