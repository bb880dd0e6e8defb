"""Spans of calls and attempts, by a tracer that keeps what it is told."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, Tracer
from opentelemetry.util import types

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import CallApp, Deliver, Effect, Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Request, Reset, ResetReason, Response
from meshsdk.call.serving import Serving, enter_serving, leave_serving
from meshsdk.telemetry.seen_call import CallRecorder, CallSpans, SeenCall
from meshsdk.telemetry.spans import SpanMaker
from meshsdk.testing.clock import FakeClock, SeededRandom
from tests.flow.plans import GET, Mesh, config

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
RETRIES = "{cluster: c, retry_policy: {retry_on: 5xx, num_retries: 1}}"


class Span(trace.NonRecordingSpan):
    def __init__(self, context: SpanContext, name: str, parent: SpanContext | None) -> None:
        super().__init__(context)
        self.name = name
        self.parent = parent
        self.attributes: dict[str, object] = {}
        self.kind = SpanKind.INTERNAL
        self.is_failed = False
        self.ends = 0

    def is_recording(self) -> bool:
        return not self.ends

    def set_attribute(self, key: str, value: types.AttributeValue) -> None:
        self.attributes[key] = value

    def set_status(self, status: Any, description: str | None = None) -> None:
        self.is_failed = True

    def end(self, end_time: int | None = None) -> None:
        self.ends += 1

    @property
    def id(self) -> str:
        return f"{self.get_span_context().span_id:016x}"


class Recording(Tracer):
    def __init__(self) -> None:
        self.spans: list[Span] = []

    def start_span(
        self,
        name: str,
        context: otel_context.Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[trace.Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> Span:
        parent = trace.get_current_span(context).get_span_context()
        trace_id = parent.trace_id if parent.is_valid else 77
        made = SpanContext(trace_id, 1000 + len(self.spans), False, TraceFlags(1))
        span = Span(made, name, parent if parent.is_valid else None)
        span.kind = kind
        span.attributes.update(attributes or {})
        self.spans.append(span)
        return span

    @contextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Generator[Span]:  # type: ignore[override]
        raise NotImplementedError
        yield


class Traced:
    """The only recorder of a mesh."""

    wants_local_address = False

    def __init__(self, mesh: Mesh, sampled: float | None = None) -> None:
        self.tracer = Recording()
        self._maker = SpanMaker(self.tracer, SeededRandom(1), sampled)
        mesh.live.telemetry = self

    def recorder(self, hcm: object, *, is_inbound: bool) -> CallRecorder:
        return self  # as the mesh's Telemetry it is its only recorder

    def begin(self, call: SeenCall) -> CallSpans:
        return self._maker.begin(call)

    def finished(self, call: SeenCall) -> None:
        pass


def run(mesh: Mesh, *answers: Response | Reset, request: Request = GET) -> list[Headers]:
    """A whole call; the fields of each attempt."""
    flow, left, sent = mesh.call(request), list(answers), list[Headers]()
    effect: Effect = next(flow)
    while not isinstance(effect, Deliver):
        if isinstance(effect, Send):
            sent.append(effect.attempt.request.headers)
            effect = flow.send(left.pop(0))
        else:
            effect = flow.send(None)
    with pytest.raises(StopIteration):
        flow.send(BodyEnd(1))
    return sent


def refused() -> Reset:
    return Reset(ResetReason.CONNECT_FAILURE, "Connection refused", request_sent=False)


def test_a_call_and_its_attempt_have_a_span_each() -> None:
    mesh = Mesh(config("{cluster: c}", ports=(9001,)))
    traced = Traced(mesh)

    (sent,) = run(mesh, Response(200))

    call, attempt = traced.tracer.spans
    assert (call.name, call.kind, attempt.kind) == ("GET", SpanKind.INTERNAL, SpanKind.CLIENT)
    assert attempt.parent == call.get_span_context()
    assert sent.get("traceparent") == f"00-{77:032x}-{attempt.id}-01"
    assert call.attributes["meshsdk.cluster"] == "c"
    assert call.attributes["meshsdk.endpoint"] == "127.0.0.1:9001"
    assert call.attributes["http.response.status_code"] == 200
    assert attempt.attributes["network.peer.port"] == 9001
    assert (call.ends, attempt.ends) == (1, 1)
    assert not call.is_failed


def test_a_retry_says_why_it_is_one() -> None:
    mesh = Mesh(config(RETRIES))
    traced = Traced(mesh)

    sent = run(mesh, refused(), Response(200))

    call, first, second = traced.tracer.spans
    assert "meshsdk.retry.reason" not in first.attributes
    assert first.attributes["error.type"] == "remote connection failure"
    assert second.attributes["http.request.resend_count"] == 1
    assert second.attributes["meshsdk.retry.reason"] == "remote connection failure"
    assert [span.ends for span in (call, first, second)] == [1, 1, 1]
    assert [
        h.get(
            "traceparent",
        )
        for h in sent
    ] == [
        f"00-{77:032x}-{first.id}-01",
        f"00-{77:032x}-{second.id}-01",
    ]


def test_a_call_that_fails_has_its_flags() -> None:
    mesh = Mesh(config("{cluster: c}", ports=()))
    traced = Traced(mesh)

    run(mesh)

    (call,) = traced.tracer.spans
    assert call.is_failed
    assert call.attributes["meshsdk.response_flags"] == "UH"
    assert call.attributes["meshsdk.response_code_details"] == "no_healthy_upstream"


@pytest.mark.parametrize(
    "fields",
    [
        [("traceparent", PARENT)],
        [("b3", f"{TRACE_ID}-{PARENT_ID}-1")],
        [("x-b3-traceid", TRACE_ID), ("x-b3-spanid", PARENT_ID), ("x-b3-sampled", "1")],
    ],
)
def test_a_trace_that_the_request_belongs_to_goes_on(fields: list[tuple[str, str]]) -> None:
    mesh = Mesh(config("{cluster: c}"))
    traced = Traced(mesh)

    (sent,) = run(mesh, Response(200), request=replace(GET, headers=Headers(fields)))

    call, attempt = traced.tracer.spans
    assert call.parent is not None
    assert f"{call.parent.trace_id:032x}-{call.parent.span_id:016x}" == f"{TRACE_ID}-{PARENT_ID}"
    assert sent.get("traceparent") == f"00-{TRACE_ID}-{attempt.id}-01"
    if sent.get("b3") is not None:
        assert sent.get("b3") == f"{TRACE_ID}-{attempt.id}-1"
    if sent.get("x-b3-traceid") is not None:
        assert (sent.get("x-b3-traceid"), sent.get("x-b3-spanid")) == (TRACE_ID, attempt.id)


def test_what_the_feed_does_not_sample_has_no_span_and_no_second_chance() -> None:
    mesh = Mesh(config("{cluster: c}"))
    traced = Traced(mesh, sampled=0.0)

    (sent,) = run(mesh, Response(200))

    assert traced.tracer.spans == []
    assert (sent.get("traceparent") or "").endswith("-00")


def test_a_caller_that_samples_is_followed() -> None:
    mesh = Mesh(config("{cluster: c}"))
    traced = Traced(mesh, sampled=0.0)

    run(mesh, Response(200), request=replace(GET, headers=Headers([("traceparent", PARENT)])))

    assert len(traced.tracer.spans) == 2


def test_the_application_runs_under_the_servers_span() -> None:
    tracer = Recording()
    asked = Request("GET", "a", "/", Headers([("traceparent", PARENT)]))
    connection = Connection(Address("10.0.0.1", 80))
    call = SeenCall(asked, CallContext(FakeClock(), SeededRandom(), connection, is_inbound=True))

    spans = SpanMaker(tracer, SeededRandom(1), is_inbound=True).begin(call)
    effect = spans.asks(CallApp(asked, Serving(asked, lambda: 5.0)))
    assert isinstance(effect, CallApp)
    entered = enter_serving(effect.serving)
    try:
        within = trace.get_current_span()
    finally:
        leave_serving(entered)

    (server,) = tracer.spans
    assert server.kind is SpanKind.SERVER
    assert within is server
    assert trace.get_current_span() is not server
    assert effect.request.headers.get("traceparent") == f"00-{TRACE_ID}-{server.id}-01"
    assert effect.serving is not None
    assert effect.serving.deadline == 5.0


def test_a_call_of_the_application_is_a_child_of_its_own_span() -> None:
    mesh = Mesh(config("{cluster: c}"))
    traced = Traced(mesh)
    own = SpanContext(int(TRACE_ID, 16), 42, False, TraceFlags(1))
    serving = Serving(Request("GET", "a", "/", Headers([("traceparent", PARENT)])), lambda: None)

    entered = enter_serving(serving)
    token = otel_context.attach(trace.set_span_in_context(trace.NonRecordingSpan(own)))
    try:
        run(mesh, Response(200))
    finally:
        otel_context.detach(token)
        leave_serving(entered)

    assert traced.tracer.spans[0].parent == own
