"""Hedging: a try that is out of its own time goes on, and the next one runs beside it.

Source: Envoy, Router::Filter with hedge_on_per_try_timeout.
"""

from meshsdk.call.effects import Attempt, Flow, Send, Sleep
from meshsdk.call.endpoint import Host
from meshsdk.call.message import LocalReply, Outcome, Reset, ResetReason, Response
from meshsdk.flow import reply
from meshsdk.flow.attempts import first_bound, new_attempt
from meshsdk.flow.mirror import mirror
from meshsdk.flow.routed_call import Call
from meshsdk.resilience.retry import NO, Decision, Retry

_TOO_LONG = Reset(ResetReason.PER_TRY_TIMEOUT)
_OVERFLOW = Reset(ResetReason.OVERFLOW, request_sent=False)


def hedged(call: Call, soft: float) -> Flow[Outcome | LocalReply]:
    """The first answer that is good enough, else the last one; `soft`: seconds after which a try
    gets company."""
    race = _Race(call, soft)
    final: Outcome | LocalReply | None
    while True:
        if race.is_due():
            host = call.pick()
            if host is None:
                return reply.no_host(call.context)
            attempt = race.begin(host)
            if attempt is None:
                final = race.failed(None, _OVERFLOW)
            else:
                if call.number == 1 and call.chosen.mirror_policies:
                    plan, context = call.plan, call.context
                    yield from mirror(plan, call.chosen, attempt.request, context, call.remaining())
                continue
        elif race.running:
            send, is_idle = race.await_first()
            outcome = yield send
            assert isinstance(outcome, Response | Reset)
            final = race.judge(outcome, is_idle)
        else:
            pause = race.retry_at - call.context.clock.monotonic()
            remaining = call.remaining()
            if remaining is not None and pause >= remaining:
                yield Sleep(max(0.0, remaining))
                return call.out_of_time()
            yield Sleep(pause)
            race.is_waiting = False
            continue
        if final is not None:
            return final


class _Race:
    """The attempts of one call that have not answered yet, and whether another is to come."""

    __slots__ = (
        "_alone_until",
        "_call",
        "_patience",
        "_retried",
        "_slow",
        "is_waiting",
        "retry_at",
        "running",
        "to_come",
    )

    def __init__(self, call: Call, soft: float) -> None:
        self._call = call
        self._patience = soft
        self._alone_until = 0.0
        """Monotonic seconds after which the newest attempt gets company."""
        self.running: dict[Attempt, Host] = {}
        """The newest last."""
        self._slow: set[Attempt] = set()
        """Attempts that ran out of their own time."""
        self._retried: set[Attempt] = set()
        """Those of them that got company: their own outcome earns no other attempt."""
        self.to_come = True
        """An attempt is to begin, at `retry_at` where `is_waiting`."""
        self.is_waiting = False
        self.retry_at = 0.0

    def is_due(self) -> bool:
        """Whether the next attempt is to begin now."""
        if self.is_waiting and self._call.context.clock.monotonic() >= self.retry_at:
            self.is_waiting = False
        return self.to_come and not self.is_waiting

    def begin(self, host: Host) -> Attempt | None:
        """An attempt at a host; None where the circuit breaker is open."""
        call = self._call
        self.to_come = False
        call.set_aside()
        attempt = new_attempt(call, host)
        if attempt is not None:
            self.running[attempt] = host
            self._alone_until = call.context.clock.monotonic() + self._patience
        return attempt

    # -- waiting ----------------------------------------------------------------------------

    def await_first(self) -> tuple[Send, bool]:
        """Wait for the first of the attempts; and whether its bound is the stream's idle timeout."""
        newest, *others = reversed(self.running)
        bound, is_idle = first_bound(self._call)
        until: float | None = None
        if self.to_come:
            until = self.retry_at
        elif newest not in self._slow:
            until = self._alone_until
        now = self._call.context.clock.monotonic()
        keep_after = None if until is None else max(0.0, until - now)
        send = Send(
            newest,
            bound,
            reset_reason_timeout=False,
            keep_after=keep_after,
            also=tuple(others),
        )
        return send, is_idle

    # -- judging ----------------------------------------------------------------------------

    def judge(self, outcome: Outcome, is_idle: bool) -> Outcome | LocalReply | None:
        """What the call comes to; None: go on."""
        call = self._call
        if isinstance(outcome, Reset) and outcome.still_running:
            if self.to_come:
                self.is_waiting = False
            else:
                self._took_too_long()
            return None
        if isinstance(outcome, Reset) and outcome.reason is ResetReason.TIMEOUT:
            for attempt, host in self.running.items():
                if attempt not in self._slow:
                    call.record(host, outcome)
            return reply.STREAM_IDLE if is_idle else call.out_of_time()
        answered = outcome.attempt
        assert isinstance(answered, Attempt)
        host = self.running.pop(answered)
        call.record(host, outcome)
        if isinstance(outcome, Reset):
            call.let_go_of(host)
            return self.failed(answered, outcome)
        return self._answered(answered, host, outcome)

    def _took_too_long(self) -> None:
        call, newest = self._call, next(reversed(self.running))
        self._slow.add(newest)
        call.record(self.running[newest], _TOO_LONG)
        retries = call.retry_state()
        if retries is not None and self._follow(retries.hedge()):
            self._retried.add(newest)
            call.timed_out = True  # what the next attempt is told

    def failed(self, attempt: Attempt | None, reset: Reset) -> Reset | None:
        """An attempt brought no response: the call's outcome where no other may bring one."""
        if attempt not in self._retried:
            retries = self._call.retry_state()
            if retries is not None:
                self._follow(retries.wants(reset))
        return None if self.running or self.to_come else reset

    def _answered(self, attempt: Attempt, host: Host, response: Response) -> Response | None:
        call = self._call
        retries = call.retry_state()
        is_bad = False
        if retries is not None and attempt in self._retried:
            is_bad = retries.would(response)
        elif retries is not None:
            decision = retries.wants(response)
            is_bad = self._follow(decision) or decision is not NO
        if is_bad and (self.running or self.to_come):
            call.let_go_of(host)
            return None
        call.keep(host)
        call.context.host, call.context.attempt = host, attempt
        return response

    def _follow(self, decision: Decision) -> bool:
        """Whether another attempt is to come; the response flag that says why not is set."""
        if isinstance(decision, Retry):
            self._call.timed_out = False
            self.to_come = self.is_waiting = True
            self.retry_at = self._call.context.clock.monotonic() + decision.backoff
            return True
        if decision.flag:
            self._call.context.flag(decision.flag)
        return False
