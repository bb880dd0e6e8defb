"""Spans through the OpenTelemetry API: one for each call, one for each attempt.

They are made only where an SDK is installed. Names and attributes follow OTel's conventions for
HTTP; what it has no word for begins with `meshsdk.`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import (
    NonRecordingSpan,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from meshsdk.call.address import host_of
from meshsdk.call.effects import CallApp, Reply, Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, Response
from meshsdk.call.serving import TRACE_FIELDS, Detach, current_serving
from meshsdk.clock import Random
from meshsdk.telemetry.seen_call import CallSpans, SeenCall

_W3C: Final = TraceContextTextMapPropagator()
_B3_FIELDS: Final = frozenset({name for name in TRACE_FIELDS if "b3" in name})
_B3_SINGLE: Final = re.compile(r"([0-9a-f]{32}|[0-9a-f]{16})-([0-9a-f]{16})(?:-([01d]))?(?:-.*)?")
_B3_IDS: Final = re.compile(r"([0-9a-f]{32}|[0-9a-f]{16}) ([0-9a-f]{16})")
Tag = Callable[[SeenCall], str | None]


def installed_tracer(version: str) -> Tracer | None:
    """Of the tracer provider that the application has installed; None: it has none."""
    if isinstance(trace.get_tracer_provider(), ProxyTracerProvider | NoOpTracerProvider):
        return None
    return trace.get_tracer("meshsdk", version)


class SpanMaker:
    """Begins the spans of calls through one connection manager."""

    def __init__(
        self,
        tracer: Tracer,
        random: Random,
        sampled: float | None = None,
        tags: tuple[tuple[str, Tag], ...] = (),
        *,
        is_inbound: bool = False,
    ) -> None:
        """`sampled`: the share of traces that begin here; None: the SDK's sampler decides."""
        self._tracer = tracer
        self._random = random
        self._sampled = sampled
        self._tags = tags
        self._is_inbound = is_inbound

    def begin(self, call: SeenCall) -> CallSpans:
        """The spans of a call."""
        headers = call.request.headers
        parent = _parent(headers)
        if not self._is_inbound and (parent is None or _is_carried(headers)):
            current = trace.get_current_span().get_span_context()
            parent = current if current.is_valid else parent
        if parent is None and self._sampled is not None and self._random.random() >= self._sampled:
            return _Unsampled(self._random)
        around = None if parent is None else trace.set_span_in_context(NonRecordingSpan(parent))
        kind = SpanKind.SERVER if self._is_inbound else SpanKind.INTERNAL
        request = call.request
        attributes = {
            "http.request.method": request.method,
            "url.path": request.path.partition("?")[0],
            "server.address": host_of(request.authority),
        }
        span = self._tracer.start_span(request.method, around, kind, attributes)
        return _Spans(self._tracer, span, self._tags)


class _Spans:
    """Of one call."""

    def __init__(self, tracer: Tracer, span: Span, tags: tuple[tuple[str, Tag], ...]) -> None:
        self._tracer = tracer
        self._span = span
        self._tags = tags
        self._attempts: dict[int, Span] = {}
        self._latest: Span | None = None
        self._number = 0
        self._reason = ""

    def asks(self, effect: Send | CallApp) -> Send | CallApp:
        if isinstance(effect, CallApp):
            return _for_app(effect, self._span)
        attempt = effect.attempt
        if id(attempt) in self._attempts:  # hedging asks again for one that still runs
            return effect
        around = trace.set_span_in_context(self._span)
        endpoint = attempt.host.endpoint
        attributes: dict[str, str | int] = {
            "http.request.method": attempt.request.method,
            "server.address": endpoint.hostname or endpoint.address.host,
            "network.peer.address": endpoint.address.host,
            "network.peer.port": endpoint.address.port,
        }
        if endpoint.locality.zone:
            attributes["meshsdk.zone"] = endpoint.locality.zone
        if self._number:
            attributes["http.request.resend_count"] = self._number
            attributes["meshsdk.retry.reason"] = self._reason
        span = self._tracer.start_span(attempt.request.method, around, SpanKind.CLIENT, attributes)
        self._number += 1
        self._attempts[id(attempt)] = self._latest = span
        # An attempt is one object from here to its connection; nobody has it yet.
        object.__setattr__(attempt, "request", _under(attempt.request, span.get_span_context()))
        return effect

    def answered(self, reply: Reply) -> None:
        span = self._latest
        if isinstance(reply, Reset) and reply.still_running:
            self._reason = "hedge"
            return
        if span is None:
            return
        if isinstance(reply, Response):
            self._reason = str(reply.status)
            span.set_attribute("http.response.status_code", reply.status)
            if reply.status >= 500:
                _fails(span, str(reply.status))
        elif isinstance(reply, Reset):
            self._reason = reply.reason.value
            _fails(span, reply.reason.value)
        self._latest = None
        span.end()

    def finished(self, call: SeenCall) -> None:
        for attempt in self._attempts.values():
            if attempt.is_recording():
                attempt.end()
        span, context, outcome = self._span, call.context, call.outcome
        facts = {
            "meshsdk.cluster": context.cluster,
            "meshsdk.endpoint": "" if context.host is None else str(context.host.endpoint.address),
            "meshsdk.route": context.route_name,
            "meshsdk.response_flags": ",".join(context.flags),
            "meshsdk.response_code_details": context.details,
            "meshsdk.policy": call.policy,
        }
        for name, value in facts.items():
            if value:
                span.set_attribute(name, value)
        for name, tag in self._tags:
            found = tag(call)
            if found is not None:
                span.set_attribute(name, found)
        if isinstance(outcome, Response):
            span.set_attribute("http.response.status_code", outcome.status)
            if outcome.status >= 500:
                _fails(span, str(outcome.status))
        elif isinstance(outcome, Reset):
            _fails(span, outcome.reason.value)
        span.end()


