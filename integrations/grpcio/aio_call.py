"""Calls of asyncio: a task of the call's own runs the flow until an answer stands."""

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Iterable
from contextlib import suppress
from typing import Final, cast

import grpc
import grpc.aio

from meshsdk.call.effects import (
    Dial,
    Dialed,
    Effect,
    Fetch,
    GrpcFetch,
    Mirror,
    ReadBody,
    Reply,
    Send,
    Sleep,
    WaitForConfig,
)
from meshsdk.call.message import Outcome, Reset, Response
from meshsdk.errors import MeshError
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.flow.drive import adrive
from meshsdk.integrations.grpcio.aio_parts import AioParts, aio_error, aio_metadata
from meshsdk.integrations.grpcio.aio_replay import AioReplay
from meshsdk.integrations.grpcio.api import (
    AioCallBase,
    AioSubCall,
    Ended,
    Metadata,
    MetadataPair,
)
from meshsdk.integrations.grpcio.blocking import OutOfTime
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.hedges import AioHedges, not_built
from meshsdk.integrations.grpcio.nouns import Finished, MeshRpcError
from meshsdk.integrations.grpcio.outbound import Outbound, changed_metadata, finished

_CANCELLED: Final = "Locally cancelled by application!"
_PATIENCE: Final = 0.05
_MOST_PATIENCE: Final = 1.0


