"""Calls made while a request is answered: they end with it and belong to its trace."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.call.serving import Serving, current_serving, enter_serving, leave_serving
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.flow.inherited import patience, serving_of
from meshsdk.flow.plan import Plan
from meshsdk.routing.action import Chosen
from meshsdk.routing.table import RouteTable
from tests.flow.plans import GET, Mesh, config, delivered

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PLAINTEXT = Connection(Address("10.0.0.5", 80), Peer(connection=Address("10.0.0.9", 4)))
_ID = SpiffeId.parse("spiffe://cluster.local/ns/a/sa/alice")
MTLS = Connection(
    Address("10.0.0.5", 80), Peer(_ID, Certificate((str(_ID),), (), "", "0" * 64, b""))
)
GRPC = (("content-type", "application/grpc"),)


@contextmanager
def serving(deadline: float | None, *fields: tuple[str, str]) -> Generator[None]:
    """As a server's adapter runs the application."""
    asked = Request("GET", "front", "/", Headers(fields))
    entered = enter_serving(Serving(asked, lambda: deadline))
    try:
        yield
    finally:
        leave_serving(entered)


def sent(mesh: Mesh, request: Request = GET) -> Send:
    flow = mesh.call(request)
    effect = next(flow)
    flow.close()
    assert isinstance(effect, Send)
    return effect


def test_a_call_ends_with_the_request_that_it_is_made_for() -> None:
    mesh = Mesh(config("{cluster: c, timeout: 10s}"))

    with serving(mesh.clock.monotonic() + 2.0):
        send = sent(mesh)

    assert send.timeout == pytest.approx(2.0)
    assert send.attempt.request.headers.get("x-envoy-expected-rq-timeout-ms") == "2000"


def test_a_deadline_only_shortens() -> None:
    mesh = Mesh(config("{cluster: c, timeout: 1s}"))

    with serving(mesh.clock.monotonic() + 2.0):
        send = sent(mesh)

    assert send.timeout == pytest.approx(1.0)


def test_a_call_without_a_timeout_of_its_own_is_bounded_too() -> None:
    mesh = Mesh(config("{cluster: c, timeout: 0s}"))

    with serving(mesh.clock.monotonic() + 2.0):
        assert sent(mesh).timeout == pytest.approx(2.0)

    assert sent(mesh).timeout is None


def test_a_call_for_a_request_that_is_out_of_time_is_not_sent() -> None:
    mesh = Mesh(config("{cluster: c}"))

    with serving(mesh.clock.monotonic() - 1.0):
        response = delivered(next(mesh.call()))

    assert response.status == 504
    assert mesh.context.details == "meshsdk_inherited_deadline"
    assert mesh.context.flags == ["UT"]
    assert mesh.active("c") == 0


def test_a_grpc_call_tells_its_server_of_the_shorter_time() -> None:
    mesh = Mesh(config("{cluster: c, timeout: 0s}"))
    call = replace(GET, headers=Headers((*GRPC, ("grpc-timeout", "9S"))))

    with serving(mesh.clock.monotonic() + 2.0):
        send = sent(mesh, call)

    assert send.attempt.request.headers.values("grpc-timeout") == ("2000m",)


def test_work_that_goes_on_after_the_answer_has_no_deadline() -> None:
    mesh = Mesh(config("{cluster: c, timeout: 10s}"))

    with serving(mesh.clock.monotonic() + 2.0, ("traceparent", TRACE)):
        current = current_serving()
        assert current is not None
        current.is_over = True
        send = sent(mesh)

    assert send.timeout == pytest.approx(10.0)
    assert send.attempt.request.headers.get("traceparent") == TRACE


def test_configuration_is_waited_for_no_longer_than_the_caller_waits() -> None:
    mesh = Mesh(config("{cluster: c}"))
    now = mesh.clock.monotonic()

    alone = patience(mesh.live, 5.0)
    with serving(now + 2.0):
        shorter, own = patience(mesh.live, 5.0), patience(mesh.live, 1.0)
        current = current_serving()
        assert current is not None
        current.is_over = True
        over = patience(mesh.live, 5.0)
    with serving(now - 1.0):
        late = patience(mesh.live, 5.0)
    with serving(None):
        unbounded = patience(mesh.live, 5.0)

    assert (alone, over, unbounded) == (5.0, 5.0, 5.0)
    assert shorter == pytest.approx(2.0)
    assert (own, late) == (1.0, 0.0)


