"""How long a call may wait in its filters: nothing moves on its stream then.

Source: Envoy, ActiveStream::onStreamMaxDurationReached, onStreamIdleTimeout.
"""

from meshsdk.call.context import CallContext
from meshsdk.call.message import LocalReply, Request
from meshsdk.filters.chain import Bound
from meshsdk.flow.reply import CALLER_TIMEOUT
from meshsdk.resilience.deadline import stream_duration
from meshsdk.resources.hcm_options import HcmOptions
from meshsdk.routing.action import Chosen

_MAX_DURATION = LocalReply(
    504, b"downstream duration timeout", details="max_duration_timeout", grpc_status=4
)
_IDLE = LocalReply(504, b"stream timeout", flags=("SI",), details="stream_idle_timeout")
_DEFAULT_IDLE = 300.0
"""stream_idle_timeout where unset."""


def in_filters(
    options: HcmOptions, chosen: Chosen | None, request: Request, context: CallContext
) -> Bound | None:
    """The first of the call's bounds; None: it may wait for ever."""
    now = context.clock.monotonic()
    bounds: list[Bound] = []
    limit = options.max_stream_duration
    idle = _DEFAULT_IDLE if options.stream_idle_timeout is None else options.stream_idle_timeout
    if chosen is not None:
        if chosen.max_stream_duration is not None:
            limit = stream_duration(chosen.max_stream_duration, request).limit
        if chosen.idle_timeout is not None:
            idle = chosen.idle_timeout
    if limit:
        bounds.append(Bound(context.start + limit, _MAX_DURATION))
    if context.deadline is not None:
        bounds.append(Bound(context.deadline, CALLER_TIMEOUT))
    if idle:
        bounds.append(Bound(now + idle, _IDLE))
    return min(bounds, key=lambda bound: bound.ends, default=None)
