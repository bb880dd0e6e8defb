"""Calls with one answer that block the caller's thread until it is there."""

from collections.abc import Iterator
from typing import Final, cast

import grpc

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
from meshsdk.flow.drive import drive
from meshsdk.integrations.grpcio.api import Ended, Metadata, UnaryCallable
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.hedges import Begun, SyncHedges, not_built
from meshsdk.integrations.grpcio.nouns import (
    NO_METADATA,
    Finished,
    MeshRpcError,
    headers_of,
)
from meshsdk.integrations.grpcio.outbound import Outbound, changed_metadata, finished
from meshsdk.integrations.grpcio.replay import Replay
from meshsdk.integrations.grpcio.sync_parts import ChannelParts, SentCall
from meshsdk.runtime.sleeping import sleep

_PATIENCE: Final = 0.05
_MOST_PATIENCE: Final = 1.0


class OutOfTime(Exception):
    """The application's own timeout has passed; carries what gRPC says of it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class BlockingCall:
    """One call on the caller's thread."""

    __slots__ = ("_call", "_hedges", "_parts", "_replay", "_request")

    def __init__(self, parts: ChannelParts, call: Outbound, request: object) -> None:
        self._parts = parts
        self._call = call
        self._request = request
        self._hedges: SyncHedges | None = None
        """Made when the first attempt may get company."""
        self._replay: Replay | None = None
        if call.method.kind == "stream_unary":
            self._replay = Replay(iter(cast("Iterator[object]", request)), self._outgrown)

    def _outgrown(self) -> None:
        if self._call.context is not None:
            self._call.context.body_replayable = False

    def run(self) -> tuple[object, Ended]:
        """The answer and its call. grpc.RpcError, as a channel without a mesh raises it."""
        call = self._call
        patience = _PATIENCE
        while True:
            try:
                try:
                    outcome = drive(call.flow, self._perform)
                finally:
                    if self._hedges is not None:
                        self._hedges.settle(())
            except OutOfTime as late:
                raise late.error from None
            except MeshError as error:
                raise call.error_of_exception(error) from error
            if isinstance(outcome, Dialed):
                return self._over(outcome)
            if isinstance(outcome, Response):
                body = finished(outcome)
                if body is not None:
                    return self._answered(outcome, body)
            if not call.is_unready():
                return self._ours(outcome)
            call.ended(None)
            left = call.remaining()
            call.settings.mesh.publisher.wait(
                call.seen, patience if left is None else min(patience, max(left, 0.0))
            )
            patience = min(patience * 2, _MOST_PATIENCE)
            call.begin()

    # -- ends -------------------------------------------------------------------------------

    def _answered(self, outcome: Response, body: Finished) -> tuple[object, Ended]:
        call = self._call
        if body.error is not None:
            call.ended(body.call)
            raise body.error
        call.ended_well()
        changed = changed_metadata(outcome, body)
        if changed is None:
            return body.message, body.call
        return body.message, cast("Ended", SentCall(body.call, changed))

    def _ours(self, outcome: Response | Reset) -> tuple[object, Ended]:
        call = self._call
        error = call.error_of(outcome)
        call.ended(
            error if isinstance(error, MeshRpcError) else None,
            outcome if isinstance(outcome, Reset) else None,
        )
        if error is None:  # a direct response of status OK has no message
            error = MeshRpcError(grpc.StatusCode.INTERNAL, "No message returned for unary request")
        raise error

    def _over(self, dialed: Dialed) -> tuple[object, Ended]:
        """The application's own call over a raw connection (tcp_proxy)."""
        call = self._call
        endpoint = cast("Endpoint", dialed.stream)
        metadata = call.options.metadata or NO_METADATA
        try:
            found = self._attempt(endpoint, call.method.path, call.remaining(), metadata)
        except grpc.RpcError as error:
            call.ended(cast("Ended", error))
            raise
        else:
            call.ended_well()
            return found
        finally:
            self._parts.endpoints.release(endpoint)

    # -- effects ----------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> Reply:
        call = self._call
        match effect:
            case Send():
                return self._send(effect)
            case Sleep(seconds):
                sleep(call.take_pushback(seconds))
                return None
            case Dial(host, cluster):
                assert isinstance(cluster, ClusterPlan)
                authority = call.settings.authority
                return Dialed(self._parts.endpoints.take(cluster, host, authority, "tcp"), host)
            case Mirror():
                if self._replay is None:
                    self._parts.mirror(effect, call.method, self._request)
                return None
            case ReadBody(limit):
                return call.request_read(limit, self._parts.serialized(call.method, self._request))
            case WaitForConfig(_, timeout, listener):
                mesh = call.settings.mesh
                if listener:
                    mesh.feed.want(listener)
                changed = mesh.publisher.wait(call.seen, timeout)
                call.seen = mesh.publisher.plan
                return changed
            case Fetch() | GrpcFetch():
                return call.settings.mesh.fetcher.fetch(effect)
            case _:
                return call.refuse(effect)

    def _send(self, send: Send) -> Outcome:
        call, parts = self._call, self._parts
        if send.keep_after is not None or self._hedges is not None:
            return self._hedged(send)
        endpoint = parts.endpoints.of(send.attempt)
        started = call.settings.clock.monotonic()
        try:
            message, sub = self._attempt(
                endpoint,
                send.attempt.request.path,
                call.timeout_of(send),
                call.metadata_of(send.attempt),
            )
        except grpc.RpcError as error:
            ended = cast("Ended", error)
            outcome = call.outcome_of(send, ended, endpoint.transport, started)
            if outcome is None:
                raise OutOfTime(error) from None
            return outcome
        finally:
            parts.endpoints.release(endpoint)
        headers = headers_of(sub.initial_metadata())
        body = Finished(sub, message, sent=headers)
        return Response(200, headers, body, attempt=send.attempt)

    # -- hedging ----------------------------------------------------------------------------

    def _hedged(self, send: Send) -> Outcome:
        if self._call.method.kind != "unary_unary":
            return not_built(send)
        if self._hedges is None:
            self._hedges = SyncHedges(self._begin, self._judge)
        self._hedges.settle((send.attempt, *send.also))
        return self._hedges.send(send)

    def _begin(self, send: Send) -> Begun:
        call, endpoints = self._call, self._parts.endpoints
        method, options = call.method, call.options
        endpoint = endpoints.of(send.attempt)
        started = call.settings.clock.monotonic()
        path = send.attempt.request.path
        found = endpoint.method(method.kind, path, method.serialize, method.deserialize)
        try:
            sub = cast("UnaryCallable", found).future(
                self._request,
                call.timeout_of(send),
                call.metadata_of(send.attempt),
                options.credentials,
                None,
                options.compression,
            )
        except BaseException:
            endpoints.release(endpoint)
            raise
        sub.add_done_callback(lambda _: endpoints.release(endpoint))
        return Begun(send, sub, endpoint, started)

    def _judge(self, begun: Begun) -> Outcome:
        send, sub = begun.send, begun.sub
        if sub.code() is grpc.StatusCode.OK:
            headers = headers_of(sub.initial_metadata())
            body = Finished(sub, sub.result(), sent=headers)
            return Response(200, headers, body, attempt=send.attempt)
        failed = cast("Exception", sub)
        if self._call.is_out_of_time():
            raise OutOfTime(failed)
        outcome = self._call.outcome_of(send, sub, begun.endpoint.transport, begun.started)
        if outcome is None:
            raise OutOfTime(failed)
        return outcome

    def _attempt(
        self, endpoint: Endpoint, path: str, timeout: float | None, metadata: Metadata
    ) -> tuple[object, Ended]:
        call, options = self._call, self._call.options
        method = call.method
        callable_ = cast(
            "UnaryCallable",
            endpoint.method(method.kind, path, method.serialize, method.deserialize),
        )
        request = self._request if self._replay is None else self._replay.attempt()
        return callable_.with_call(
            request, timeout, metadata, options.credentials, None, options.compression
        )
