"""One simulated call: it performs a flow's effects over scripted upstreams and simulated time."""

from collections.abc import Callable
from dataclasses import dataclass, field

from meshsdk.call.effects import (
    Attempt,
    BodyRead,
    CallApp,
    Deliver,
    Dial,
    Effect,
    Fetch,
    Flow,
    GrpcFetch,
    Mirror,
    ReadBody,
    Reply,
    Send,
    Sleep,
    WaitForConfig,
)
from meshsdk.call.message import BodyEnd, Outcome, Reset, ResetReason, Response
from meshsdk.cli.check.loop import EventLoop, Timer
from meshsdk.cli.check.upstream import Body, Running, ScriptedUpstream
from meshsdk.flow.cluster_plan import ClusterPlan

_MAX_BODY = 1 << 20


class _Pending:
    """The reply comes later."""


PENDING = _Pending()


@dataclass(slots=True, eq=False)
class Exchange:
    """Drives one flow; `finished` is called when the flow has ended."""

    loop: EventLoop
    upstream: ScriptedUpstream
    flow: Flow[None]
    body: bytes
    finished: Callable[[], None]
    outcome: Outcome | None = None
    end: BodyEnd | None = None
    last_sent: Attempt | None = None
    _running: dict[Attempt, Running] = field(default_factory=dict[Attempt, Running])
    _early: dict[Attempt, Outcome] = field(default_factory=dict[Attempt, Outcome])
    _awaited: tuple[Attempt, ...] = ()
    _timer: Timer | None = None

    def start(self) -> None:
        """Run until the first effect that takes time."""
        self._advance(lambda: next(self.flow))

    def _advance(self, step: Callable[[], Effect]) -> None:
        try:
            effect = step()
            while True:
                reply = self._perform(effect)
                if isinstance(reply, _Pending):
                    return
                effect = self.flow.send(reply)
        except StopIteration:
            self._settle(())
            self.finished()

    def _resume(self, reply: Reply) -> None:
        self._advance(lambda: self.flow.send(reply))

    def _perform(self, effect: Effect) -> "Reply | _Pending":
        if not isinstance(effect, Send):
            self._settle(())
        match effect:
            case Send():
                return self._send(effect)
            case Sleep(seconds):
                self.loop.call_later(seconds, lambda: self._resume(None))
                return PENDING
            case Mirror(attempt):
                self.upstream.mirror(attempt, self.body)
                return None
            case ReadBody(limit):
                return BodyRead(self.body[:limit], len(self.body) <= limit)
            case Deliver(outcome):
                return self._deliver(outcome)
            case Fetch() | GrpcFetch() | Dial():
                return Reset(ResetReason.CONNECT_FAILURE, "no such upstream in a simulation")
            case WaitForConfig():
                return False
            case CallApp():
                return Response(200, body=Body(b"ok"))

    def _deliver(self, outcome: object) -> "Reply | _Pending":
        assert isinstance(outcome, Response | Reset)
        self.outcome = outcome
        if isinstance(outcome, Response) and isinstance(outcome.body, Body):
            self.end = outcome.body.end()
        else:
            self.end = BodyEnd(len(self.body))
        return self.end

    # -- attempts ---------------------------------------------------------------------------

    def _send(self, send: Send) -> "Reply | _Pending":
        self._awaited = (send.attempt, *send.also)
        self._settle(self._awaited)
        if send.attempt not in self._running and send.attempt not in self._early:
            self._begin(send.attempt)
        for attempt in self._awaited:
            if attempt in self._early:
                return self._early.pop(attempt)
        keep, timeout = send.keep_after, send.timeout
        if keep is not None and (timeout is None or keep < timeout):
            slow = Reset(ResetReason.PER_TRY_TIMEOUT, attempt=send.attempt, still_running=True)
            self._timer = self.loop.call_later(keep, lambda: self._timed_out(slow))
        elif timeout is not None:
            late = Reset(
                ResetReason.PER_TRY_TIMEOUT if send.reset_reason_timeout else ResetReason.TIMEOUT,
                attempt=send.attempt,
            )
            self._timer = self.loop.call_later(timeout, lambda: self._timed_out(late))
        return PENDING

    def _begin(self, attempt: Attempt) -> None:
        """A place on a connection, as a pool with circuit breakers gives it, then the upstream."""
        assert isinstance(attempt.cluster, ClusterPlan)
        self._running[attempt] = self.upstream.send(
            attempt, self.body, lambda outcome: self._answered(attempt, outcome)
        )
        self.last_sent = attempt

    def _answered(self, attempt: Attempt, outcome: Outcome) -> None:
        self._running.pop(attempt, None)
        if attempt not in self._awaited:
            self._early[attempt] = outcome
            return
        self._stop_timer()
        self._awaited = ()
        self._resume(outcome)

    def _timed_out(self, reset: Reset) -> None:
        self._timer = None
        self._awaited = ()
        if not reset.still_running:
            self._settle(())
        self._resume(reset)

    def _settle(self, kept: tuple[Attempt, ...]) -> None:
        """Let go of every attempt that the flow no longer names."""
        self._stop_timer()
        for attempt in [a for a in self._running if a not in kept]:
            self._running.pop(attempt).cancel()
        for attempt in [a for a in self._early if a not in kept]:
            del self._early[attempt]

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
