"""Calls that nobody's thread waits for: their flow goes on where there is news.

News come from gRPC's own threads, from a timer, from the control thread, or from the application's
thread that reads. One lock per call; the application's callbacks run outside of it.
"""

import logging
import threading
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, cast

import grpc

from meshsdk.call.effects import (
    Deliver,
    Dial,
    Dialed,
    Effect,
    Fetch,
    GrpcFetch,
    Mirror,
    ReadBody,
    Reply,
    Send,
    SideCall,
    Sleep,
    WaitForConfig,
)
from meshsdk.call.message import Outcome, Reset, Response
from meshsdk.errors import MeshError, UsageError
from meshsdk.flow.cluster_plan import ClusterPlan
from meshsdk.integrations.grpcio.api import CallBase, Ended, Metadata
from meshsdk.integrations.grpcio.endpoints import Endpoint
from meshsdk.integrations.grpcio.hedges import not_built
from meshsdk.integrations.grpcio.nouns import NO_METADATA, Finished, MeshRpcError
from meshsdk.integrations.grpcio.outbound import Outbound
from meshsdk.integrations.grpcio.replay import Replay
from meshsdk.integrations.grpcio.sync_parts import ChannelParts
from meshsdk.runtime.timers import Timer

_LOG = logging.getLogger("meshsdk.integrations.grpcio")
_CANCELLED: Final = "Locally cancelled by application!"
_SHUT: Final = "Channel closed!"
_PATIENCE: Final = 0.05
_MOST_PATIENCE: Final = 1.0