class _Unsampled:
    """A trace that nobody records: its IDs go on, so that nobody else begins one."""

    def __init__(self, random: Random) -> None:
        ids = random.randrange(2**128 - 1) + 1, random.randrange(2**64 - 1) + 1
        self._context = SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(0))

    def asks(self, effect: Send | CallApp) -> Send | CallApp:
        if isinstance(effect, CallApp):
            return _for_app(effect, NonRecordingSpan(self._context))
        request = _under(effect.attempt.request, self._context)
        object.__setattr__(effect.attempt, "request", request)
        return effect

    def answered(self, reply: Reply) -> None:
        del reply

    def finished(self, call: SeenCall) -> None:
        del call


def _fails(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(Status(StatusCode.ERROR))


def _for_app(effect: CallApp, span: Span) -> CallApp:
    """The application's turn, under our span."""
    request = _under(effect.request, span.get_span_context())
    serving = effect.serving
    if serving is None:
        return replace(effect, request=request)

    def attach() -> Detach:
        token = otel_context.attach(trace.set_span_in_context(span))
        return lambda: otel_context.detach(token)

    serving.request, serving.attach = request, attach
    return replace(effect, request=request)


def _is_carried(headers: Headers) -> bool:
    """Whether a call's trace is that of the request which is being answered."""
    serving = current_serving()
    if serving is None:
        return False
    ours = serving.request.headers
    return all(headers.get(name) == ours.get(name) for name in TRACE_FIELDS)


# -- fields ---------------------------------------------------------------------------------


def _parent(headers: Headers) -> SpanContext | None:
    if not headers.has_any(TRACE_FIELDS):
        return None
    carrier = {
        name: value
        for name in ("traceparent", "tracestate")
        if (value := headers.get(name)) is not None
    }
    found = trace.get_current_span(_W3C.extract(carrier, otel_context.Context()))
    context = found.get_span_context()
    return context if context.is_valid else _b3(headers)


def _b3(headers: Headers) -> SpanContext | None:
    sampled = headers.get("x-b3-sampled") or ""
    found = _B3_SINGLE.fullmatch(headers.get("b3") or "")
    if found is not None:
        sampled = found[3] or ""
    else:
        ids = f"{headers.get('x-b3-traceid')} {headers.get('x-b3-spanid')}"
        found = _B3_IDS.fullmatch(ids)
        if headers.get("x-b3-flags") == "1":
            sampled = "1"
    if found is None:
        return None
    flags = TraceFlags(TraceFlags.SAMPLED if sampled in ("1", "d", "true", "") else 0)
    return SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)


def _under(request: Request, context: SpanContext) -> Request:
    """The request as a child of a span, in each of the forms that it has."""
    headers = request.headers
    had_b3 = "b3" in headers
    had_b3_ids = "x-b3-traceid" in headers
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(NonRecordingSpan(context)))
    fields: Mapping[str, str] = carrier
    trace_id, span_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    sampled = "1" if context.trace_flags.sampled else "0"
    if had_b3:
        fields = {**fields, "b3": f"{trace_id}-{span_id}-{sampled}"}
    if had_b3_ids:
        b3 = {"x-b3-traceid": trace_id, "x-b3-spanid": span_id, "x-b3-sampled": sampled}
        fields = {**fields, **b3}
    gone = TRACE_FIELDS if had_b3 or had_b3_ids else (TRACE_FIELDS - _B3_FIELDS)
    return request.with_headers(headers.without(*gone).plus(fields.items()))