def test_deadlines_can_be_switched_off() -> None:
    mesh = Mesh(config("{cluster: c, timeout: 10s}"))
    mesh.live.propagates_deadline = False

    with serving(mesh.clock.monotonic() + 2.0):
        assert sent(mesh).timeout == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("connection", "timeout", "fields", "seconds"),
    [
        (PLAINTEXT, "3s", (), 3.0),
        (PLAINTEXT, "0s", (), None),
        (PLAINTEXT, "0s", (*GRPC, ("grpc-timeout", "500m")), 0.5),
        (PLAINTEXT, "0s", (("grpc-timeout", "500m"),), None),  # no gRPC request
        (MTLS, "3s", (("x-envoy-expected-rq-timeout-ms", "1000"),), 1.0),
        (MTLS, "3s", (("x-envoy-expected-rq-timeout-ms", "9000"),), 3.0),
        (MTLS, "0s", (("x-envoy-expected-rq-timeout-ms", "soon"),), None),
        (PLAINTEXT, "0s", (("x-envoy-expected-rq-timeout-ms", "1000"),), None),  # from anybody
    ],
)
def test_a_request_has_the_least_time_that_route_and_proven_peer_say(
    connection: Connection, timeout: str, fields: tuple[tuple[str, str], ...], seconds: float | None
) -> None:
    mesh = Mesh(config(f"{{cluster: c, timeout: {timeout}}}"))
    context = CallContext(mesh.clock, mesh.live.random, connection, is_inbound=True)
    context.start = mesh.clock.monotonic()
    request = replace(GET, headers=Headers(fields))

    ends = serving_of(request, request, chosen(mesh, context), context).deadline

    assert ends == (None if seconds is None else context.start + seconds)


def chosen(mesh: Mesh, context: CallContext) -> Chosen:
    """The only route, as a call takes it."""
    plan = mesh.plan
    assert isinstance(plan, Plan)
    listener = plan.by_name["out"]
    hcm = next(listener.listener.connection_managers())
    table = plan.routes(listener.http_plan(hcm))
    assert isinstance(table, RouteTable)
    found = table.choose(GET, context)
    assert found is not None
    return found


def test_a_call_belongs_to_the_trace_of_the_request() -> None:
    mesh = Mesh(config("{cluster: c}"))

    with serving(
        None,
        ("traceparent", TRACE),
        ("tracestate", "a=b"),
        ("baggage", "k=v"),
        ("x-request-id", "7"),
    ):
        headers = sent(mesh).attempt.request.headers

    assert headers.get("traceparent") == TRACE
    assert headers.get("tracestate") == "a=b"
    assert headers.get("baggage") == "k=v"
    assert headers.get("x-request-id") == "7"


def test_b3_fields_are_carried_all_together() -> None:
    mesh = Mesh(config("{cluster: c}"))
    fields = (("x-b3-traceid", "1"), ("x-b3-spanid", "2"), ("x-b3-sampled", "1"))

    with serving(None, *fields):
        headers = sent(mesh).attempt.request.headers

    assert [pair for pair in headers if pair in fields] == list(fields)


def test_a_trace_that_the_application_continues_itself_is_left_alone() -> None:
    mesh = Mesh(config("{cluster: c}"))
    own = TRACE.replace("b7ad6b7169203331", "00f067aa0ba902b7")
    call = replace(GET, headers=Headers([("traceparent", own)]))

    with serving(None, ("traceparent", TRACE), ("tracestate", "a=b")):
        headers = sent(mesh, call).attempt.request.headers

    assert headers.values("traceparent") == (own,)
    assert "tracestate" not in headers


def test_the_context_follows_tasks_and_worker_threads() -> None:
    async def tasks() -> None:
        assert await asyncio.create_task(in_task()) is not None
        assert await asyncio.to_thread(current_serving) is not None

    async def in_task() -> Serving | None:
        return current_serving()

    with serving(None):
        asyncio.run(tasks())

    assert current_serving() is None
