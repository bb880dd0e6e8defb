"""A concurrency limit that follows latency."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.message import BodyEnd, LocalReply
from meshsdk.clock import seeded
from meshsdk.errors import ConfigError
from meshsdk.filters.adaptive_concurrency import EXTENSION
from meshsdk.filters.gradient_controller import GradientConfig, GradientController
from meshsdk.filters.not_built import INERT
from tests.filters.filter_case import Calls, Config, build

PARAMETERS: Config = {
    "concurrency_limit_params": {"concurrency_update_interval": "0.1s"},
    "min_rtt_calc_params": {"interval": "60s", "request_count": 5},
}
CHANCE = seeded(1)


def calls(**config: object) -> Calls:
    return Calls(build(EXTENSION, {"gradient_controller_config": PARAMETERS, **config}))


def test_while_latency_is_learnt_few_calls_run_at_once() -> None:
    on = calls()

    verdicts = [on.verdict() for _ in range(8)]

    assert [isinstance(v, Continue) for v in verdicts] == [True] * 3 + [False] * 5
    refusal = verdicts[-1]
    assert isinstance(refusal, LocalReply)
    assert (refusal.status, refusal.details) == (503, "reached_concurrency_limit")


def test_a_call_that_is_over_makes_room_however_it_ended() -> None:
    on = calls()
    for end in (BodyEnd(), None):
        for _ in range(3):
            on.verdict()
        assert on.context is not None
        last = on.context
        assert isinstance(on.verdict(), LocalReply)

        last.end(end)

        assert isinstance(on.verdict(), Continue)
        on = calls()


def test_the_refusals_status_can_be_another() -> None:
    on = calls(concurrency_limit_exceeded_status={"code": "TooManyRequests"})

    verdicts = [on.verdict() for _ in range(4)]

    assert getattr(verdicts[-1], "status", 0) == 429


class Load:
    """Calls of given latencies through a controller."""

    def __init__(self, **config: object) -> None:
        self.now = 100.0
        usual = {"update_interval": 0.1, "min_rtt_interval": 60.0, "jitter": 0.0}
        self.controller = GradientController(GradientConfig(**{**usual, **config}))  # type: ignore[arg-type]  # given by name

    def run(self, latency: float, times: int) -> None:
        for _ in range(times):
            assert self.controller.admit(self.now, CHANCE)
            started, self.now = self.now, self.now + latency
            self.controller.record(started, self.now, CHANCE)

    @property
    def limit(self) -> int:
        return self.controller.limit


def test_the_limit_grows_while_latency_stays() -> None:
    load = Load(request_count=5)
    load.run(0.01, 5)

    load.run(0.01, 30)

    assert load.limit > 3


def test_the_limit_shrinks_when_calls_take_longer() -> None:
    load = Load(request_count=5, max_limit=50)
    load.run(0.01, 5)
    load.run(0.01, 300)
    assert load.limit == 50

    load.run(0.1, 4)

    assert load.limit < 50


def test_the_least_latency_is_learnt_anew_after_its_interval() -> None:
    load = Load(request_count=5)
    load.run(0.01, 100)
    grown = load.limit
    load.now += 60.0

    load.run(0.01, 1)
    assert load.limit == 3
    load.run(0.01, 4)

    assert load.limit == grown


def test_a_limit_that_is_stuck_doubts_the_least_latency() -> None:
    load = Load(request_count=5)
    load.run(0.001, 5)

    load.run(0.2, 6)
    assert load.limit == 3
    load.run(0.2, 60)

    assert load.limit > 3


def test_a_fixed_least_latency_is_not_learnt() -> None:
    load = Load(fixed_min_rtt=0.02, request_count=5)

    load.run(0.01, 30)

    assert load.limit > 3


def test_it_can_be_off() -> None:
    off = {"default_value": False, "runtime_key": "k"}

    assert build(EXTENSION, {"gradient_controller_config": PARAMETERS, "enabled": off}) is INERT


@pytest.mark.parametrize("name", ["concurrency_limit_params", "min_rtt_calc_params"])
def test_both_parts_are_required(name: str) -> None:
    parameters = {key: value for key, value in PARAMETERS.items() if key != name}

    with pytest.raises(ConfigError, match=name):
        build(EXTENSION, {"gradient_controller_config": parameters})
