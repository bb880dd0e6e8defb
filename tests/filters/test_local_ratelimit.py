"""Local rate limits; the answers are those of a real Envoy 1.40."""

from dataclasses import replace

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Response
from meshsdk.config.extension import Extensions
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.local_ratelimit import EXTENSION
from meshsdk.resources.rate_limit import parse_rate_limit
from meshsdk.resources.route_facts import RouteFacts
from tests.filters.filter_case import (
    RUNTIME_ALWAYS,
    Calls,
    Config,
    build,
    extensions,
    overridden,
)

ON: Config = {
    "stat_prefix": "rl",
    "filter_enabled": RUNTIME_ALWAYS,
    "filter_enforced": RUNTIME_ALWAYS,
}
USER: Config = {
    "actions": [{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}]
}


def bucket(max_tokens: int, per_fill: int = 1, interval: str = "60s") -> Config:
    return {"max_tokens": max_tokens, "tokens_per_fill": per_fill, "fill_interval": interval}


def descriptor(value: str, tokens: int = 1, key: str = "user", **more: object) -> Config:
    return {"entries": [{"key": key, "value": value}], "token_bucket": bucket(tokens), **more}


def calls(*limits: Config, **config: object) -> Calls:
    return calls_under(extensions(), *limits, **config)


def calls_under(given: Extensions, *limits: Config, **config: object) -> Calls:
    found = build(EXTENSION, {**ON, "token_bucket": bucket(1), **config}, given)
    parsed = tuple(parse_rate_limit(Reader(limit, "limit"), given) for limit in limits)
    return Calls(found, route=RouteFacts(parsed))


def outcome(on: Calls, users: str) -> str:
    """Of calls of some users in turn: . for passed, x for refused."""
    return "".join("x" if on.status((("x-user", user),)) else "." for user in users)


def told(headers: Headers) -> tuple[str | None, ...]:
    return tuple(headers.get(f"x-ratelimit-{name}") for name in ("limit", "remaining", "reset"))


def test_a_bucket_is_full_at_first_and_fills_evenly() -> None:
    on = calls(token_bucket=bucket(3, 2, "1s"))
    assert outcome(on, "aaaa") == "...x"

    on.clock.now += 0.6
    assert outcome(on, "aa") == ".x"

    on.clock.now += 1.2
    assert outcome(on, "aaa") == "..x"


def test_an_empty_bucket_lets_nothing_pass() -> None:
    assert outcome(calls(token_bucket=bucket(0)), "a") == "x"


def test_a_refusal_is_envoys() -> None:
    on = calls(rate_limited_as_resource_exhausted=True)
    on.status()

    found = on.verdict()

    assert isinstance(found, LocalReply)
    assert (found.status, found.body, found.flags) == (429, b"local_rate_limited", ("RL",))
    assert (found.details, found.grpc_status) == ("local_rate_limited", 8)


@pytest.mark.parametrize(("code", "status"), [("ServiceUnavailable", 503), ("OK", 429)])
def test_a_status_below_400_stays_429(code: str, status: int) -> None:
    on = calls(token_bucket=bucket(0), status={"code": code})

    assert on.status() == status


def test_a_refusal_has_fields_of_its_own_after_the_routes() -> None:
    on = calls(
        token_bucket=bucket(0),
        response_headers_to_add=[
            {"header": {"key": "x-l", "value": "%RESPONSE_CODE%%REQ(:path)%"}}
        ],
    )

    found = on.verdict(path="/q")

    assert isinstance(found, LocalReply)
    assert found.modify is not None
    assert found.modify(Headers((("x-l", "vh"),))).values("x-l") == ("vh", "0/q")


def test_what_is_not_enforced_passes_marked() -> None:
    on = calls(
        filter_enforced={"default_value": {"numerator": 0}},
        request_headers_to_add_when_not_enforced=[{"header": {"key": "x-over", "value": "1"}}],
    )

    assert "x-over" not in on.passed().headers
    assert on.passed().headers.get("x-over") == "1"


def test_unset_shares_are_zero() -> None:
    quiet = build(EXTENSION, {"stat_prefix": "rl", "token_bucket": bucket(0)})

    assert Calls(quiet).status() == 0


def test_each_descriptor_has_a_bucket_beside_the_common_one() -> None:
    on = calls(USER, token_bucket=bucket(100), descriptors=[descriptor("a")])

    assert outcome(on, "aabbb") == ".x..."


def test_a_wildcard_gives_each_value_a_bucket_so_that_none_starves_another() -> None:
    on = calls(USER, token_bucket=bucket(100), descriptors=[descriptor("")])

    assert outcome(on, "aaaaab") == ".xxxx."


def test_a_wildcard_keeps_the_values_used_last() -> None:
    on = calls(
        USER, token_bucket=bucket(100), descriptors=[descriptor("")], max_dynamic_descriptors=2
    )

    assert outcome(on, "aabbccabcab") == ".x.x.x....."


def test_an_exact_value_goes_before_a_wildcard() -> None:
    on = calls(USER, token_bucket=bucket(100), descriptors=[descriptor(""), descriptor("a", 2)])

    assert outcome(on, "aaabb") == "..x.x"


def test_the_slowest_matching_bucket_is_asked_first() -> None:
    general: Config = {"actions": [{"generic_key": {"descriptor_value": "g"}}]}
    fast = {**descriptor("a"), "token_bucket": bucket(2, 2)}
    on = calls(
        USER,
        general,
        token_bucket=bucket(100),
        descriptors=[fast, descriptor("g", 3, key="generic_key")],
    )

    # The third call takes g's last token before a refuses it.
    assert outcome(on, "aaaabb") == "..xxxx"


