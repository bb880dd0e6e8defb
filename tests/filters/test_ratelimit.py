"""ratelimit: what the service is asked, and what its answers do (observed with Envoy 1.40)."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.effects import GrpcFetch, GrpcFetched
from meshsdk.call.filter import Continue, HttpFilter, Verdict
from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import LocalReply, Request, Reset, ResetReason, Response
from meshsdk.clock import seeded
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.not_built import NotBuilt
from meshsdk.filters.ratelimit import EXTENSION
from meshsdk.resources.rate_limit import RateLimit, parse_rate_limit
from meshsdk.resources.route_facts import RouteFacts
from tests.filters.filter_case import HERE, Clock, Config, build, extensions, overridden

OFF: Config = {"default_value": {"numerator": 0}}
ON: Config = {"default_value": {"numerator": 100}}
DRAFT = "DRAFT_VERSION_03"


def config(**more: object) -> Config:
    service = {
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "rls"}, "timeout": "9s"},
    }
    return {"domain": "shop", "rate_limit_service": service, **more}


def limiter(**more: object) -> HttpFilter:
    return build(EXTENSION, config(**more))


def key(value: str, **more: object) -> Config:
    """A RateLimit whose only entry is a generic key."""
    return {"actions": [{"generic_key": {"descriptor_value": value}}], **more}


def limits(*configs: Config) -> tuple[RateLimit, ...]:
    return tuple(parse_rate_limit(Reader(one, "rate_limit"), extensions()) for one in configs)


def status(code: str, n: int, unit: str, left: int, reset: str, name: str = "") -> Config:
    limit = {"requests_per_unit": n, "unit": unit, "name": name}
    return {
        "code": code,
        "current_limit": limit,
        "limit_remaining": left,
        "duration_until_reset": reset,
    }


TEN = status("OK", 10, "MINUTE", 3, "30.5s", "nm")
FIVE = status("OVER_LIMIT", 5, "HOUR", 1, "100s")
ROUTE = RouteFacts(limits(key("r")))
OVER: Config = {"overall_code": "OVER_LIMIT"}


@dataclass
class Asked:
    """One call through the filter, and the service that it asks."""

    http_filter: HttpFilter
    reply: Config | Reset | int = field(default_factory=dict[str, object])
    route: RouteFacts | None = ROUTE
    is_internal: bool = False
    effects: list[GrpcFetch] = field(default_factory=list[GrpcFetch])
    context: CallContext | None = None

    def verdict(self, headers: Sequence[Pair] = ()) -> Verdict:
        self.context = context = CallContext(Clock(), seeded(1), Connection(HERE))
        context.route, context.is_internal = self.route, self.is_internal
        step = self.http_filter.on_request(Request("GET", "a.com", "/", Headers(headers)), context)
        if isinstance(step, Continue | LocalReply):
            return step
        effect = next(step)
        assert isinstance(effect, GrpcFetch)
        self.effects.append(effect)
        match self.reply:
            case Reset() as reset:
                reply: Reset | GrpcFetched = reset
            case int() as code:
                reply = GrpcFetched(code, {})
            case message:
                reply = GrpcFetched(0, message)
        with pytest.raises(StopIteration) as stop:
            step.send(reply)
        found: Verdict = stop.value.value
        return found

    def descriptors(self, headers: Sequence[Pair] = ()) -> object:
        """What the service is asked; None: nothing."""
        self.verdict(headers)
        return self.effects[0].message["descriptors"] if self.effects else None

    def limited(self) -> LocalReply:
        found = self.verdict()
        assert isinstance(found, LocalReply), found
        return found

    def fields(self, *before: Pair) -> tuple[Pair, ...]:
        """The fields of an answer afterwards."""
        found = self.verdict()
        if isinstance(found, LocalReply):
            headers = Headers(before)
            return (headers if found.modify is None else found.modify(headers)).pairs
        assert self.context is not None
        response = Response(200, Headers(before))
        if found.on_response is not None:
            response = found.on_response(response, self.context)
        return response.headers.pairs


def entry(value: str, **more: object) -> Mapping[str, object]:
    return {"entries": [{"key": "generic_key", "value": value}], **more}


def outcome(reply: LocalReply) -> tuple[int, bytes, tuple[str, ...], str]:
    return reply.status, reply.body, reply.flags, reply.details


# -- what is asked ------------------------------------------------------------------------------------


def test_the_service_is_asked_within_the_filters_own_timeout() -> None:
    usual, longer = Asked(limiter()), Asked(limiter(timeout="0.5s"))

    usual.verdict()
    longer.verdict()

    (effect,) = usual.effects
    assert (effect.cluster, effect.timeout) == ("rls", 0.02)
    assert effect.service == "envoy.service.ratelimit.v3.RateLimitService"
    assert effect.method == "ShouldRateLimit"
    assert effect.message == {"domain": "shop", "descriptors": [entry("r")]}
    assert longer.effects[0].timeout == 0.5


HOST = limits(key("vh"))
BOTH = [entry("r"), entry("vh")]


@pytest.mark.parametrize(
    ("route", "level", "expected"),
    [
        (RouteFacts((), HOST), {}, [entry("vh")]),
        (RouteFacts(limits(key("r")), HOST), {}, [entry("r")]),
        (RouteFacts(limits(key("r")), HOST, True), {}, BOTH),
        (RouteFacts(limits(key("r")), HOST), {"vh_rate_limits": "INCLUDE"}, BOTH),
        (RouteFacts((), HOST), {"vh_rate_limits": "IGNORE"}, None),
        (RouteFacts(limits(key("r")), HOST, True), {"vh_rate_limits": "IGNORE"}, BOTH),
        (RouteFacts(limits(key("r")), HOST), {"rate_limits": [key("own")]}, [entry("own")]),
        (RouteFacts(), {}, None),
        (None, {}, None),
    ],
)
def test_descriptors_come_from_route_and_virtual_host(
    route: RouteFacts | None, level: Config, expected: object
) -> None:
    levelled = overridden(EXTENSION, limiter(), level)

    assert Asked(levelled, route=route).descriptors() == expected


def test_a_level_may_have_a_domain_of_its_own() -> None:
    asked = Asked(overridden(EXTENSION, limiter(), {"domain": "other"}))

    asked.verdict()

    assert asked.effects[0].message["domain"] == "other"


def test_limits_of_the_filter_stand_for_the_routes_and_count_their_hits() -> None:
    numbered = key("a", hits_addend={"number": 5})
    formatted = key("b", hits_addend={"format": "%REQ(x-n)%"})
    own = limiter(rate_limits=[numbered, formatted])

    assert Asked(own).descriptors([("x-n", "7")]) == [
        entry("a", hits_addend=5),
        entry("b", hits_addend=7),
    ]
    assert Asked(own).descriptors([("x-n", "z")]) == [entry("a", hits_addend=5)]
    assert Asked(limiter(), route=RouteFacts(limits(numbered))).descriptors() == [entry("a")]


def test_a_filter_counts_the_limits_of_its_stage() -> None:
    route = RouteFacts(limits(key("zero"), key("one", stage=1)))

    assert Asked(limiter(stage=1), route=route).descriptors() == [entry("one")]


def test_a_disable_key_switches_a_limit_off_by_the_runtime_layer() -> None:
    route = RouteFacts(limits(key("a", disable_key="k"), key("b", disable_key="other")))
    runtime = extensions(runtime={"ratelimit.k.http_filter_enabled": 0})

    found = Asked(build(EXTENSION, config(), runtime), route=route).descriptors()

    assert found == [entry("b")]


@pytest.mark.parametrize(
    ("request_type", "is_internal", "is_asked"),
    [
        ("internal", False, False),
        ("internal", True, True),
        ("external", False, True),
        ("external", True, False),
        ("both", True, True),
    ],
)
def test_callers_are_counted_by_where_they_are(
    request_type: str, is_internal: bool, is_asked: bool
) -> None:
    asked = Asked(limiter(request_type=request_type), is_internal=is_internal)

    assert (asked.descriptors() is not None) is is_asked


# -- what answers do ----------------------------------------------------------------------------------


def test_a_call_within_its_limits_gets_what_the_service_adds() -> None:
    reply = {
        "overall_code": "OK",
        "statuses": [TEN, {**FIVE, "code": "OK"}, {"code": "OK"}],
        "response_headers_to_add": [{"key": "x-r", "value": "1"}, {"key": "X-Set", "value": "rl"}],
        "request_headers_to_add": [{"key": "x-q", "value": "1"}, {"key": "x-a", "value": "rl"}],
        "dynamic_metadata": {"k": "v"},
    }
    asked = Asked(limiter(enable_x_ratelimit_headers=DRAFT), reply)

    passed = asked.verdict([("x-a", "o")])

    assert isinstance(passed, Continue)
    assert passed.request.headers.pairs == (("x-a", "o"), ("x-q", "1"), ("x-a", "rl"))
    assert asked.fields(("x-set", "up")) == (
        ("x-set", "up"),
        ("x-r", "1"),
        ("x-set", "rl"),
        ("x-ratelimit-limit", '5, 10;w=60;name="nm", 5;w=3600'),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "100"),
    )
    assert asked.context is not None
    assert asked.context.dynamic_metadata == {"envoy.filters.http.ratelimit": {"k": "v"}}


def test_a_call_over_its_limit_is_429_with_the_services_body() -> None:
    reply = {
        **OVER,
        "statuses": [TEN, FIVE],
        "response_headers_to_add": [
            {"key": "x-r", "value": "1"},
            {"key": "content-type", "value": "text/html"},
        ],
        "raw_body": base64.b64encode(b"too many").decode(),
    }
    asked = Asked(limiter(enable_x_ratelimit_headers=DRAFT, enable_retry_after_header=True), reply)

    found = asked.limited()

    assert outcome(found) == (429, b"too many", ("RL",), "request_rate_limited")
    assert found.grpc_status is None
    assert asked.fields(("content-type", "text/plain")) == (
        ("x-r", "1"),
        ("content-type", "text/html"),
        ("x-envoy-ratelimited", "true"),
        ("x-ratelimit-limit", '5, 10;w=60;name="nm", 5;w=3600'),
        ("x-ratelimit-remaining", "1"),
        ("x-ratelimit-reset", "100"),
        ("retry-after", "100"),
    )


def test_status_fields_and_grpc_status_of_a_refusal_are_configured() -> None:
    added = [{"header": {"key": "x-add", "value": "y"}}]
    told = Asked(
        limiter(
            rate_limited_status={"code": "ServiceUnavailable"},
            response_headers_to_add=added,
            rate_limited_as_resource_exhausted=True,
        ),
        OVER,
    )
    untold = Asked(
        limiter(disable_x_envoy_ratelimited_header=True, rate_limited_status={"code": "OK"}), OVER
    )

    assert (told.limited().status, told.limited().grpc_status) == (503, 8)
    assert told.fields() == (("x-envoy-ratelimited", "true"), ("x-add", "y"))
    assert (untold.limited().status, untold.fields()) == (429, ())


def test_what_is_not_enforced_passes_and_is_told() -> None:
    asked = Asked(limiter(filter_enforced=OFF), OVER)

    assert isinstance(asked.verdict(), Continue)
    assert asked.fields() == (("x-envoy-ratelimited", "true"),)


def test_what_is_not_enabled_is_not_asked() -> None:
    assert Asked(limiter(filter_enabled=OFF), OVER).descriptors() is None


def test_an_unknown_code_lets_pass() -> None:
    assert isinstance(Asked(limiter(), {}).verdict(), Continue)


FAILURES: list[Config | Reset | int] = [
    14,
    Reset(ResetReason.TIMEOUT),
    {"statuses": 1},
]


@pytest.mark.parametrize("reply", FAILURES)
def test_a_service_that_fails_lets_pass_unless_told_to_deny(reply: Config | Reset | int) -> None:
    usual = Asked(limiter(), reply).verdict()
    denied = Asked(limiter(failure_mode_deny=True), reply).limited()
    share = Asked(limiter(failure_mode_deny_percent=ON), reply).limited()
    none = Asked(limiter(failure_mode_deny=True, failure_mode_deny_percent=OFF), reply).verdict()
    other = Asked(
        limiter(failure_mode_deny=True, status_on_error={"code": "BadGateway"}), reply
    ).limited()

    assert isinstance(usual, Continue)
    assert outcome(denied) == (500, b"", ("RLSE",), "rate_limiter_error")
    assert share.status == 500
    assert isinstance(none, Continue)
    assert other.status == 502


def test_a_descriptor_says_whether_its_limit_is_told() -> None:
    one: Config = {"overall_code": "OK", "statuses": [TEN]}
    shown = RouteFacts(limits(key("a", x_ratelimit_option=DRAFT)))
    hidden = RouteFacts(limits(key("a", x_ratelimit_option="OFF")))

    on = Asked(limiter(), one, shown).fields()
    off = Asked(limiter(enable_x_ratelimit_headers=DRAFT), one, hidden).fields()
    rest = Asked(
        limiter(enable_x_ratelimit_headers=DRAFT), {**one, "statuses": [TEN, FIVE]}, hidden
    )

    assert dict(on)["x-ratelimit-limit"] == '10, 10;w=60;name="nm"'
    assert off == ()
    assert dict(rest.fields())["x-ratelimit-limit"] == "5, 5;w=3600"


def test_windows_of_every_unit() -> None:
    units = ["UNKNOWN", "SECOND", "DAY", "WEEK", "MONTH", "YEAR"]
    statuses = [status("OK", i, unit, i, "1s") for i, unit in enumerate(units)]
    reply: Config = {"overall_code": "OK", "statuses": statuses}

    found = dict(Asked(limiter(enable_x_ratelimit_headers=DRAFT), reply).fields())

    assert found["x-ratelimit-limit"] == (
        "0, 1;w=1, 2;w=86400, 3;w=604800, 4;w=2592000, 5;w=31536000"
    )


@pytest.mark.parametrize(
    ("statuses", "seconds"),
    [
        ([{**FIVE, "duration_until_reset": "30.5s"}, FIVE, {**TEN}], "100"),
        ([{"code": "OVER_LIMIT"}], "1"),
    ],
)
def test_retry_after_is_the_longest_exceeded_limit(
    statuses: Sequence[Config], seconds: str
) -> None:
    asked = Asked(limiter(enable_retry_after_header=True), {**OVER, "statuses": statuses})

    assert dict(asked.fields())["retry-after"] == seconds


def test_fields_that_cannot_be_sent_are_left_out() -> None:
    """Envoy 1.40 sends them, and splits the line; this is stricter."""
    bad = [
        {"key": "bad name", "value": "x"},
        {"key": "x-z", "value": "a\r\nb: c"},
        {"key": "host", "value": "evil"},
        {"key": ":path", "value": "/evil"},
        {"key": "Content-Length", "value": "5"},
        {"key": "transfer-encoding", "value": "chunked"},
        {"key": "x-good", "value": "1"},
    ]
    over = Asked(limiter(), {**OVER, "response_headers_to_add": bad})
    passed = Asked(limiter(), {"request_headers_to_add": bad}).verdict()

    assert over.fields() == (("x-good", "1"), ("x-envoy-ratelimited", "true"))
    assert isinstance(passed, Continue)
    assert passed.request.headers.pairs == (("x-good", "1"),)


# -- configs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"domain": ""}, "domain"),
        ({"stage": 11}, "stage"),
        ({"request_type": "all"}, "request_type"),
        ({"rate_limit_service": {}}, "transport_api_version"),
        (
            {
                "rate_limit_service": {
                    "transport_api_version": "V3",
                    "grpc_service": {"google_grpc": {}},
                }
            },
            "google_grpc",
        ),
    ],
)
def test_a_config_that_cannot_be_honoured_is_refused_by_name(more: Config, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        limiter(**more)


def test_what_is_not_built_fails_calls_by_name() -> None:
    later = key("a", apply_on_stream_done=True)

    whole = limiter(rate_limits=[later])
    level = overridden(EXTENSION, limiter(), {"rate_limits": [later]})

    for found in (whole, level):
        assert isinstance(found, NotBuilt)
        assert "apply_on_stream_done" in found.name
