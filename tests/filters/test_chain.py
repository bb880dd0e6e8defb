"""Running filters: who sees an answer, and how long a call may wait in them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import BodyRead, Fetch, Flow, ReadBody, Sleep
from meshsdk.call.filter import Continue, OnResponse, Step, Verdict
from meshsdk.call.message import LocalReply, Request, Reset, ResetReason, Response
from meshsdk.clock import seeded
from meshsdk.errors import UsageError
from meshsdk.filters.chain import Bound, InForce, Passed, Refused, run
from tests.filters.filter_case import HERE, Clock


class Forgets:
    """Comes back with nothing."""

    def on_request(self, request: Request, context: CallContext) -> Step:
        return cast("Step", None)


class ForgetsLater:
    """The same, by a flow."""

    def on_request(self, request: Request, context: CallContext) -> Step:
        return self._flow()

    def _flow(self) -> Flow[Verdict]:
        yield Sleep(0.1)
        return cast("Verdict", None)


GET = Request("GET", "a.com", "/")
TOO_LATE = LocalReply(504, details="too late")
NO_BOUND: Callable[[], Bound | None] = lambda: None  # noqa: E731 - a value of that type


@dataclass
class Deny:
    """Answers itself."""

    def on_request(self, request: Request, context: CallContext) -> Step:
        del request, context
        return LocalReply(403)


@dataclass
class Tag:
    """Marks answers; `unasked` says whether also those of calls that never came here."""

    name: str

    def on_request(self, request: Request, context: CallContext) -> Step:
        del context
        return Continue(request, self.on_response)

    def on_response(self, response: Response, context: CallContext) -> Response:
        del context
        return response.with_headers(response.headers.add("x-tag", self.name))


@dataclass
class UnaskedTag(Tag):
    def on_unasked(self, response: Response, context: CallContext) -> Response:
        return self.on_response(response, context)


@dataclass
class Waits:
    """Reads the body, sleeps, goes on; notes what came of it."""

    seconds: float = 1.0
    ended: list[str] = field(default_factory=list[str])

    def on_request(self, request: Request, context: CallContext) -> Step:
        del context
        return self._wait(request)

    def _wait(self, request: Request) -> Flow[Verdict]:
        try:
            body = yield ReadBody(8)
            assert isinstance(body, BodyRead)
            yield Sleep(self.seconds)
            self.ended.append("woke")
            return Continue(request)
        finally:
            self.ended.append("over")


def start(
    *filters: object, bound: Callable[[], Bound | None] = NO_BOUND
) -> tuple[Flow[Passed | Refused], CallContext]:
    clock = Clock()
    context = CallContext(clock, seeded(1), Connection(HERE))
    chain: list[InForce] = [(str(i), one) for i, one in enumerate(filters)]  # type: ignore[misc]  # fakes
    return run(chain, GET, context, lambda _: chain, bound), context


def result(flow: Flow[Passed | Refused]) -> Passed | Refused:
    with pytest.raises(StopIteration) as stop:
        next(flow)
    found = stop.value.value
    assert isinstance(found, Passed | Refused)
    return found


def tags(on_response: list[OnResponse], context: CallContext) -> list[str]:
    response = Response(403)
    for see in reversed(on_response):
        response = see(response, context)
    return list(response.headers.values("x-tag"))


def test_an_answer_goes_through_all_filters_that_want_every_one_last_first() -> None:
    flow, context = start(Tag("1"), Deny(), UnaskedTag("2"), Tag("3"), UnaskedTag("4"))

    found = result(flow)

    assert isinstance(found, Refused)
    assert tags(found.on_response, context) == ["4", "2", "1"]


def test_a_sleep_ends_with_the_calls_time_and_the_filter_is_closed() -> None:
    waits = Waits(seconds=1.0)
    flow, _ = start(waits, bound=lambda: Bound(1000.25, TOO_LATE))

    assert isinstance(next(flow), ReadBody)
    assert flow.send(BodyRead(b"", complete=True)) == Sleep(0.25)
    with pytest.raises(StopIteration) as stop:
        flow.send(None)

    assert isinstance(stop.value.value, Refused)
    assert stop.value.value.reply is TOO_LATE
    assert waits.ended == ["over"]


def test_a_sleep_within_the_calls_time_is_slept() -> None:
    waits = Waits(seconds=1.0)
    flow, _ = start(waits, bound=lambda: Bound(1001.5, TOO_LATE))

    next(flow)
    assert flow.send(BodyRead(b"", complete=True)) == Sleep(1.0)
    with pytest.raises(StopIteration) as stop:
        flow.send(None)

    assert isinstance(stop.value.value, Passed)
    assert waits.ended == ["woke", "over"]


@dataclass
class Fetches:
    """Makes a side call, and passes whatever comes back."""

    timeout: float | None
    replies: list[object] = field(default_factory=list[object])

    def on_request(self, request: Request, context: CallContext) -> Step:
        return self._run(request)

    def _run(self, request: Request) -> Flow[Verdict]:
        self.replies.append((yield Fetch("authz", request, timeout=self.timeout)))
        return Continue(request)


@pytest.mark.parametrize("timeout", [None, 600.0])
def test_a_side_call_ends_with_the_calls_time(timeout: float | None) -> None:
    flow, _ = start(Fetches(timeout), bound=lambda: Bound(1000.25, TOO_LATE))

    effect = next(flow)
    assert isinstance(effect, Fetch)
    assert effect.timeout == 0.25
    with pytest.raises(StopIteration) as stop:
        flow.send(Reset(ResetReason.TIMEOUT))

    assert isinstance(stop.value.value, Refused)
    assert stop.value.value.reply is TOO_LATE


def test_a_side_call_that_times_out_by_itself_is_the_filters_affair() -> None:
    fetches, reset = Fetches(0.1), Reset(ResetReason.TIMEOUT)
    flow, _ = start(fetches, bound=lambda: Bound(1000.25, TOO_LATE))

    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(reset)

    assert isinstance(stop.value.value, Passed)
    assert fetches.replies == [reset]


def test_what_the_adapter_raises_comes_to_the_filter() -> None:
    waits = Waits()
    flow, _ = start(waits, bound=lambda: Bound(1001.5, TOO_LATE))

    next(flow)
    with pytest.raises(KeyboardInterrupt):
        flow.throw(KeyboardInterrupt())

    assert waits.ended == ["over"]


def test_a_filter_without_a_verdict_is_named() -> None:
    context = CallContext(Clock(), seeded(0), Connection(HERE))
    for forgets in (Forgets(), ForgetsLater()):
        flow = run([("own", forgets)], GET, context, lambda _: [])
        with pytest.raises(
            UsageError, match=r"filter own: on_request: expected Continue, .* nothing"
        ):
            [flow.send(None) for _ in range(2)]
