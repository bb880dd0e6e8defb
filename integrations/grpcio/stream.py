"""Calls whose answer is a stream: the reader's own thread takes messages from the attempt's call.

Until the first message, or until the application looks at initial metadata, another attempt may take
over; from then on the attempt's own call does all the work.
"""

from collections.abc import Callable
from typing import cast

import grpc

from meshsdk.call.effects import Send
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.integrations.grpcio.api import Ended, Metadata, StreamCallable, SubStream
from meshsdk.integrations.grpcio.driven import DrivenCall
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.nouns import Finished, MeshRpcError, headers_of
from meshsdk.integrations.grpcio.outbound import changed_metadata
from meshsdk.runtime.timers import Timer


class StreamCall(DrivenCall):
    """Iterator over the answers, and a call."""

    _sub: SubStream | None = None
    """Of the attempt under way."""
    _committed: SubStream | None = None
    """The attempt that the application sees."""
    _changed_initial: Metadata | None = None
    _is_empty = False
    """The mesh itself answered OK, without a message."""
    _try_timer: Timer | None = None

    # -- attempts ---------------------------------------------------------------------------

    def _start(self, endpoint: Endpoint, path: str, metadata: Metadata, send: Send | None) -> None:
        call = self._outbound
        method, options = call.method, call.options
        callable_ = cast(
            "StreamCallable",
            endpoint.method(method.kind, path, method.serialize, method.deserialize),
        )
        timeout = call.remaining() if send is None else call.timeout_of_stream()
        try:
            sub = callable_(
                self._requests(), timeout, metadata, options.credentials, None, options.compression
            )
        except BaseException:
            self._parts.endpoints.release(endpoint)
            raise
        self._sub = sub
        if send is None:
            self._committed = sub
        else:
            self._watch_try(sub, send, timeout)
        self._changed.notify_all()
        # Not on gRPC's own thread, which may still have initial metadata for whoever holds the lock.
        ended = self._parts.soon(lambda: self._sub_ended(sub, endpoint))
        sub.add_done_callback(lambda _: ended())

    def _watch_try(self, sub: SubStream, send: Send, timeout: float | None) -> None:
        """A try's own limit ends with its first answer; gRPC knows none but the whole call's."""
        limit = self._outbound.timeout_of(send)
        if limit is None or (timeout is not None and limit >= timeout):
            return

        def expired() -> None:
            with self._entered():
                if not self._is_open_try(sub):
                    return
                if self._outbound.is_out_of_time():
                    return  # gRPC says so itself
                self._sub = None
                self._resume(self._outbound.expired(send))
            sub.cancel()

        self._try_timer = self._parts.timers.after(max(limit, 0.0), expired)

    def _is_open_try(self, sub: SubStream) -> bool:
        return not self._is_over and sub is self._sub and self._attempt is not None

    def _sub_ended(self, sub: SubStream, endpoint: Endpoint) -> None:
        self._parts.endpoints.release(endpoint)
        with self._entered():
            if self._is_over:
                return
            if sub is self._committed:
                self._conclude(sub)
            elif self._is_open_try(sub):
                self._settle(sub)

    def _settle(self, sub: SubStream, *, is_answered: bool = False) -> None:
        """The attempt has ended, or its first message is here: tell the flow. With the lock held."""
        assert self._attempt is not None
        if self._try_timer is not None:
            self._try_timer.cancel()
        outcome: Outcome | None
        if not is_answered and sub.done() and sub.code() is not grpc.StatusCode.OK:
            outcome = self._fail_attempt(sub)
        else:
            headers = headers_of(sub.initial_metadata())
            body = Finished(sub, sent=headers)
            outcome = Response(200, headers, body, attempt=self._attempt[0].attempt)
        self._attempt = None
        if outcome is None:
            self._outbound.drop()
            self._committed = sub
            self._fail(cast("Exception", sub))
        else:
            self._resume(outcome)

    def _deliver_attempt(self, outcome: Response, body: Finished) -> None:
        sub = cast("SubStream", body.call)
        self._committed = sub
        if self._replay is not None:
            self._replay.commit()
        self._changed_initial = changed_metadata(outcome, body)
        self._changed.notify_all()
        if sub.done():
            self._conclude(sub)

    def _conclude(self, sub: SubStream) -> None:
        if self._is_over:
            return
        code = sub.code()
        if code is grpc.StatusCode.OK:
            self._outbound.ended_well()
        else:
            self._error = cast("Exception", sub)
            self._outbound.ended(sub, self._broken(sub))
        self._finish()

    def _broken(self, sub: SubStream) -> Reset | None:
        """A stream that broke off in its middle speaks against its host."""
        details = sub.details() or ""
        if sub.code() is not grpc.StatusCode.UNAVAILABLE or sub.trailing_metadata():
            return None
        if "Socket closed" not in details and not details.startswith("Stream removed"):
            return None
        return Reset(ResetReason.CONNECTION_TERMINATION, details, body_started=True)

    def _end_without_message(self, error: Exception | None) -> None:
        self._is_empty = error is None
        self._error = error
        self._finish()

    def _cancel_attempt(self) -> None:
        sub, self._sub = self._sub, None
        if sub is not None:
            sub.cancel()

    # -- reading ----------------------------------------------------------------------------

    def __iter__(self) -> "StreamCall":
        return self

    def __next__(self) -> object:
        sub = self._committed
        if sub is not None and not self._was_cancelled:
            return next(sub)
        return self._first()

    def next(self) -> object:
        """As grpcio's own."""
        return self.__next__()

    def _first(self) -> object:
        while True:
            sub = self._next_sub()
            if sub is None:
                if self._is_empty:
                    raise StopIteration
                assert self._error is not None
                raise self._error
            try:
                message = next(sub)
            except StopIteration:
                self._told(sub)
                if self._committed is sub:
                    raise
            except grpc.RpcError:
                if self._committed is sub:
                    raise
                self._told(sub)
            else:
                self._told(sub, is_answered=True)
                if self._committed is sub:
                    return message

    def _next_sub(self) -> SubStream | None:
        """The attempt to read from; None when the call is over without one."""

        def is_there() -> bool:
            return self._is_over or self._committed is not None or self._sub is not None

        self._wait_until(is_there)
        with self._changed:
            if self._was_cancelled:
                return None
            if self._committed is not None:
                return self._committed
            return None if self._is_over else self._sub

    def _told(self, sub: SubStream, *, is_answered: bool = False) -> None:
        with self._entered():
            if self._is_open_try(sub):
                self._settle(sub, is_answered=is_answered)
            elif sub is self._sub and self._committed is not sub:
                self._sub = None

    # -- grpc.Call --------------------------------------------------------------------------

    def initial_metadata(self) -> Metadata | None:
        """As grpc.Call. Looking at it ends the time in which another attempt could take over."""
        while True:
            sub = self._next_sub()
            if sub is None:
                return self._own().initial_metadata()
            found = sub.initial_metadata()
            self._told(sub)
            if self._committed is sub:
                changed = self._changed_initial
                return found if changed is None else changed

    def _own(self) -> Ended:
        error = self._error
        if isinstance(error, MeshRpcError):
            return error
        if self._is_empty:
            return MeshRpcError(grpc.StatusCode.OK, "")
        return MeshRpcError(grpc.StatusCode.UNKNOWN, str(error))

    def _ended(self) -> Ended:
        self._wait_until(lambda: self._is_over)
        sub = self._committed
        return self._own() if sub is None or self._was_cancelled else sub

    def code(self) -> grpc.StatusCode:
        """As grpc.Call."""
        return self._ended().code()

    def details(self) -> str | None:
        """As grpc.Call."""
        return self._ended().details()

    def trailing_metadata(self) -> Metadata | None:
        """As grpc.Call."""
        return self._ended().trailing_metadata()

    def debug_error_string(self) -> str:
        """As grpcio's own."""
        ended = self._ended()
        return f"{ended.code().name}:{ended.details() or ''}"

    # Not of grpc.Call; what grpcio returns has these as well.
    def done(self) -> bool:
        """Whether the call is over."""
        return self._is_over

    def running(self) -> bool:
        """Whether it is not."""
        return not self._is_over

    def cancelled(self) -> bool:
        """Whether the application cancelled it."""
        return self._was_cancelled

    def add_done_callback(self, fn: "Callable[[StreamCall], None]") -> None:
        """Call `fn` with this call when it is over."""
        with self._changed:
            if not self._is_over:
                self._at_end.append(lambda: fn(self))
                return
        fn(self)
