"""Hedging for blocking callers: attempts of one call that run beside each other."""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

from meshsdk.call.effects import Attempt, Send
from meshsdk.call.message import Outcome, Reset, ResetReason, Response
from meshsdk.upstream import steps
from meshsdk.upstream.body import RequestBody
from meshsdk.upstream.exchange import Exchange, attempt
from meshsdk.upstream.steps import Steps
from meshsdk.upstream.sync import SyncUpstream
from meshsdk.upstream.sync_connection import SyncConnection
from meshsdk.upstream.timeouts import CallerTimeouts
from meshsdk.upstream.waiting import Waiting, patient_attempt, resumed

_Asking = Steps[SyncConnection, Outcome]


@dataclass(slots=True, eq=False)
class _Running:
    """An attempt on a thread of its own."""

    asking: _Asking
    connection: SyncConnection | None = None
    """What it waits on."""
    is_abandoned: bool = False
    result: Outcome | BaseException | None = None


class SyncHedges:
    """The first attempt runs on the caller's thread for as long as it is alone."""

    def __init__(self, upstream: SyncUpstream) -> None:
        self._upstream = upstream
        self._running: dict[Attempt, _Running] = {}
        self._changed = threading.Condition()

    def send(self, send: Send, body: RequestBody, timeouts: CallerTimeouts) -> Outcome:
        """As `SyncUpstream.send`, for a Send with `keep_after` or `also`."""
        new = send.attempt
        if new not in self._running:
            ask = self._upstream.ask(send, body, timeouts)
            if send.also or send.keep_after is None:
                if not self._start(new, attempt(ask)):
                    return ask.reset(ResetReason.OVERFLOW, request_sent=False)
            else:
                first = self._upstream.run(patient_attempt(ask, send.keep_after))
                if not isinstance(first, Waiting):
                    return first
                if self._start(new, resumed(first)):
                    return _still_running(new)
                return self._upstream.run(resumed(first))  # no thread is free: it stays alone
        return self._first_of((new, *send.also), send)

    def _first_of(self, awaited: Collection[Attempt], send: Send) -> Outcome:
        """The first result; a Reset that says `still_running` after `keep_after` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: any(self._running[a].result is not None for a in awaited), send.keep_after
            )
            for one in awaited:
                result = self._running[one].result
                if result is not None:
                    del self._running[one]
                    break
            else:
                return _still_running(send.attempt)
        if isinstance(result, BaseException):
            raise result
        return result

    def settle(self, kept: Collection[Attempt]) -> None:
        """End every attempt that is not named. Blocks for nothing."""
        for one in [a for a in self._running if a not in kept]:
            running = self._running.pop(one)
            with self._changed:
                running.is_abandoned = True
                connection, result = running.connection, running.result
            if connection is not None:
                connection.interrupt()
            _dispose(result)

    # -- on threads of their own ---------------------------------------------------------------

    def _start(self, new: Attempt, asking: _Asking) -> bool:
        running = _Running(asking)
        self._running[new] = running
        if self._upstream.hedging.run(lambda: self._work(running)):
            return True
        del self._running[new]
        return False

    def _work(self, running: _Running) -> None:
        result: Outcome | BaseException
        try:
            result = self._upstream.run(_watched(running))
        except BaseException as error:
            result = error
        with self._changed:
            running.connection = None
            if not running.is_abandoned:
                running.result = result
                self._changed.notify()
                return
        _dispose(result)


def _watched(running: _Running) -> _Asking:
    """The attempt, which tells where it waits, and ends before its next wait when abandoned."""
    asking = running.asking
    try:
        step = next(asking)
        while True:
            if isinstance(step, steps.Receive | steps.Write):
                running.connection = step.connection
            if running.is_abandoned:
                asking.close()
                return Reset(ResetReason.LOCAL_RESET)
            try:
                result = yield step
            except BaseException as error:
                step = asking.throw(error)
            else:
                step = asking.send(result)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def _still_running(one: Attempt) -> Reset:
    return Reset(ResetReason.PER_TRY_TIMEOUT, attempt=one, still_running=True)


def _dispose(result: Outcome | BaseException | None) -> None:
    body = result.body if isinstance(result, Response) else None
    if isinstance(body, Exchange):
        cast("Exchange[SyncConnection]", body).dispose()
