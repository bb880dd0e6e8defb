"""Calls of asyncio whose answer is a stream, and calls whose requests the application writes."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final, cast

import grpc
import grpc.aio

from meshsdk.call.effects import Dialed, Send
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.integrations.grpcio.aio_answer import AnswerCall
from meshsdk.integrations.grpcio.aio_call import AioCall
from meshsdk.integrations.grpcio.api import EOF, AioSubCall, Ended, MetadataPair
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.nouns import NO_METADATA, Finished, headers_of

# grpc.aio, where a write found the stream ended: the status that came is lost.
_LOST: Final = "Internal error from Core"
_FINISHED: Final = "RPC already finished."
_ITERATED: Final = "The iterator and read/write APIs may not be mixed on a single RPC."
_HALF_CLOSED: Final = 'RPC is half closed after calling "done_writing".'


class WritingCall(AioCall):
    """Requests that the application writes; what it wrote is kept for another attempt."""

    _writing: asyncio.Lock | None = None
    _is_done_writing = False

    def _lock(self) -> asyncio.Lock:
        if self._writing is None:
            self._writing = asyncio.Lock()
        return self._writing

    async def _write_again(self, sub: AioSubCall) -> None:
        """What the application wrote so far, for a new attempt."""
        if self._replay is None or self._request is not None:
            return
        async with self._lock():
            try:
                for item in list(self._replay.items):
                    await sub.write(item)
                if self._is_done_writing:
                    await sub.done_writing()
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # its end says why

    def _failed_attempt(
        self, send: Send, error: Exception, endpoint: Endpoint, started: float
    ) -> Outcome:
        outcome = super()._failed_attempt(send, error, endpoint, started)
        if cast("Ended", error).details() == _LOST:
            return Reset(ResetReason.REMOTE_RESET, _LOST, attempt=send.attempt, error=error)
        return outcome

    async def write(self, request: object) -> None:
        """As grpc.aio.StreamUnaryCall."""
        if self._request is not None:
            raise grpc.aio.UsageError(_ITERATED)
        if self.done():
            raise asyncio.InvalidStateError(_FINISHED)
        if self._is_done_writing:
            raise asyncio.InvalidStateError(_HALF_CLOSED)
        assert self._replay is not None
        await self.wait_for_connection()
        async with self._lock():
            item = self._replay.item(request)
            sub = self._sub
            assert sub is not None
            try:
                await sub.write(item)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                if self._committed is sub or self.done():
                    raise

    async def done_writing(self) -> None:
        """As grpc.aio.StreamUnaryCall."""
        if self._request is not None:
            raise grpc.aio.UsageError(_ITERATED)
        if self.done() or self._is_done_writing:
            return
        await self.wait_for_connection()
        async with self._lock():
            self._is_done_writing = True
            if self._sub is not None:
                await self._sub.done_writing()


class StreamUnaryCall(WritingCall, AnswerCall):
    """A stream of requests, one answer."""


class AnswersCall(AioCall):
    """A call whose answer is a stream."""

    _reading: "asyncio.Task[object] | None" = None
    """The first message, which told that the attempt goes well."""
    _wants_metadata: asyncio.Event | None = None

    # -- attempts ---------------------------------------------------------------------------

    async def _write_again(self, sub: AioSubCall) -> None:
        """What the application wrote so far, for a new attempt."""

    async def _attempt(self, send: Send, endpoint: Endpoint, started: float) -> Outcome:
        call = self._outbound
        sub = self._begin(
            endpoint,
            send.attempt.request.path,
            call.metadata_of(send.attempt),
            call.timeout_of_stream(),
        )
        sub.add_done_callback(lambda _: self._parts.endpoints.release(endpoint))
        writing = asyncio.ensure_future(self._write_again(sub))
        self._attempted.set()
        reading = asyncio.get_running_loop().create_task(sub.read())
        limit = call.timeout_of(send)
        is_going_on = False
        try:
            is_early = await self._has_begun(reading, limit)
            if is_early is None:
                if call.is_out_of_time():
                    await asyncio.wait([reading])  # gRPC says so itself
                else:
                    return call.expired(send)
            if not is_early:
                error = reading.exception()
                if isinstance(error, grpc.aio.AioRpcError):
                    outcome = self._failed_attempt(send, error, endpoint, started)
                    body = outcome.body if isinstance(outcome, Response) else None
                    if isinstance(body, Finished):
                        body.sub = sub
                    return outcome
                if error is not None:
                    raise error
            headers = headers_of(await sub.initial_metadata())
            self._reading = reading
            is_going_on = True
            body = Finished(cast("Ended", sub), sent=headers, sub=sub)
            return Response(200, headers, body, attempt=send.attempt)
        finally:
            if not is_going_on:
                writing.cancel()
                reading.cancel()
                sub.cancel()

    async def _has_begun(self, reading: "asyncio.Task[object]", limit: float | None) -> bool | None:
        """False when the first message or the end is here; True when the application looks at initial
        metadata before; None when the limit of the try has passed."""
        if self._wants_metadata is None:
            self._wants_metadata = asyncio.Event()
        wants = asyncio.ensure_future(self._looked_at())
        try:
            await asyncio.wait([reading, wants], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            wants.cancel()
        if reading.done():
            return False
        return True if wants.done() and not wants.cancelled() else None

    async def _looked_at(self) -> None:
        """Until the application wants initial metadata, and they are here without an end."""
        assert self._wants_metadata is not None
        await self._wants_metadata.wait()
        sub = self._sub
        assert sub is not None
        await sub.initial_metadata()
        if sub.done():
            await asyncio.Event().wait()  # the end is what counts

    async def _send(self, send: Send) -> Outcome:
        # The call of the attempt itself tells when its endpoint is free.
        endpoint = self._parts.endpoints.of(send.attempt)
        started = self._outbound.settings.clock.monotonic()
        return await self._attempt(send, endpoint, started)

    # -- ends -------------------------------------------------------------------------------

    def _answered(self, outcome: Response, body: Finished) -> object:
        sub = cast("AioSubCall", body.sub)
        self._commit(outcome, body)
        if body.error is not None:
            self._error = body.error
            self._outbound.ended(body.call)
            return None
        sub.add_done_callback(lambda _: self._ended(sub))
        return None

    def _ended(self, sub: AioSubCall) -> None:
        if sub.cancelled():
            self._was_cancelled = True
        asyncio.ensure_future(self._conclude(sub))  # noqa: RUF006 - it never waits
        self._finish()

    async def _conclude(self, sub: AioSubCall) -> None:
        code = await sub.code()
        if code is grpc.StatusCode.OK:
            self._outbound.ended_well()
            return
        details = await sub.details() or ""
        broken = None
        if code is grpc.StatusCode.UNAVAILABLE and details.startswith("Stream removed"):
            broken = Reset(ResetReason.CONNECTION_TERMINATION, details, body_started=True)
        if self._was_cancelled:
            self._outbound.drop()
        else:
            self._outbound.ended(None, broken)

    def _without_message(self, error: Exception | None) -> object:
        return None if error is None else self._failed(error)

    async def _over(self, dialed: Dialed) -> object:
        call, endpoint = self._outbound, cast("Endpoint", dialed.stream)
        metadata = call.options.metadata or NO_METADATA
        sub = self._begin(endpoint, call.method.path, metadata, call.remaining())
        sub.add_done_callback(lambda _: self._parts.endpoints.release(endpoint))
        self._committed = sub
        self._attempted.set()
        await self._write_again(sub)
        sub.add_done_callback(lambda _: self._ended(sub))
        return None

    # -- reading ----------------------------------------------------------------------------

    async def read(self) -> object:
        """As grpc.aio.UnaryStreamCall: the next message, or grpc.aio.EOF."""
        if not self._task.done():
            await asyncio.wait([self._task])
        if self._task.cancelled() or self._was_cancelled:
            raise asyncio.CancelledError
        if self._error is not None:
            raise self._error
        sub = self._committed
        if sub is None:
            return EOF
        reading, self._reading = self._reading, None
        return await (sub.read() if reading is None else reading)

    async def __aiter__(self) -> AsyncIterator[object]:
        """As grpc.aio.UnaryStreamCall."""
        first = await self.read()
        if first is EOF:
            return
        yield first
        sub = self._committed
        assert sub is not None
        while True:
            message = await sub.read()
            if message is EOF:
                return
            yield message

    async def initial_metadata(self) -> Iterable[MetadataPair]:
        """As grpc.aio.Call. Looking at it ends the time in which another attempt could take over."""
        if self._wants_metadata is None:
            self._wants_metadata = asyncio.Event()
        self._wants_metadata.set()
        return await super().initial_metadata()


class StreamStreamCall(WritingCall, AnswersCall):
    """A stream of requests, a stream of answers."""

    async def _write_again(self, sub: AioSubCall) -> None:
        await WritingCall._write_again(self, sub)
