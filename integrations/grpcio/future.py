"""`multicallable.future(...)`: one answer, later."""

import sys
from collections.abc import Callable
from types import TracebackType
from typing import cast

import grpc

from meshsdk.call.effects import Send
from meshsdk.call.message import Response
from meshsdk.integrations.grpcio.api import Ended, FutureBase, Metadata, SubFuture, UnaryCallable
from meshsdk.integrations.grpcio.driven import DrivenCall
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.nouns import Finished, MeshRpcError, headers_of
from meshsdk.integrations.grpcio.outbound import changed_metadata

_NO_MESSAGE = "No message returned for unary request"


class FutureCall(DrivenCall, FutureBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """A call whose answer is one message."""

    _sub: SubFuture | None = None
    _end: Ended | None = None
    _message: object = None
    _changed_initial: Metadata | None = None

    # -- attempts ---------------------------------------------------------------------------

    def _start(self, endpoint: Endpoint, path: str, metadata: Metadata, send: Send | None) -> None:
        call = self._outbound
        method, options = call.method, call.options
        callable_ = cast(
            "UnaryCallable",
            endpoint.method(method.kind, path, method.serialize, method.deserialize),
        )
        timeout = call.remaining() if send is None else call.timeout_of(send)
        try:
            sub = callable_.future(
                self._requests(), timeout, metadata, options.credentials, None, options.compression
            )
        except BaseException:
            self._parts.endpoints.release(endpoint)
            raise
        self._sub = sub
        if method.kind == "unary_unary":
            sub.add_done_callback(lambda _: self._sub_ended(sub, endpoint))
            return
        # Not on gRPC's own thread, which may still have initial metadata for whoever holds the lock.
        ended = self._parts.soon(lambda: self._sub_ended(sub, endpoint))
        sub.add_done_callback(lambda _: ended())

    def _sub_ended(self, sub: SubFuture, endpoint: Endpoint) -> None:
        self._parts.endpoints.release(endpoint)
        with self._entered():
            if self._is_over or sub is not self._sub:
                return
            error = None if sub.code() is grpc.StatusCode.OK else cast("Exception", sub)
            if self._attempt is None:  # over a raw connection
                self._conclude(Finished(sub, None if error else sub.result(), error))
            elif error is None:
                headers = headers_of(sub.initial_metadata())
                body = Finished(sub, sub.result(), sent=headers)
                self._resume(Response(200, headers, body, attempt=self._attempt[0].attempt))
            else:
                outcome = self._fail_attempt(sub)
                if outcome is None:
                    self._outbound.drop()
                    self._end = sub
                    self._fail(error)
                else:
                    self._resume(outcome)

    def _deliver_attempt(self, outcome: Response, body: Finished) -> None:
        self._changed_initial = changed_metadata(outcome, body)
        self._conclude(body)

    def _conclude(self, body: Finished) -> None:
        self._end, self._message, self._error = body.call, body.message, body.error
        if body.error is None:
            self._outbound.ended_well()
        else:
            self._outbound.ended(body.call)
        self._finish()

    def _end_without_message(self, error: Exception | None) -> None:
        self._fail(error or MeshRpcError(grpc.StatusCode.INTERNAL, _NO_MESSAGE))

    def _cancel_attempt(self) -> None:
        sub, self._sub = self._sub, None
        if sub is not None:
            sub.cancel()

    # -- grpc.Future ------------------------------------------------------------------------

    def cancelled(self) -> bool:
        """As grpc.Future."""
        return self._was_cancelled

    def running(self) -> bool:
        """As grpc.Future."""
        return not self._is_over

    def done(self) -> bool:
        """As grpc.Future."""
        return self._is_over

    def result(self, timeout: float | None = None) -> object:
        """As grpc.Future."""
        self._wait_for_end(timeout)
        if self._error is not None:
            raise self._error
        return self._message

    def exception(self, timeout: float | None = None) -> Exception | None:
        """As grpc.Future."""
        self._wait_for_end(timeout)
        return self._error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        """As grpc.Future."""
        error = self.exception(timeout)
        if error is None:
            return None
        try:
            raise error
        except Exception:
            return sys.exc_info()[2]

    def _wait_for_end(self, timeout: float | None) -> None:
        if not self._wait_until(lambda: self._is_over, timeout):
            raise grpc.FutureTimeoutError
        if self._was_cancelled:
            raise grpc.FutureCancelledError

    def add_done_callback(self, fn: "Callable[[FutureCall], None]") -> None:
        """As grpc.Future."""
        with self._changed:
            if not self._is_over:
                self._at_end.append(lambda: fn(self))
                return
        fn(self)

    # -- grpc.Call --------------------------------------------------------------------------

    def _ended(self) -> Ended:
        self._wait_until(lambda: self._is_over)
        if self._end is not None:
            return self._end
        error = self._error
        if isinstance(error, MeshRpcError):
            return error
        return MeshRpcError(grpc.StatusCode.UNKNOWN, str(error))

    def code(self) -> grpc.StatusCode:
        """As grpc.Call."""
        return self._ended().code()

    def details(self) -> str | None:
        """As grpc.Call."""
        return self._ended().details()

    def initial_metadata(self) -> Metadata | None:
        """As grpc.Call."""
        ended = self._ended()
        return ended.initial_metadata() if self._changed_initial is None else self._changed_initial

    def trailing_metadata(self) -> Metadata | None:
        """As grpc.Call."""
        return self._ended().trailing_metadata()

    def debug_error_string(self) -> str:
        """As grpcio's own."""
        ended = self._ended()
        return f"{ended.code().name}:{ended.details() or ''}"
