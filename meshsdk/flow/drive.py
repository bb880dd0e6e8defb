"""The drivers, in both colours: they run a flow's effects until it delivers, or lets an application
answer, and tell it when the body ended."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from meshsdk.call.effects import CallApp, Deliver, Dialed, Effect, Flow, Reply, SideCall
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


def settle(flow: Flow[None], effect: Effect, perform: Perform) -> CallApp | Deliver:
    """Perform what an inbound flow asks for, from `effect` on, until it lets the application answer,
    or answers itself."""
    while not isinstance(effect, (CallApp, Deliver)):
        try:
            reply = perform(effect)
        except BaseException as error:
            effect = flow.throw(error)
        else:
            effect = flow.send(reply)
    return effect


async def asettle(flow: Flow[None], effect: Effect, perform: AsyncPerform) -> CallApp | Deliver:
    """`settle` for coroutines."""
    while not isinstance(effect, (CallApp, Deliver)):
        try:
            reply = await perform(effect)
        except BaseException as error:
            effect = flow.throw(error)
        else:
            effect = flow.send(reply)
    return effect


def complete(flow: Flow[None], end: BodyEnd) -> None:
    """Tell a delivered call that its body has ended. No I/O follows, so one colour is enough."""
    try:
        flow.send(end)
    except StopIteration:
        return
    flow.close()
    raise AssertionError("a flow asked for an effect after Deliver")


class Fetcher(Protocol):
    """Makes side calls through the mesh: `Fetch` and `GrpcFetch`."""

    def fetch(self, effect: SideCall) -> Reply:
        """On the calling thread."""
        ...

    async def afetch(self, effect: SideCall) -> Reply:
        """Without blocking the event loop."""
        ...


class NoFetcher:
    """Where there is no mesh: every side call fails, and who asked fails closed."""

    def fetch(self, effect: SideCall) -> Reply:
        """Nothing is sent."""
        detail = f"no mesh makes side calls here (to cluster {effect.cluster})"
        return Reset(ResetReason.CONNECT_FAILURE, detail, request_sent=False)

    async def afetch(self, effect: SideCall) -> Reply:
        """Nothing is sent."""
        return self.fetch(effect)
