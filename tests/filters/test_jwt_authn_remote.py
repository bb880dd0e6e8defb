"""Key sets that are fetched: how often, and what counts meanwhile (threat model, J22 to J24)."""

import pytest

from meshsdk.call.effects import Fetch, Fetched, Sleep
from meshsdk.call.filter import Continue, Verdict
from meshsdk.call.message import LocalReply, Reset, ResetReason, Response
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters import jwt_authn_filter
from tests.filters.jwt_case import (
    CLAIMS,
    ENVOY,
    KEY,
    Caller,
    Json,
    as_flow,
    bearer,
    config,
    finish,
    first_effect,
    jwks,
    parse,
    provider,
    token,
)

URI: Json = {"uri": "https://issuer.test/keys?v=1", "cluster": "issuer", "timeout": "2s"}
DOWN = Reset(ResetReason.CONNECT_FAILURE)


def remote(**fields: object) -> Json:
    return config(one=provider(local_jwks=None, remote_jwks={"http_uri": URI, **fields}))


def answer(*keys: Json, status: int = 200) -> Fetched:
    return Fetched(Response(status), jwks(*keys).encode())


def fetched(caller: Caller, reply: object, text: str = "") -> Verdict:
    """A request that must fetch, and what came of it."""
    flow = as_flow(caller.begin(bearer(text or token())))
    assert isinstance(next(flow), Fetch)
    return finish(flow, reply)


def is_fetch_failure(verdict: Verdict) -> bool:
    return isinstance(verdict, LocalReply) and verdict.body == b"Jwks remote fetch is failed"


def test_keys_are_asked_for_once_through_the_mesh() -> None:
    caller = Caller(parse(remote()))

    effect = first_effect(caller.begin(bearer(token())))
    verdict = fetched(Caller(parse(remote())), answer(KEY))

    assert isinstance(effect, Fetch)
    assert (effect.cluster, effect.timeout, effect.max_bytes) == ("issuer", 2.0, 1 << 20)
    assert (effect.request.authority, effect.request.path) == ("issuer.test", "/keys?v=1")
    assert isinstance(verdict, Continue)


def test_keys_are_kept_for_their_duration() -> None:
    caller = Caller(parse(remote(cache_duration="300s")))
    fetched(caller, answer(KEY))

    caller.clock.now += 299.0

    assert caller.status(bearer(token({**CLAIMS, "sub": "bob"}))) == 200


@pytest.mark.parametrize(
    "reply",
    [DOWN, answer(KEY, status=302), answer(KEY, status=500), Fetched(Response(200), b"junk")],
)
def test_without_keys_tokens_fail_and_requests_without_one_are_judged_alone(reply: object) -> None:
    caller = Caller(parse(remote()))

    verdict = fetched(caller, reply)

    assert is_fetch_failure(verdict)
    assert caller.status(bearer()) == 401  # missing, and nobody was asked


def test_a_failure_is_followed_by_a_pause_that_grows() -> None:
    caller = Caller(parse(remote()))
    pauses: list[float] = []

    for _ in range(7):
        assert is_fetch_failure(fetched(caller, DOWN))
        start = caller.clock.now
        while True:
            step = caller.begin(bearer(token()))
            if not isinstance(step, LocalReply | Continue):
                step.close()
                break
            assert is_fetch_failure(step)
            caller.clock.now += 0.25
        pauses.append(caller.clock.now - start)

    assert pauses[0] <= 1.25
    assert max(pauses) <= 30.25
    assert sum(pauses) > 30.0


def test_one_call_fetches_while_the_others_wait() -> None:
    filter_ = parse(remote())
    first, second = Caller(filter_), Caller(filter_)
    fetching = as_flow(first.begin(bearer(token())))
    assert isinstance(next(fetching), Fetch)

    waiting = as_flow(second.begin(bearer(token())))
    assert isinstance(next(waiting), Sleep)
    assert isinstance(finish(fetching, answer(KEY)), Continue)

    assert isinstance(finish(waiting, None), Continue)


def test_those_who_wait_give_up_after_the_timeout() -> None:
    filter_ = parse(remote())
    first, second = Caller(filter_), Caller(filter_)
    fetching = as_flow(first.begin(bearer(token())))
    next(fetching)
    waiting = as_flow(second.begin(bearer(token())))
    next(waiting)

    second.clock.now += 3.0

    assert is_fetch_failure(finish(waiting, None))


def test_a_call_that_is_abandoned_lets_another_fetch() -> None:
    filter_ = parse(remote())
    abandoned = as_flow(Caller(filter_).begin(bearer(token())))
    next(abandoned)

    abandoned.close()

    assert isinstance(fetched(Caller(filter_), answer(KEY)), Continue)


def test_expired_keys_count_while_newer_ones_are_fetched_or_cannot_be() -> None:
    filter_ = parse(remote(cache_duration="300s"))
    first, second = Caller(filter_), Caller(filter_)
    fetched(first, answer(KEY))
    first.clock.now = second.clock.now = first.clock.now + 301.0
    renewing = as_flow(first.begin(bearer(token())))
    assert isinstance(next(renewing), Fetch)

    meanwhile = second.status(bearer(token()))
    afterwards = finish(renewing, DOWN)

    assert meanwhile == 200
    assert isinstance(afterwards, Continue)