def test_the_common_bucket_can_be_left_to_others() -> None:
    on = calls(
        USER,
        token_bucket=bucket(2),
        always_consume_default_token_bucket=False,
        descriptors=[descriptor("a", 3)],
    )

    assert outcome(on, "aaaabbb") == "...x..x"


def test_a_shadow_descriptor_counts_and_never_refuses() -> None:
    on = calls(USER, token_bucket=bucket(3), descriptors=[descriptor("a", shadow_mode=True)])

    assert outcome(on, "aaaa") == "...x"


def test_hits_count_more_than_one() -> None:
    on = calls({**USER, "hits_addend": {"number": 3}}, descriptors=[descriptor("a", 7)],
               token_bucket=bucket(100))  # fmt: skip

    assert outcome(on, "aaa") == "..x"


def test_limits_of_the_filter_replace_the_routes() -> None:
    nothing: Config = {}
    own: Config = {"actions": [{"remote_address": nothing}]}
    on = calls(
        USER,
        token_bucket=bucket(100),
        rate_limits=[own],
        descriptors=[descriptor("a"), descriptor("10.0.0.1", 2, key="remote_address")],
    )

    assert outcome(on, "aaa") == "..x"


@pytest.mark.parametrize(
    ("option", "included", "route", "expected"),
    [
        ("OVERRIDE", False, True, ".."),
        ("OVERRIDE", False, False, ".x"),
        ("INCLUDE", False, True, ".x"),
        ("IGNORE", False, False, ".."),
        ("IGNORE", True, True, ".x"),
    ],
)
def test_when_the_virtual_hosts_limits_count(
    option: str, included: bool, route: bool, expected: str
) -> None:
    on = calls(USER, token_bucket=bucket(9), vh_rate_limits=option, descriptors=[descriptor("a")])
    assert on.route is not None
    of_user = on.route.rate_limits
    other = replace(of_user[0], actions=())
    on.route = RouteFacts((other,) if route else (), of_user, included)

    assert outcome(on, "aa") == expected


def test_a_stage_and_a_disable_key_choose_among_the_limits() -> None:
    config: dict[str, object] = {"token_bucket": bucket(9), "descriptors": [descriptor("a")]}

    assert outcome(calls({**USER, "stage": 2}, **config), "aa") == ".."
    assert outcome(calls({**USER, "stage": 2}, **config, stage=2), "aa") == ".x"
    assert outcome(calls({**USER, "disable_key": "k"}, **config), "aa") == ".."


def test_answers_tell_of_the_bucket() -> None:
    on = calls(token_bucket=bucket(2), enable_x_ratelimit_headers="DRAFT_VERSION_03",
               enable_retry_after_header=True)  # fmt: skip

    assert told(on.answered(Response(200)).headers) == ("2", "1", "0")
    assert told(on.answered(Response(200)).headers) == ("2", "0", "60")
    on.clock.now += 1.5
    refusal = on.verdict()

    assert isinstance(refusal, LocalReply)
    assert refusal.modify is not None
    headers = refusal.modify(Headers())
    assert told(headers) == ("2", "0", "59")
    assert headers.get("retry-after") == "59"


def test_a_limit_decides_itself_whether_answers_tell_of_it() -> None:
    config: dict[str, object] = {"token_bucket": bucket(9), "descriptors": [descriptor("a", 3)]}
    shown = calls({**USER, "x_ratelimit_option": "DRAFT_VERSION_03"}, **config)
    hidden = calls(
        {**USER, "x_ratelimit_option": "OFF"}, **config,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
    )  # fmt: skip
    user = (("x-user", "a"),)

    assert told(shown.answered(Response(200), user).headers) == ("3", "2", "0")
    assert told(hidden.answered(Response(200), user).headers) == (None, None, None)


def test_a_connection_has_buckets_of_its_own() -> None:
    on = calls(local_rate_limit_per_downstream_connection=True)
    assert outcome(on, "aa") == ".x"

    on.connection = replace(on.connection, state={})

    assert outcome(on, "aa") == ".x"


def test_the_same_config_sent_again_goes_on_with_its_buckets() -> None:
    given = extensions()
    assert outcome(calls_under(given), "a") == "."

    assert outcome(calls_under(given), "a") == "x"
    assert outcome(calls_under(given, token_bucket=bucket(2)), "a") == "."


def test_a_route_has_limits_of_its_own() -> None:
    base = build(EXTENSION, {"stat_prefix": "rl"})
    under = Calls(overridden(EXTENSION, base, {**ON, "token_bucket": bucket(1)}))

    assert outcome(under, "aa") == ".x"
    assert isinstance(Calls(base).verdict(), Continue)


REFUSED: list[tuple[Config, str]] = [
    ({"stat_prefix": ""}, "stat_prefix"),
    ({"token_bucket": {"max_tokens": 1}}, "fill_interval"),
    ({"token_bucket": bucket(1, interval="0.01s")}, ">= 50ms"),
    ({"token_bucket": bucket(1, 0)}, "tokens_per_fill"),
    ({"descriptors": [descriptor("a"), descriptor("a")]}, "duplicate descriptor"),
    ({"descriptors": [descriptor(""), descriptor("")]}, "duplicate descriptor"),
    ({"descriptors": [{"entries": [], "token_bucket": bucket(1)}]}, "entries"),
    ({"stage": 11}, "stage"),
    ({"status": {"code": "Empty"}}, "code"),
    ({"local_cluster_rate_limit": {}}, "local_cluster_rate_limit"),
]


@pytest.mark.parametrize(("config", "problem"), REFUSED)
def test_what_envoy_refuses_is_refused(config: Config, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        calls(**config)


def test_an_override_needs_a_bucket() -> None:
    with pytest.raises(ConfigError, match="token bucket must be set for per filter configs"):
        overridden(EXTENSION, build(EXTENSION, ON), ON)
