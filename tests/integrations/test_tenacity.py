"""tenacity's strategies in place of a route's retry policy; flows driven by hand, then sockets."""

from typing import Any, cast

import httpx
import pytest
from tenacity import (
    retry_any,
    retry_if_exception_type,
    retry_if_result,
    stop_after_attempt,
    stop_after_delay,
    stop_before_delay,
    wait_chain,
    wait_fixed,
)

from meshsdk.call.effects import Sleep
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request, Reset, ResetReason, Response
from meshsdk.errors import AttemptTimeoutError, UsageError
from meshsdk.integrations.tenacity import RetryStrategy
from meshsdk.runtime.options import Options
from tests.flow.plans import GET, Mesh, config, delivered, finish, refused, sent_to
from tests.integrations.traffic import URL, mesh_of
from tests.upstream.colours import AnyClient, Colour, every_colour
from tests.upstream.raw_server import OK, Served, serving

NO_POLICY = "{cluster: c}"
ONE_RETRY = "{cluster: c, timeout: 5s, retry_policy: {retry_on: 5xx, num_retries: 1}}"
FAILED = retry_if_exception_type(ConnectionError)
BUSY = retry_if_result(lambda response: isinstance(response, Response) and response.status == 503)


def mesh(route: str, strategy: RetryStrategy, more: str = "") -> Mesh:
    found = Mesh(config(route, more=more))
    found.live.retry = strategy
    return found


def test_a_number_is_no_strategy() -> None:
    with pytest.raises(UsageError, match=r"RetryStrategy\.wait: expected a strategy of tenacity"):
        RetryStrategy(wait=cast("Any", 3))


def test_a_strategy_retries_where_the_feed_would_not() -> None:
    on = mesh(NO_POLICY, RetryStrategy(wait_fixed(2), stop_after_attempt(3), FAILED))
    flow = on.call()
    sent_to(next(flow))

    assert flow.send(refused()) == Sleep(2.0)
    sent_to(flow.send(None))
    assert flow.send(refused()) == Sleep(2.0)
    sent_to(flow.send(None))
    response = delivered(flow.send(refused()))

    assert (response.status, on.context.attempts) == (503, 3)
    assert on.context.flags == ["URX", "UF"]


def test_a_strategy_does_not_retry_what_it_does_not_want() -> None:
    flow = mesh(ONE_RETRY, RetryStrategy(retry=FAILED)).call()
    sent_to(next(flow))

    assert delivered(flow.send(Response(503))).status == 503


def test_a_strategy_judges_answers_even_good_ones() -> None:
    strategy = RetryStrategy(
        wait_fixed(1),
        stop_after_attempt(2),
        retry_if_result(lambda response: "x-again" in response.headers),
    )
    flow = mesh(NO_POLICY, strategy).call()
    sent_to(next(flow))

    assert flow.send(Response(200, Headers([("x-again", "1")]))) == Sleep(1.0)


def test_what_a_strategy_leaves_out_is_the_routes() -> None:
    on = mesh(ONE_RETRY, RetryStrategy(wait=wait_chain(wait_fixed(1), wait_fixed(4))))
    flow = on.call()
    sent_to(next(flow))

    assert flow.send(Response(503)) == Sleep(1.0)
    sent_to(flow.send(None))
    assert delivered(flow.send(Response(503))).status == 503
    assert on.context.flags == ["URX"]


def test_only_a_stop_lets_a_route_retry_more_often() -> None:
    on = mesh(ONE_RETRY, RetryStrategy(stop=stop_after_attempt(4)))
    flow = on.call()
    effect = next(flow)

    for _ in range(3):
        sent_to(effect)
        assert isinstance(flow.send(Response(503)), Sleep)
        effect = flow.send(None)
    sent_to(effect)

    assert delivered(flow.send(Response(503))).status == 503
    assert on.context.attempts == 4


@pytest.mark.parametrize("stop", [stop_after_delay(3), stop_before_delay(4)])
def test_time_that_passed_counts_on_the_meshs_clock(stop: object) -> None:
    on = mesh(NO_POLICY, RetryStrategy(wait_fixed(1), stop, FAILED))  # type: ignore[arg-type]
    flow = on.call()
    sent_to(next(flow))
    assert flow.send(refused()) == Sleep(1.0)
    on.clock.advance(3.5)
    sent_to(flow.send(None))

    assert delivered(flow.send(refused())).status == 503