def test_async_fetch_renews_keys_before_they_expire_while_nobody_waits() -> None:
    caller = Caller(parse(remote(cache_duration="300s", async_fetch={})))
    fetched(caller, answer(KEY))

    caller.clock.now += 269.0
    early = caller.status(bearer(token({**CLAIMS, "sub": "bob"})))
    caller.clock.now += 2.0
    renewing = as_flow(caller.begin(bearer(token({**CLAIMS, "sub": "eve"}))))
    effect = next(renewing)
    assert isinstance(effect, Fetch)
    assert effect.done is not None
    passed = finish(renewing, None)
    meanwhile = caller.status(bearer(token({**CLAIMS, "sub": "kim"})))
    effect.done(answer(KEY))
    caller.clock.now += 100.0
    later = caller.status(bearer(token({**CLAIMS, "sub": "joe"})))

    assert (early, meanwhile, later) == (200, 200, 200)
    assert isinstance(passed, Continue)


def test_a_renewal_that_fails_is_tried_again_after_a_pause_and_at_the_end_waited_for() -> None:
    caller = Caller(parse(remote(cache_duration="300s", async_fetch={})))
    fetched(caller, answer(KEY))
    caller.clock.now += 271.0
    renewing = as_flow(caller.begin(bearer(token())))
    effect = next(renewing)
    assert isinstance(effect, Fetch)
    assert effect.done is not None
    finish(renewing, None)
    effect.done(DOWN)

    at_once = caller.status(bearer(token()))
    caller.clock.now += 1.25
    again = next(as_flow(caller.begin(bearer(token()))))
    caller.clock.now += 300.0
    waiting = next(as_flow(caller.begin(bearer(token()))))

    assert at_once == 200
    assert isinstance(again, Fetch)
    assert again.done is not None
    assert isinstance(waiting, Fetch)
    assert waiting.done is None


def test_keys_that_come_unchanged_are_no_change() -> None:
    filter_ = parse(remote(cache_duration="300s"))
    caller = Caller(filter_)
    fetched(caller, answer(KEY))
    first = caller.status(bearer(token()))
    caller.clock.now += 301.0

    again = fetched(caller, answer(KEY))

    assert first == 200
    assert isinstance(again, Continue)


def test_providers_of_one_uri_and_later_configs_share_their_keys() -> None:
    first = jwt_authn_filter.parse(Reader(remote()), ENVOY)
    second = jwt_authn_filter.parse(Reader(remote(), "again"), ENVOY)
    fetched(Caller(first), answer(KEY))

    assert Caller(second).status(bearer(token())) == 200


def test_expired_keys_do_not_count_for_ever() -> None:
    caller = Caller(parse(remote(cache_duration="300s")))
    fetched(caller, answer(KEY))
    caller.clock.now += 300.0 + 3601.0
    late = token({**CLAIMS, "exp": 2_000_000_000})

    assert is_fetch_failure(fetched(caller, DOWN, late))


def test_an_unknown_kid_fetches_once_in_ten_seconds() -> None:
    caller = Caller(parse(remote()))
    fetched(caller, answer(KEY))
    rotated = token(header={"alg": "HS256", "kid": "new"})

    unknown = fetched(caller, answer(KEY), rotated)
    again = caller.status(bearer(token(header={"alg": "HS256", "kid": "newer"})))
    caller.clock.now += 11.0
    known = fetched(caller, answer(KEY, {**KEY, "kid": "new"}), rotated)

    assert isinstance(unknown, LocalReply)
    assert again == 401
    assert isinstance(known, Continue)


def test_tokens_with_an_unknown_kid_start_no_second_fetch() -> None:
    filter_ = parse(remote(cache_duration="300s"))
    first, second = Caller(filter_), Caller(filter_)
    fetched(first, answer(KEY))
    rotated = bearer(token(header={"alg": "HS256", "kid": "new"}))
    first.clock.now = second.clock.now = first.clock.now + 301.0
    fetching = as_flow(first.begin(bearer(token())))
    assert isinstance(next(fetching), Fetch)

    meanwhile = second.status(rotated)
    finish(fetching, DOWN)
    after_a_failure = second.status(rotated)

    assert (meanwhile, after_a_failure) == (401, 401)


def test_a_renewal_that_nobody_made_is_made_by_the_next_call() -> None:
    caller = Caller(parse(remote(cache_duration="60s", async_fetch={})))
    fetched(caller, answer(KEY))
    caller.clock.now += 59.0
    abandoned = as_flow(caller.begin(bearer(token())))
    assert isinstance(next(abandoned), Fetch)

    abandoned.close()

    again = first_effect(caller.begin(bearer(token())))
    assert isinstance(again, Fetch)
    assert again.done is not None


def test_a_verdict_does_not_outlive_the_keys_that_it_rests_on() -> None:
    caller = Caller(parse(remote(cache_duration="300s")))
    fetched(caller, answer(KEY))
    caller.clock.now += 301.0

    verdict = fetched(caller, answer({**KEY, "k": "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg"}))

    assert isinstance(verdict, LocalReply)
    assert verdict.body == b"Jwt verification fails"


def test_a_fetch_is_repeated_as_configured() -> None:
    caller = Caller(parse(remote(retry_policy={"num_retries": 1})))
    flow = as_flow(caller.begin(bearer(token())))

    effects = [next(flow), flow.send(DOWN), flow.send(None)]

    assert [type(effect) for effect in effects] == [Fetch, Sleep, Fetch]
    assert isinstance(finish(flow, answer(KEY)), Continue)


def test_a_set_of_too_many_keys_is_refused() -> None:
    caller = Caller(parse(remote()))

    assert is_fetch_failure(fetched(caller, answer(*[KEY] * 101)))


@pytest.mark.parametrize("uri", ["", "keys", "https://"])
def test_a_uri_that_is_none_refuses_the_configuration(uri: str) -> None:
    with pytest.raises(ConfigError):
        parse(remote(http_uri={**URI, "uri": uri}))
