"""tenacity's strategies as the retry policy of a mesh.

They are called as functions after an attempt has failed; tenacity's loop never runs, and a call whose
first attempt succeeds costs nothing more.
"""

from collections.abc import Callable

import tenacity

from meshsdk.call.message import Outcome, Reset, ResetReason
from meshsdk.errors import AttemptError, AttemptTimeoutError, UsageError
from meshsdk.resilience.caller_retries import Judged, Tried

_TIMEOUTS = frozenset(
    {
        ResetReason.CONNECT_TIMEOUT,
        ResetReason.PER_TRY_TIMEOUT,
        ResetReason.PER_TRY_IDLE_TIMEOUT,
    }
)
Retry = Callable[[tenacity.RetryCallState], bool]
Wait = Callable[[tenacity.RetryCallState], float]
Stop = Callable[[tenacity.RetryCallState], bool]


class RetryStrategy:
    """For `Options(retry=...)`: how long to wait, when to stop, what to retry.

    What is None stays as the route's retry policy has it. `retry` is shown a `meshsdk.call.Response`
    as the result, or an `AttemptError` (a ConnectionError; AttemptTimeoutError is a TimeoutError too)
    as the exception. Circuit breakers, retry budget and the call's deadline have the last word.
    """

    def __init__(
        self, wait: Wait | None = None, stop: Stop | None = None, retry: Retry | None = None
    ) -> None:
        for name, given in (("wait", wait), ("stop", stop), ("retry", retry)):
            if given is not None and not callable(given):
                told = f"expected a strategy of tenacity, as wait_fixed(1), found {given!r}"
                raise UsageError(f"RetryStrategy.{name}: {told}")
        self._wait = wait
        self._stop = stop
        self._retry = retry
        # What strategies may look at; it is never called.
        self._retrying = tenacity.Retrying()

    @property
    def judges_successes(self) -> bool:
        """Whether answers below 400 are shown to it too."""
        return self._retry is not None

    def judge(self, tried: Tried, route: Judged) -> Judged:
        """In tenacity's order: `retry`, `wait`, `stop`."""
        state = tenacity.RetryCallState(self._retrying, None, (), {})
        state.start_time = tried.started
        state.attempt_number = tried.number
        state.idle_for = tried.waited
        state.outcome = _future(tried)
        state.outcome_timestamp = tried.now
        is_wanted = route.is_wanted if self._retry is None else bool(self._retry(state))
        if not is_wanted:
            return Judged(False, False, 0.0)
        pause = route.pause if self._wait is None else float(self._wait(state))
        state.upcoming_sleep = pause
        is_enough = route.is_enough if self._stop is None else bool(self._stop(state))
        return Judged(True, is_enough, pause)


def _future(tried: Tried) -> tenacity.Future:
    future = tenacity.Future(tried.number)
    outcome: Outcome = tried.outcome
    if isinstance(outcome, Reset):
        kind = AttemptTimeoutError if outcome.reason in _TIMEOUTS else AttemptError
        error = kind(outcome.reason.value, outcome.detail)
        error.__cause__ = outcome.error
        future.set_exception(error)
    else:
        future.set_result(outcome)
    return future
