"""A flow under the eyes of telemetry: the same effects, in the same order.

One generator around another, where somebody takes note; else calls know nothing of it.
"""

from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Deliver, Effect, Flow, Reply, Send
from meshsdk.call.message import BodyEnd, Request, Reset, ResetReason, Response
from meshsdk.flow.plan import HttpPlan
from meshsdk.telemetry.seen_call import CallRecorder, SeenCall, Telemetry, failed

_TRANSPORT = frozenset(
    {ResetReason.CONNECT_FAILURE, ResetReason.CONNECT_TIMEOUT, ResetReason.TLS_FAILURE}
)

_FAILED = Response(500)
"""What servers answer for an application that raised."""


def seen_by(
    telemetry: Telemetry, http: HttpPlan, flow: Flow[None], request: Request, context: CallContext
) -> Flow[None]:
    """The flow of a call through a connection manager, observed where anybody wants that."""
    if context.tracing is not None:
        return flow  # `explain` makes no call
    recorder = http.recorder
    if recorder is None:
        if http.is_unobserved:
            return flow
        recorder = _recorder(telemetry, http, context)
        http.recorder, http.is_unobserved = recorder, recorder is None
        if recorder is None:
            return flow
    return _observed(flow, SeenCall(request, context), recorder)


def _recorder(telemetry: Telemetry, http: HttpPlan, context: CallContext) -> CallRecorder | None:
    try:
        return telemetry.recorder(http.hcm, is_inbound=context.is_inbound)
    except Exception:
        failed()
        return None


def _observed(flow: Flow[None], call: SeenCall, recorder: CallRecorder) -> Flow[None]:
    clock = call.context.clock
    try:
        call.spans = recorder.begin(call)
    except Exception:
        failed()
    try:
        effect = next(flow)
        while True:
            kind = type(effect)
            is_asking = kind is Send or kind is CallApp
            if is_asking:
                call.asked_at = clock.monotonic()
                if call.spans is not None:
                    effect = _asks(call, effect)
            elif isinstance(effect, Deliver):
                call.outcome = effect.outcome
            try:
                reply = yield effect
            except BaseException as error:
                if is_asking:
                    _answered(call, None)
                    if kind is CallApp and isinstance(error, Exception):
                        call.error, call.outcome = error, _FAILED
                effect = flow.throw(error)
                continue
            if is_asking:
                call.answered_at = clock.monotonic()
                if recorder.wants_local_address and isinstance(reply, Response):
                    _note_address(call, reply)
                if call.spans is not None or type(reply) is Reset:
                    _answered(call, reply)
            elif kind is Deliver and isinstance(reply, BodyEnd):
                call.end = reply
            effect = flow.send(reply)
    except StopIteration:
        return
    finally:
        _finish(call, recorder)


def _asks(call: SeenCall, effect: Effect) -> Effect:
    assert call.spans is not None and isinstance(effect, Send | CallApp)
    try:
        return call.spans.asks(effect)
    except Exception:
        failed()
        return effect


def _note_address(call: SeenCall, response: Response) -> None:
    try:
        call.local_address = getattr(response.body, "local_address", "")
    except OSError:
        call.local_address = ""  # the connection is closed already


def _answered(call: SeenCall, reply: Reply) -> None:
    if isinstance(reply, Reset):
        call.failure = reply.detail if reply.reason in _TRANSPORT else ""
    if call.spans is not None:
        try:
            call.spans.answered(reply)
        except Exception:
            failed()


def _finish(call: SeenCall, recorder: CallRecorder) -> None:
    context = call.context
    call.seconds = context.clock.monotonic() - context.start
    if call.end is None and call.error is None:
        context.flag("DC")  # Envoy, DownstreamConnectionTermination
        if call.outcome is None and not context.details:
            context.details = "downstream_remote_disconnect"
    try:
        recorder.finished(call)
        if call.spans is not None:
            call.spans.finished(call)
    except Exception:
        failed()
