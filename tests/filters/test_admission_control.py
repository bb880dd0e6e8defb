"""Refusals by the failures of late. Every call here draws 0.134."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, LocalReply, Response
from meshsdk.errors import ConfigError
from meshsdk.filters.admission_control import EXTENSION
from meshsdk.filters.not_built import INERT
from tests.filters.filter_case import Calls, Config, build

CRITERIA: Config = {
    "http_criteria": {"http_success_status": [{"start": 100, "end": 400}]},
    "grpc_criteria": {"grpc_success_status": [0]},
}
GRPC = Headers((("content-type", "application/grpc"),))


def calls(**config: object) -> Calls:
    return Calls(build(EXTENSION, {"success_criteria": CRITERIA, **config}))


def answer(on: Calls, response: Response, end: BodyEnd | None = None) -> None:
    """A call that goes on, is answered, and ends."""
    found = on.verdict()
    assert isinstance(found, Continue)
    assert found.on_response is not None
    assert on.context is not None
    found.on_response(response, on.context)
    on.context.end(end or BodyEnd())


def is_refused(on: Calls) -> bool:
    return isinstance(on.verdict(), LocalReply)


def test_a_refusal_is_envoys() -> None:
    on = calls()
    answer(on, Response(503))

    found = on.verdict()

    assert isinstance(found, LocalReply)
    assert (found.status, found.body, found.details) == (503, b"", "denied_by_admission_control")


def test_failures_weigh_by_their_share() -> None:
    on = calls()
    for _ in range(20):
        answer(on, Response(200))

    for _ in range(4):
        answer(on, Response(503))
    assert not is_refused(on)  # (24 - 20 / 0.95) / 25 = 0.118
    answer(on, Response(503))

    assert is_refused(on)  # (25 - 20 / 0.95) / 26 = 0.152


def test_failures_are_forgotten_with_the_window() -> None:
    on = calls(sampling_window="10s")
    answer(on, Response(503))
    assert is_refused(on)

    on.clock.now += 10

    assert not is_refused(on)


def test_few_calls_a_second_are_never_refused() -> None:
    on = calls(rps_threshold={"default_value": 2, "runtime_key": "k"})

    answer(on, Response(503))
    answer(on, Response(503))

    assert is_refused(on)
    on.clock.now += 2.0
    assert not is_refused(on)


def test_no_more_are_refused_than_may_be() -> None:
    on = calls(max_rejection_probability={"default_value": {"value": 13}})
    answer(on, Response(503))

    assert not is_refused(on)


def test_aggression_refuses_sooner() -> None:
    on = calls(aggression={"default_value": 2, "runtime_key": "k"})
    for _ in range(20):
        answer(on, Response(200))
    answer(on, Response(503))
    answer(on, Response(503))

    assert is_refused(on)  # ((22 - 20 / 0.95) / 23) ** 0.5 = 0.20


@pytest.mark.parametrize(
    ("response", "end", "refused"),
    [
        (Response(200, GRPC.add("grpc-status", "0")), BodyEnd(), False),
        (Response(200, GRPC.add("grpc-status", "14")), BodyEnd(), True),
        (Response(200, GRPC), BodyEnd(trailers=Headers((("grpc-status", "0"),))), False),
        (Response(200, GRPC), BodyEnd(trailers=Headers((("grpc-status", "14"),))), True),
        (Response(200, GRPC), BodyEnd(), False),
    ],
)
def test_a_grpc_call_is_judged_by_its_status(
    response: Response, end: BodyEnd, refused: bool
) -> None:
    on = calls()

    answer(on, response, end)

    assert is_refused(on) is refused


def test_it_can_be_off() -> None:
    off: Config = {"default_value": False, "runtime_key": "k"}

    assert build(EXTENSION, {"success_criteria": CRITERIA, "enabled": off}) is INERT


@pytest.mark.parametrize(
    "criteria",
    [
        {"http_criteria": {}},
        {"http_criteria": {"http_success_status": [{"start": 99, "end": 200}]}},
        {"grpc_criteria": {"grpc_success_status": [17]}},
    ],
)
def test_criteria_that_mean_nothing_are_refused(criteria: Config) -> None:
    with pytest.raises(ConfigError):
        build(EXTENSION, {"success_criteria": criteria})
