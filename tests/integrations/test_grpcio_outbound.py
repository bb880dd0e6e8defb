"""What the end of an attempt means, by the clock."""

from types import SimpleNamespace
from typing import cast

import grpc
import pytest

from meshsdk.call import Response, Send
from meshsdk.call.address import UNKNOWN
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import Attempt, Flow
from meshsdk.call.message import Reset, ResetReason
from meshsdk.flow.select import Target
from meshsdk.integrations.grpcio.nouns import MeshRpcError
from meshsdk.integrations.grpcio.outbound import (
    CallOptions,
    GrpcMesh,
    Method,
    Outbound,
    Settings,
)
from meshsdk.testing import FakeClock, SeededRandom
from meshsdk.upstream.endpoint_transports import EndpointTransport

TIMEOUT = 0.1


def no_flow(*_: object, **__: object) -> Flow[None]:
    yield from ()


def outcome_after(late: float, ran: float) -> object:
    """Of a stream that began `late` seconds into the route's time and was cut after `ran`."""
    clock = FakeClock()
    mesh = SimpleNamespace(publisher=SimpleNamespace(plan=None), outbound=no_flow)
    settings = Settings(cast("GrpcMesh", mesh), Target("reviews", 80), "reviews:80", "", clock)
    method = Method("/test.Echo/US", "unary_stream", None, None)
    call = Outbound(settings, method, None, CallOptions(None, None, None, None))
    call.context = CallContext(clock, SeededRandom(1), Connection(UNKNOWN))
    call.context.deadline = clock.monotonic() + TIMEOUT
    send = Send(cast("Attempt", None), timeout=TIMEOUT, reset_reason_timeout=False)
    error = MeshRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
    clock.advance(late)
    started = clock.monotonic()
    clock.advance(ran)
    transport = cast("EndpointTransport", SimpleNamespace(failure=None))
    return call.outcome_of(send, error, transport, started)


@pytest.mark.parametrize(("late", "ran"), [(0.0, TIMEOUT), (0.03, 0.07)])
def test_a_stream_that_ends_with_the_routes_time_has_run_out_of_it(late: float, ran: float) -> None:
    outcome = outcome_after(late, ran)

    assert isinstance(outcome, Reset)
    assert outcome.reason is ResetReason.TIMEOUT


def test_a_server_that_gives_up_before_is_an_answer() -> None:
    assert isinstance(outcome_after(0.03, 0.02), Response)