class DrivenCall(CallBase):  # type: ignore[misc, valid-type]  # a variable, to mypy
    """What futures and streams have in common."""

    def __init__(self, parts: ChannelParts, call: Outbound, request: object) -> None:
        self._parts = parts
        self._outbound = call
        self._request = request
        self._replay: Replay | None = None
        if call.method.kind.startswith("stream"):
            self._replay = Replay(iter(cast("Iterator[object]", request)), self._outgrown)
        self._changed = threading.Condition(threading.RLock())
        self._depth = 0
        self._due: list[Callable[[], None]] = []
        self._at_end: list[Callable[[], None]] = []
        self._timer: Timer | None = None
        self._forget: Callable[[], None] | None = None
        self._patience = _PATIENCE
        self._attempt: tuple[Send, Endpoint, float] | None = None
        """The attempt under way, until its outcome was told to the flow."""
        self._error: Exception | None = None
        self._is_over = False
        """Nothing more will happen."""
        self._was_cancelled = False

    def _outgrown(self) -> None:
        if self._outbound.context is not None:
            self._outbound.context.body_replayable = False

    def begin(self) -> None:
        """Let the flow run to its first wait."""
        with self._entered():
            self._run(lambda: next(self._outbound.flow))

    @contextmanager
    def _entered(self) -> Generator[None]:
        with self._changed:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                due: list[Callable[[], None]] = []
                if not self._depth:
                    due, self._due = self._due, []
        for what in due:
            try:
                what()
            except Exception:
                _LOG.exception("Exception in callback")

    # -- the flow, with the lock held -------------------------------------------------------

    def _resume(self, reply: Reply) -> None:
        self._run(lambda: self._outbound.flow.send(reply))

    def _run(self, step: Callable[[], Effect]) -> None:
        flow = self._outbound.flow
        try:
            effect = step()
            while not isinstance(effect, Deliver):
                waits, reply = self._perform(effect)
                if waits:
                    return
                effect = flow.send(reply)
        except MeshError as error:
            self._outbound.drop()
            self._fail(self._outbound.error_of_exception(error))
        except Exception as error:
            self._outbound.drop()
            self._fail(error)
        else:
            self._deliver(effect.outcome)

    def _perform(self, effect: Effect) -> tuple[bool, Reply]:
        """Whether the reply comes later, else the reply."""
        call = self._outbound
        match effect:
            case Send():
                if effect.keep_after is not None or effect.also:
                    return False, not_built(effect)
                self._send(effect)
                return True, None
            case Sleep(seconds):
                seconds = call.take_pushback(seconds)
                self._timer = self._parts.timers.after(seconds, self._woken)
                return True, None
            case Dial(host, cluster):
                assert isinstance(cluster, ClusterPlan)
                authority = call.settings.authority
                endpoint = self._parts.endpoints.take(cluster, host, authority, "tcp")
                return False, Dialed(endpoint, host)
            case Mirror():
                if self._replay is None:
                    self._parts.mirror(effect, call.method, self._request)
                return False, None
            case ReadBody(limit):
                body = self._parts.serialized(call.method, self._request)
                return False, call.request_read(limit, body)
            case WaitForConfig():
                self._wait(effect)
                return True, None
            case Fetch() | GrpcFetch():
                self._fetch(effect)
                return True, None
            case _:
                return False, call.refuse(effect)

    def _fetch(self, effect: SideCall) -> None:
        """A side call, on a thread of its own."""

        def fetch() -> None:
            flow = self._outbound.flow
            try:
                reply = self._outbound.settings.mesh.fetcher.fetch(effect)
                step = partial(flow.send, reply)
            except Exception as error:
                step = partial(flow.throw, error)
            with self._entered():
                if not self._is_over:
                    self._run(step)

        if not self._parts.background.run(fetch):
            raise UsageError("too many side calls at once")

    def _woken(self) -> None:
        with self._entered():
            if not self._is_over:
                self._resume(None)

    def _wait(self, effect: WaitForConfig) -> None:
        call, mesh = self._outbound, self._outbound.settings.mesh
        seen, settled = call.seen, False
        if effect.listener:
            mesh.feed.want(effect.listener)

        def news() -> None:
            nonlocal settled
            with self._entered():
                if settled or self._is_over:
                    return
                settled = True
                forget()
                timer.cancel()
                call.seen = mesh.publisher.plan
                self._resume(call.seen is not seen)

        forget: Callable[[], None] = _nothing
        # News come on the control thread, which has better things to do.
        timer = self._parts.timers.after(effect.timeout, news)
        self._timer = timer
        forget = mesh.publisher.on_change(seen, self._parts.soon(news))
        self._forget = forget

    # -- attempts ---------------------------------------------------------------------------

    def _send(self, send: Send) -> None:
        endpoint = self._parts.endpoints.of(send.attempt)
        self._attempt = send, endpoint, self._outbound.settings.clock.monotonic()
        path = send.attempt.request.path
        self._start(endpoint, path, self._outbound.metadata_of(send.attempt), send)

    @abstractmethod
    def _start(self, endpoint: Endpoint, path: str, metadata: Metadata, send: Send | None) -> None:
        """Begin the attempt's call."""

    def _requests(self) -> object:
        return self._request if self._replay is None else self._replay.attempt()

    def _fail_attempt(self, error: Ended) -> Outcome | None:
        """The outcome of the attempt under way, which ended with an error; None: it is the call's
        end too."""
        assert self._attempt is not None
        send, endpoint, started = self._attempt
        return self._outbound.outcome_of(send, error, endpoint.transport, started)

    # -- ends -------------------------------------------------------------------------------

    def _deliver(self, outcome: Outcome | Dialed) -> None:
        if isinstance(outcome, Dialed):
            endpoint = cast("Endpoint", outcome.stream)
            metadata = self._outbound.options.metadata or NO_METADATA
            self._attempt = None
            self._start(endpoint, self._outbound.method.path, metadata, None)
            return
        if isinstance(outcome, Response) and isinstance(outcome.body, Finished):
            self._deliver_attempt(outcome, outcome.body)
            return
        if self._outbound.is_unready():
            self._look_again()
            return
        error = self._outbound.error_of(outcome)
        self._outbound.ended(
            error if isinstance(error, MeshRpcError) else None,
            outcome if isinstance(outcome, Reset) else None,
        )
        self._end_without_message(error)

    @abstractmethod
    def _deliver_attempt(self, outcome: Response, body: Finished) -> None:
        """The answer of an attempt stands."""

    @abstractmethod
    def _end_without_message(self, error: Exception | None) -> None:
        """The mesh's own answer; None: its status is OK."""

    def _look_again(self) -> None:
        """A call that waits for readiness tries from the start, a little later."""
        call = self._outbound
        call.ended(None)
        left = call.remaining()
        patience = self._patience if left is None else min(self._patience, max(left, 0.0))
        self._patience = min(self._patience * 2, _MOST_PATIENCE)

        def again() -> None:
            with self._entered():
                if not self._is_over:
                    call.begin()
                    self._run(lambda: next(call.flow))

        self._timer = self._parts.timers.after(patience, again)

    def _fail(self, error: Exception) -> None:
        self._error = error
        self._finish()

    def _finish(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._attempt = None
        self._let_go()
        self._due.extend(self._at_end)
        self._at_end = []
        self._changed.notify_all()

    def _let_go(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()

    def cancel(self) -> bool:
        """As grpc.Call; the attempt under way is cancelled, and no other is made."""
        with self._entered():
            if self._is_over:
                return False
            self._was_cancelled = True
            self._cancel_attempt()
            self._outbound.drop()
            self._fail(MeshRpcError(grpc.StatusCode.CANCELLED, _CANCELLED))
        return True

    def shut(self) -> None:
        """The channel closes: as grpcio's own calls end then."""
        with self._entered():
            if not self._is_over:
                self._cancel_attempt()
                self._outbound.drop()
                self._fail(MeshRpcError(grpc.StatusCode.CANCELLED, _SHUT))

    @abstractmethod
    def _cancel_attempt(self) -> None:
        """Cancel the call of the attempt under way, if there is one."""

    # -- grpc.Call --------------------------------------------------------------------------

    def is_active(self) -> bool:
        """As grpc.RpcContext."""
        return not self._is_over

    def time_remaining(self) -> float | None:
        """As grpc.RpcContext."""
        left = self._outbound.remaining()
        return None if left is None else max(left, 0.0)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """As grpc.RpcContext."""
        with self._changed:
            if self._is_over:
                return False
            self._at_end.append(callback)
            return True

    def _wait_until(self, is_so: Callable[[], bool], timeout: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(is_so, timeout)


def _nothing() -> None:
    """Not yet registered."""
