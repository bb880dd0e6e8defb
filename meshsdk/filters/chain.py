"""Running the HTTP filters of a chain in order, each with what the matched route overrides."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Fetch, Flow, GrpcFetch, Sleep
from meshsdk.call.filter import Continue, HttpFilter, OnResponse, SeesEveryAnswer, Verdict
from meshsdk.call.message import LocalReply, Request, Reset, ResetReason
from meshsdk.config.kinds import kind_of
from meshsdk.errors import UsageError
from meshsdk.filters.not_built import Inert
from meshsdk.filters.router import Router
from meshsdk.resources.filter_overrides import Overrides
from meshsdk.resources.http_filters import NamedFilter

InForce: TypeAlias = tuple[str, HttpFilter | None]
"""A filter's name and what runs in its place."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Until when a call may wait in its filters, and the answer then."""

    ends: float
    """Monotonic seconds."""
    reply: LocalReply


@dataclass(slots=True)
class Passed:
    """Every filter let the request go on."""

    request: Request
    on_response: list[OnResponse]
    """In the order of the filters; answers meet them last first."""


@dataclass(slots=True)
class Refused:
    """A filter answered itself; the others see that answer too, some even unasked."""

    reply: LocalReply
    request: Request
    on_response: list[OnResponse]


def effective(filters: Sequence[NamedFilter], overrides: Overrides) -> tuple[InForce, ...]:
    """The filters in force for a route, each in its place; None where one has nothing to do.
    Nothing at all where no filter has."""
    found = tuple((f.name, _in_force(f, overrides)) for f in filters)
    return found if any(running is not None for _, running in found) else ()


def _in_force(named: NamedFilter, overrides: Overrides) -> HttpFilter | None:
    running = named.filter
    if running is None:
        return None
    if named.name in overrides:
        override = overrides[named.name]
        running = None if override is None else override(running)
    elif named.disabled:
        return None
    idle = isinstance(running, Inert) or (isinstance(running, Router) and not running.not_built)
    return None if idle else running


def run(
    filters: Sequence[InForce],
    request: Request,
    context: CallContext,
    rematch: Callable[[Request], Sequence[InForce]],
    bound: Callable[[], Bound | None] = lambda: None,
) -> Flow[Passed | Refused]:
    """Ask each filter. `rematch` gives the filters in force after one changed the route; `bound`
    is asked when a filter wants to wait."""
    stack: list[OnResponse] = []
    index = 0
    while index < len(filters):
        name, http_filter = filters[index]
        index += 1
        if http_filter is None:
            continue
        step = http_filter.on_request(request, context)
        if isinstance(step, Continue | LocalReply):
            verdict: Verdict = step
        else:
            verdict = yield from _waited(name, step, context, bound())
        if context.tracing is not None:
            context.tracing(name, "continue" if isinstance(verdict, Continue) else verdict.details)
        if isinstance(verdict, LocalReply):
            stack.extend(unasked(filters[index:]))
            return Refused(verdict, request, stack)
        request = verdict.request
        if verdict.on_response is not None:
            stack.append(verdict.on_response)
        if verdict.reroute:
            filters = rematch(request)
    return Passed(request, stack)


def unasked(filters: Sequence[InForce]) -> Iterator[OnResponse]:
    """How filters see an answer that was given before they were asked."""
    for _, http_filter in filters:
        seeing: object = http_filter
        if isinstance(seeing, SeesEveryAnswer):
            yield seeing.on_unasked


def _waited(name: str, step: object, context: CallContext, bound: Bound | None) -> Flow[Verdict]:
    """What a filter's flow ends with; UsageError where it is no flow, or ends with no verdict."""
    found = step
    if isinstance(step, Generator):
        found = cast("object", (yield from _within(cast("Flow[Verdict]", step), context, bound)))
    if not isinstance(found, Continue | LocalReply):
        told = f"expected Continue, LocalReply or a generator of effects, found {kind_of(found)}"
        raise UsageError(f"filter {name}: on_request: {told}")
    return found


def _within(step: Flow[Verdict], context: CallContext, bound: Bound | None) -> Flow[Verdict]:
    """A filter's flow, whose sleep or side call ends when the call's time does."""
    if bound is None:
        return (yield from step)
    try:
        effect = next(step)
        while True:
            is_cut = False
            left = max(0.0, bound.ends - context.clock.monotonic())
            if isinstance(effect, Sleep):
                if left < effect.seconds:
                    yield Sleep(left)
                    return bound.reply
            elif isinstance(effect, Fetch | GrpcFetch):
                is_cut = effect.timeout is None or left < effect.timeout
                if is_cut:
                    effect = replace(effect, timeout=left)
            try:
                reply = yield effect
            except BaseException as error:
                effect = step.throw(error)
            else:
                if is_cut and isinstance(reply, Reset) and reply.reason is ResetReason.TIMEOUT:
                    return bound.reply
                effect = step.send(reply)
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    finally:
        step.close()
