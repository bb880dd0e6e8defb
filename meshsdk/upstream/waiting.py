"""Hedging: an attempt whose request was sent is put aside while it waits for its response."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from meshsdk.call.message import Outcome
from meshsdk.upstream.connection import Connection
from meshsdk.upstream.exchange import attempt
from meshsdk.upstream.steps import Ask, Receive, Step, Steps

C = TypeVar("C", bound=Connection)


@dataclass(slots=True, eq=False)
class Waiting(Generic[C]):
    """An attempt that was put aside; `resumed` goes on with it."""

    asking: Steps[C, Outcome]
    step: Receive[C]
    until: float | None
    """Monotonic seconds at which the step's own time is over."""
    ask: Ask[C]


def patient_attempt(ask: Ask[C], patience: float) -> Steps[C, Outcome | Waiting[C]]:
    """An attempt that is put aside `patience` seconds after its request was sent."""
    asking = attempt(ask)
    aside_at: float | None = None
    now = 0.0
    try:
        step = next(asking)
        while True:
            wait = step
            if isinstance(step, Receive):
                now = ask.clock.monotonic()
                if aside_at is None:
                    aside_at = now + patience
                left = max(0.0, aside_at - now)
                if step.timeout is None or left < step.timeout:
                    wait = Receive(step.connection, left)
            else:
                aside_at = None  # sent anew on a fresh connection
            try:
                result = yield wait
            except TimeoutError as error:
                if wait is not step and isinstance(step, Receive):
                    until = None if step.timeout is None else now + step.timeout
                    return Waiting(asking, step, until, ask)
                step = asking.throw(error)
            except BaseException as error:
                step = asking.throw(error)
            else:
                step = asking.send(result)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome


def resumed(waiting: Waiting[C]) -> Steps[C, Outcome]:
    """Go on with an attempt that was put aside."""
    asking, until = waiting.asking, waiting.until
    left = None if until is None else max(0.0, until - waiting.ask.clock.monotonic())
    step: Step[C] = Receive(waiting.step.connection, left)
    try:
        while True:
            try:
                result = yield step
            except BaseException as error:
                step = asking.throw(error)
            else:
                step = asking.send(result)
    except StopIteration as stop:
        outcome: Outcome = stop.value
        return outcome
