"""Calls of asyncio whose answer is one message."""

from collections.abc import Awaitable, Generator
from typing import cast

import grpc
import grpc.aio

from meshsdk.call.effects import Dialed, Send
from meshsdk.call.message import Outcome, Response
from meshsdk.integrations.grpcio.aio_call import AioCall
from meshsdk.integrations.grpcio.api import AioSubCall, Ended
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.nouns import NO_METADATA, Finished, MeshRpcError, headers_of


class AnswerCall(AioCall):
    """A call whose answer is one message."""

    async def _attempt(self, send: Send, endpoint: Endpoint, started: float) -> Outcome:
        call = self._outbound
        sub = self._begin(
            endpoint,
            send.attempt.request.path,
            call.metadata_of(send.attempt),
            call.timeout_of(send),
        )
        if self._replay is not None:
            await self._write_again(sub)
        self._attempted.set()
        try:
            message = await sub
        except grpc.aio.AioRpcError as error:
            outcome = self._failed_attempt(send, error, endpoint, started)
            self._parts.endpoints.release(endpoint)
            body = outcome.body if isinstance(outcome, Response) else None
            if isinstance(body, Finished):
                body.sub = sub
            return outcome
        headers = headers_of(await sub.initial_metadata())
        self._parts.endpoints.release(endpoint)
        body = Finished(cast("Ended", sub), message, sent=headers, sub=sub)
        return Response(200, headers, body, attempt=send.attempt)

    async def _write_again(self, sub: AioSubCall) -> None:
        """What the application wrote so far, for a new attempt."""

    def _answered(self, outcome: Response, body: Finished) -> object:
        self._commit(outcome, body)
        if body.error is None:
            self._outbound.ended_well()
            return body.message
        self._outbound.ended(body.call)
        raise body.error

    def _without_message(self, error: Exception | None) -> object:
        text = "No message returned for unary request"
        return self._failed(error or MeshRpcError(grpc.StatusCode.INTERNAL, text))

    async def _over(self, dialed: Dialed) -> object:
        call, endpoint = self._outbound, cast("Endpoint", dialed.stream)
        metadata = call.options.metadata or NO_METADATA
        try:
            sub = self._begin(endpoint, call.method.path, metadata, call.remaining())
            await self._write_again(sub)
            self._attempted.set()
            self._committed = sub
            message = await sub
        except grpc.aio.AioRpcError as error:
            call.ended(cast("Ended", error))
            raise
        except BaseException:
            call.drop()
            raise
        else:
            call.ended_well()
            return message
        finally:
            self._parts.endpoints.release(endpoint)

    def __await__(self) -> Generator[object, None, object]:
        """As grpc.aio's calls."""
        waited = cast("Awaitable[object]", self._task).__await__()
        return cast("Generator[object, None, object]", waited)
