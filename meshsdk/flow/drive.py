"""The two drivers: they run a flow's effects until it delivers, and tell it when the body ended."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from meshsdk.call.effects import Deliver, Dialed, Effect, Fetch, Flow, Reply
from meshsdk.call.message import BodyEnd, Outcome, Reset, ResetReason

Perform: TypeAlias = Callable[[Effect], Reply]
AsyncPerform: TypeAlias = Callable[[Effect], Awaitable[Reply]]


def drive(flow: Flow[None], perform: Perform) -> Outcome | Dialed:
    """What the flow delivers. Whatever `perform` raises is thrown into the flow first."""
    effect = next(flow)
    while not isinstance(effect, Deliver):
        try:
            reply = perform(effect)
        except BaseException as error:
            effect = flow.throw(error)
        else:
            effect = flow.send(reply)
    return effect.outcome


async def adrive(flow: Flow[None], perform: AsyncPerform) -> Outcome | Dialed:
    """`drive` for coroutines; cancellation is thrown into the flow like any other exception."""
    effect = next(flow)
    while not isinstance(effect, Deliver):
        try:
            reply = await perform(effect)
        except BaseException as error:
            effect = flow.throw(error)
        else:
            effect = flow.send(reply)
    return effect.outcome


def complete(flow: Flow[None], end: BodyEnd) -> None:
    """Tell a delivered call that its body has ended. No I/O follows, so one colour is enough."""
    try:
        flow.send(end)
    except StopIteration:
        return
    flow.close()
    raise AssertionError("a flow asked for an effect after Deliver")


def unfetched(effect: Fetch) -> Reset:
    """The reply to a side call, which no driver of this release makes: who asked fails closed."""
    detail = f"side calls through the mesh (Fetch to {effect.cluster}) are not built"
    return Reset(ResetReason.CONNECT_FAILURE, detail, request_sent=False)
