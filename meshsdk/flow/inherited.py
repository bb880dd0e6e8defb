"""What calls take from the request that the application is answering: its trace and its deadline."""

from meshsdk.call.context import CallContext
from meshsdk.call.message import Request
from meshsdk.call.serving import Serving, current_serving
from meshsdk.flow.cluster_plan import LiveState
from meshsdk.resilience import deadline
from meshsdk.routing.action import Chosen


def serving_of(request: Request, asked: Request, chosen: Chosen, context: CallContext) -> Serving:
    """`request` as it came, `asked` as the application gets it."""
    return Serving(asked, lambda: _ends(request, chosen, context))


def _ends(request: Request, chosen: Chosen, context: CallContext) -> float | None:
    """When the caller stops waiting, as far as route and request tell; None: unbounded.

    What a caller says of its own patience counts from a proven peer, but `grpc-timeout` is part of
    the protocol: whoever lies shortens the calls made for itself.
    """
    bounds: list[float] = []
    if chosen.timeout:
        bounds.append(chosen.timeout)
    if deadline.is_grpc_request(request):
        asked = deadline.grpc_timeout(request)
        if asked is not None:
            bounds.append(asked)
    if context.connection.is_mtls:
        expected = deadline.expected_timeout(request)
        if expected:
            bounds.append(expected)
    return context.start + min(bounds) if bounds else None


def inherit(live: LiveState, request: Request, context: CallContext) -> Request:
    """The call's request with what it takes along; its context gets the deadline."""
    serving = current_serving()
    if serving is None:
        return request
    if live.propagates_deadline and not serving.is_over:
        context.deadline = serving.deadline
    return serving.carry(request) if live.propagates_context else request


def patience(live: LiveState, wait: float) -> float:
    """Seconds that a call may wait for configuration: no longer than its caller waits for it."""
    serving = current_serving()
    if serving is None or serving.is_over or not live.propagates_deadline:
        return wait
    if serving.deadline is None:
        return wait
    return max(0.0, min(wait, serving.deadline - live.clock.monotonic()))