def test_a_timeout_of_a_try_is_a_timeout_error() -> None:
    strategy = RetryStrategy(
        wait_fixed(1), stop_after_attempt(2), retry_if_exception_type(AttemptTimeoutError)
    )
    flow = mesh(NO_POLICY, strategy).call()
    sent_to(next(flow))

    assert flow.send(Reset(ResetReason.PER_TRY_TIMEOUT)) == Sleep(1.0)


@pytest.mark.parametrize("final", [ResetReason.OVERFLOW, ResetReason.TIMEOUT])
def test_what_is_final_is_never_shown(final: ResetReason) -> None:
    flow = mesh(NO_POLICY, RetryStrategy(wait_fixed(1), None, retry_any())).call()
    sent_to(next(flow))

    delivered(flow.send(Reset(final)))


def test_the_retry_budget_has_the_last_word() -> None:
    breakers = "circuit_breakers: {thresholds: [{max_retries: 0}]}"
    on = mesh(NO_POLICY, RetryStrategy(wait_fixed(1), None, FAILED), breakers)
    flow = on.call()
    sent_to(next(flow))

    delivered(flow.send(refused()))

    assert "UO" in on.context.flags


def test_the_deadline_has_the_last_word() -> None:
    flow = mesh("{cluster: c, timeout: 5s}", RetryStrategy(wait_fixed(60), None, BUSY)).call()
    sent_to(next(flow))

    assert flow.send(Response(503)) == Sleep(5.0)
    assert delivered(flow.send(None)).status == 504


def test_a_first_success_never_meets_the_strategy() -> None:
    def never(state: object) -> bool:
        raise AssertionError

    flow = mesh(NO_POLICY, RetryStrategy(stop=never)).call()
    sent_to(next(flow))

    assert delivered(flow.send(Response(200))).status == 200
    finish(flow)


# -- the guard -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "key", "attempts"),
    [("POST", None, 1), ("PATCH", None, 1), ("POST", "7", 2), ("PUT", None, 2), ("GET", None, 2)],
)
@pytest.mark.parametrize("strategy", [None, RetryStrategy(wait_fixed(0), None, BUSY)])
def test_guarded_writes_are_never_repeated(
    method: str, key: str | None, attempts: int, strategy: RetryStrategy | None
) -> None:
    on = Mesh(config(ONE_RETRY))
    on.live.guards_writes, on.live.retry = True, strategy
    headers = Headers(() if key is None else (("idempotency-key", key),))
    flow = on.call(Request(method, GET.authority, GET.path, headers))
    effect = next(flow)

    for _ in range(attempts - 1):
        sent_to(effect)
        flow.send(Response(503))
        effect = flow.send(None)
    sent_to(effect)

    assert delivered(flow.send(Response(503))).status == 503


# -- over sockets --------------------------------------------------------------------------


@every_colour
def test_options_take_a_strategy(colour: Colour) -> None:
    def script(served: Served) -> None:
        served.head()
        if served.number < 2:
            served.reset()
        else:
            served.send(OK)
            served.head()

    async def get(client: AnyClient) -> httpx.Response:
        return await client.get(URL)

    strategy = RetryStrategy(wait_fixed(0.001), stop_after_attempt(3), FAILED)
    with (
        serving(script) as server,
        mesh_of(NO_POLICY, server, options=Options(retry=strategy)) as on,
    ):
        response = colour.run(on, get)

    assert response.content == b"hi"
    assert response.extensions["meshsdk"]["attempts"] == 3


@every_colour
def test_options_guard_writes(colour: Colour) -> None:
    async def post(client: AnyClient) -> list[int]:
        key = {"idempotency-key": "7"}
        found = [await client.request("POST", URL, headers=h) for h in ({}, key)]
        return [response.extensions["meshsdk"]["attempts"] for response in found]

    def script(served: Served) -> None:
        served.head()
        served.reset()

    route = "{cluster: c, retry_policy: {retry_on: 'reset,connect-failure', num_retries: 1}}"
    options = Options(retry_needs_idempotency_key=True)
    with (
        serving(script) as server,
        mesh_of(route, server, options=options) as on,
    ):
        assert colour.run(on, post) == [1, 2]