class AioCall(AioCallBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """What calls of all arities have in common."""

    def __init__(self, parts: AioParts, call: Outbound, request: object) -> None:
        self._parts = parts
        self._outbound = call
        self._request = request
        self._replay: AioReplay | None = None
        if call.method.kind.startswith("stream"):
            source = cast("AsyncIterable[object] | Iterable[object] | None", request)
            self._replay = AioReplay(source, self._outgrown)
        self._sub: AioSubCall | None = None
        """Of the attempt under way."""
        self._committed: AioSubCall | None = None
        """The attempt that the application sees."""
        self._initial: Metadata | None = None
        """Initial metadata, where the mesh has changed it."""
        self._error: Exception | None = None
        """How it ended without an attempt to see."""
        self._was_cancelled = False
        self._hedges: AioHedges | None = None
        """Made when the first attempt may get company."""
        self._at_end: list[Callable[[object], None]] = []
        self._attempted = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._task_ended)

    def _outgrown(self) -> None:
        if self._outbound.context is not None:
            self._outbound.context.body_replayable = False

    # -- the flow ---------------------------------------------------------------------------

    async def _run(self) -> object:
        """Until an answer stands. The message, where the answer is one."""
        call, patience = self._outbound, _PATIENCE
        while True:
            try:
                try:
                    outcome = await adrive(call.flow, self._perform)
                finally:
                    if self._hedges is not None:
                        self._hedges.settle(())
            except OutOfTime as late:
                return self._failed(late.error)
            except MeshError as error:
                return self._failed(call.error_of_exception(error))
            except asyncio.CancelledError:
                self._was_cancelled = True
                raise
            except Exception as error:
                self._error = error
                raise
            if isinstance(outcome, Dialed):
                return await self._over(outcome)
            body = finished(outcome) if isinstance(outcome, Response) else None
            if isinstance(outcome, Response) and body is not None:
                return self._answered(outcome, body)
            if not call.is_unready():
                return self._ours(outcome)
            call.ended(None)
            left = call.remaining()
            await asyncio.sleep(patience if left is None else min(patience, max(left, 0.0)))
            patience = min(patience * 2, _MOST_PATIENCE)
            call.begin()

    def _failed(self, error: Exception) -> object:
        self._error = aio_error(error)
        raise self._error

    def _ours(self, outcome: Response | Reset) -> object:
        call = self._outbound
        error = call.error_of(outcome)
        call.ended(
            error if isinstance(error, MeshRpcError) else None,
            outcome if isinstance(outcome, Reset) else None,
        )
        return self._without_message(error)

    @abstractmethod
    def _without_message(self, error: Exception | None) -> object:
        """The mesh's own answer; None: its status is OK."""

    @abstractmethod
    def _answered(self, outcome: Response, body: Finished) -> object:
        """The answer of an attempt stands."""

    @abstractmethod
    async def _over(self, dialed: Dialed) -> object:
        """The application's own call over a raw connection (tcp_proxy)."""

    @abstractmethod
    async def _attempt(self, send: Send, endpoint: Endpoint, started: float) -> Outcome:
        """One attempt, until it has ended or its answer has begun."""

    async def _perform(self, effect: Effect) -> Reply:
        call = self._outbound
        match effect:
            case Send():
                if effect.keep_after is not None or self._hedges is not None:
                    return await self._hedged(effect)
                return await self._send(effect)
            case Sleep(seconds):
                await asyncio.sleep(call.take_pushback(seconds))
                return None
            case Dial(host, cluster):
                assert isinstance(cluster, ClusterPlan)
                authority = call.settings.authority
                return Dialed(self._parts.endpoints.take(cluster, host, authority, "tcp"), host)
            case Mirror():
                self._parts.mirror(effect, call.method, self._request)
                return None
            case ReadBody(limit):
                return call.request_read(limit, self._parts.serialized(call.method, self._request))
            case WaitForConfig():
                return await self._wait(effect)
            case Fetch() | GrpcFetch():
                return await call.settings.mesh.fetcher.afetch(effect)
            case _:
                return call.refuse(effect)

    async def _hedged(self, send: Send) -> Outcome:
        if self._outbound.method.kind != "unary_unary":
            return not_built(send)
        if self._hedges is None:
            self._hedges = AioHedges(self._send)
        self._hedges.settle((send.attempt, *send.also))
        return await self._hedges.send(send)

    async def _send(self, send: Send) -> Outcome:
        endpoint = self._parts.endpoints.of(send.attempt)
        started = self._outbound.settings.clock.monotonic()
        try:
            return await self._attempt(send, endpoint, started)
        except BaseException:
            self._parts.endpoints.release(endpoint)
            raise

    def _failed_attempt(
        self, send: Send, error: Exception, endpoint: Endpoint, started: float
    ) -> Outcome:
        outcome = self._outbound.outcome_of(send, cast("Ended", error), endpoint.transport, started)
        if outcome is None:
            raise OutOfTime(error) from None
        return outcome

    async def _wait(self, effect: WaitForConfig) -> bool:
        call, mesh = self._outbound, self._outbound.settings.mesh
        seen, loop = call.seen, asyncio.get_running_loop()
        changed = asyncio.Event()
        if effect.listener:
            mesh.feed.want(effect.listener)

        def wake() -> None:
            with suppress(RuntimeError):  # the loop closed meanwhile
                loop.call_soon_threadsafe(changed.set)

        forget = mesh.publisher.on_change(seen, wake)
        try:
            async with asyncio.timeout(effect.timeout):
                await changed.wait()
        except TimeoutError:
            pass
        finally:
            forget()
        call.seen = mesh.publisher.plan
        return call.seen is not seen

    def _begin(
        self, endpoint: Endpoint, path: str, metadata: Metadata, timeout: float | None
    ) -> AioSubCall:
        """The call of an attempt."""
        call = self._outbound
        method, options = call.method, call.options
        make = self._parts.callable(endpoint, method, path)
        request = self._request
        if self._replay is not None:
            request = None if self._request is None else self._replay.attempt()
        sub = make(
            request,
            timeout=timeout,
            metadata=metadata,
            credentials=options.credentials,
            wait_for_ready=None,
            compression=options.compression,
        )
        self._sub = sub
        return sub

    # -- ends -------------------------------------------------------------------------------

    def _commit(self, outcome: Response, body: Finished) -> None:
        self._committed = cast("AioSubCall", body.sub)
        if self._replay is not None:
            self._replay.commit()
        self._initial = changed_metadata(outcome, body)

    def _task_ended(self, task: "asyncio.Task[object]") -> None:
        """Nobody need ever ask for its error: grpc.aio logs none either."""
        if not task.cancelled():
            task.exception()
        if self._committed is None or self._committed.done():
            self._finish()

    def _finish(self) -> None:
        if self._was_cancelled and self._replay is not None:
            self._replay.close()
        due, self._at_end = self._at_end, []
        for tell in due:
            tell(self)

    def cancel(self) -> bool:
        """As grpc.aio.Call."""
        if self.done():
            return False
        self._was_cancelled = True
        if not self._task.done():
            return self._task.cancel()
        assert self._committed is not None
        return self._committed.cancel()

    def cancelled(self) -> bool:
        """As grpc.aio.Call."""
        return self._was_cancelled or self._task.cancelled()

    def done(self) -> bool:
        """As grpc.aio.Call."""
        if not self._task.done():
            return False
        return self._committed is None or self._committed.done()

    def time_remaining(self) -> float | None:
        """As grpc.aio.Call."""
        left = self._outbound.remaining()
        return None if left is None else max(left, 0.0)

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """As grpc.aio.Call."""
        if self.done():
            callback(self)
        else:
            self._at_end.append(callback)

    async def _settled(self) -> AioSubCall | None:
        """The attempt that stands; None where the call ended without one."""
        if not self._task.done():
            await asyncio.wait([self._task])
        return None if self._was_cancelled else self._committed

    def _own(self) -> grpc.aio.AioRpcError:
        error = self._error
        if isinstance(error, grpc.aio.AioRpcError):
            return error
        if self._was_cancelled:
            own = MeshRpcError(grpc.StatusCode.CANCELLED, _CANCELLED)
        elif error is None:
            own = MeshRpcError(grpc.StatusCode.OK, "")
        else:
            own = MeshRpcError(grpc.StatusCode.UNKNOWN, str(error))
        return cast("grpc.aio.AioRpcError", aio_error(own))

    async def code(self) -> grpc.StatusCode:
        """As grpc.aio.Call."""
        sub = await self._settled()
        return self._own().code() if sub is None else await sub.code()

    async def details(self) -> str | None:
        """As grpc.aio.Call."""
        sub = await self._settled()
        return cast("Ended", self._own()).details() if sub is None else await sub.details()

    async def initial_metadata(self) -> Iterable[MetadataPair]:
        """As grpc.aio.Call."""
        sub = await self._settled()
        if sub is None:
            return cast("Ended", self._own()).initial_metadata() or ()
        return (
            await sub.initial_metadata() if self._initial is None else aio_metadata(self._initial)
        )

    async def trailing_metadata(self) -> Iterable[MetadataPair]:
        """As grpc.aio.Call."""
        sub = await self._settled()
        if sub is None:
            return cast("Ended", self._own()).trailing_metadata() or ()
        return await sub.trailing_metadata()

    async def debug_error_string(self) -> str:
        """As grpc.aio's own calls."""
        return f"{(await self.code()).name}:{await self.details() or ''}"

    async def wait_for_connection(self) -> None:
        """As grpc.aio.Call: until an attempt has reached its host, or the call has ended."""
        waiting = asyncio.ensure_future(self._attempted.wait())
        try:
            await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._error is not None:
            raise self._error
