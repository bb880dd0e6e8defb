"""Injected faults; the answers are those of a real Envoy 1.40."""

import pytest

from meshsdk.call.message import BodyEnd, LocalReply
from meshsdk.errors import ConfigError
from meshsdk.filters.fault import EXTENSION
from meshsdk.filters.not_built import INERT
from tests.filters.filter_case import ALWAYS, Calls, Config, build, extensions, overridden

ABORT: Config = {"abort": {"http_status": 503, "percentage": ALWAYS}}
DELAY: Config = {"delay": {"fixed_delay": "0.2s", "percentage": ALWAYS}}
BY_HEADER: Config = {
    "abort": {"header_abort": {}, "percentage": ALWAYS},
    "delay": {"header_delay": {}, "percentage": ALWAYS},
}
STATUS = "x-envoy-fault-abort-request"
GRPC = "x-envoy-fault-abort-grpc-request"
WAIT = "x-envoy-fault-delay-request"


def calls(config: Config, **runtime: object) -> Calls:
    keys = {name.replace("__", "."): value for name, value in runtime.items()}
    return Calls(build(EXTENSION, config, extensions(runtime=keys)))


def flags(on: Calls) -> list[str]:
    assert on.context is not None
    return on.context.flags


def test_nothing_to_inject_has_no_effect() -> None:
    assert build(EXTENSION, {}) is INERT


def test_an_abort_answers() -> None:
    found = calls(ABORT).verdict()

    assert isinstance(found, LocalReply)
    assert (found.status, found.body) == (503, b"fault filter abort")
    assert (found.flags, found.details) == (("FI",), "fault_filter_abort")


def test_an_abort_by_grpc_status_is_200_to_others() -> None:
    found = calls({"abort": {"grpc_status": 14, "percentage": ALWAYS}}).verdict()

    assert isinstance(found, LocalReply)
    assert (found.status, found.grpc_status) == (200, 14)


def test_an_abort_has_a_body_of_its_own() -> None:
    abort = {"http_status": 503, "percentage": ALWAYS, "response_body": "hello"}

    found = calls({"abort": abort}).verdict()

    assert isinstance(found, LocalReply)
    assert found.body == b"hello"


def test_a_delay_waits_and_goes_on_or_aborts() -> None:
    waits, both = calls(DELAY), calls({**DELAY, **ABORT})

    assert (waits.status(), waits.slept, flags(waits)) == (0, [0.2], ["DI"])
    assert (both.status(), both.slept) == (503, [0.2])


def test_without_a_percentage_nothing_happens() -> None:
    assert calls({"abort": {"http_status": 503}}).status() == 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("200", 200), ("599", 599), ("600", 0), ("199", 0), ("0503", 503), (" 503 ", 503),
        ("+503", 503), ("-503", 0), ("503,504", 0), ("5e2", 0), ("", 0), ("99999999999999", 0),
    ],
)  # fmt: skip
def test_a_header_asks_for_a_status(value: str, expected: int) -> None:
    assert calls(BY_HEADER).status(((STATUS, value),)) == expected


def test_of_repeated_headers_the_first_counts_and_http_goes_before_grpc() -> None:
    on = calls(BY_HEADER)

    assert on.status(((STATUS, "503"), (STATUS, "404"))) == 503
    assert on.status(((GRPC, "5"), (STATUS, "404"))) == 404
    assert on.status(((GRPC, "5"),)) == 200


@pytest.mark.parametrize(("asked", "expected"), [("0", 0), ("1000", 503), ("x", 503)])
def test_a_header_asks_for_a_smaller_share(asked: str, expected: int) -> None:
    assert calls(BY_HEADER).status(((STATUS, "503"), (f"{STATUS}-percentage", asked))) == expected


def test_no_header_raises_the_configured_share() -> None:
    config: Config = {"abort": {"header_abort": {}, "percentage": {"numerator": 0}}}

    assert calls(config).status(((STATUS, "503"), (f"{STATUS}-percentage", "100"))) == 0


@pytest.mark.parametrize(("value", "slept"), [("50", [0.05]), ("0", []), ("1.5", [])])
def test_a_header_asks_for_a_delay(value: str, slept: list[float]) -> None:
    on = calls(BY_HEADER)

    assert on.status(((WAIT, value),)) == 0
    assert on.slept == slept


@pytest.mark.parametrize(
    ("config", "headers", "expected"),
    [
        ({"upstream_cluster": "backend"}, (), 503),
        ({"upstream_cluster": "other"}, (), 0),
        ({"downstream_nodes": ["n1"]}, (("x-envoy-downstream-service-node", "n1"),), 503),
        ({"downstream_nodes": ["n1"]}, (), 0),
        ({"headers": [{"name": "x-a", "string_match": {"exact": "1"}}]}, (("x-a", "1"),), 503),
        ({"headers": [{"name": "x-a", "string_match": {"exact": "1"}}]}, (), 0),
    ],
)
def test_only_calls_of_concern_suffer(
    config: Config, headers: tuple[tuple[str, str], ...], expected: int
) -> None:
    assert calls({**ABORT, **config}).status(headers) == expected


def test_the_runtime_layer_has_the_last_word() -> None:
    foo = (("x-envoy-downstream-service-cluster", "foo"),)

    general = calls(ABORT, fault__http__abort__http_status=410)
    own = calls(
        ABORT, fault__http__abort__http_status=410, fault__http__foo__abort__http_status=404
    )
    off = calls(ABORT, fault__http__abort__abort_percent=0)
    named = calls({**ABORT, "abort_http_status_runtime": "mine"}, mine=418)

    assert (general.status(), own.status(foo), off.status(), named.status()) == (410, 404, 0, 418)


def test_the_active_limit_counts_a_call_until_it_is_over() -> None:
    on = calls({**ABORT, "max_active_faults": 1})
    assert on.status() == 503
    first = on.context
    assert first is not None

    assert on.status() == 0
    first.end(BodyEnd())
    assert on.status() == 503


def test_a_delay_and_an_abort_of_one_call_count_once() -> None:
    on = calls({**DELAY, **ABORT, "max_active_faults": 1})

    assert (on.status(), on.status()) == (503, 0)


def test_a_limit_of_zero_lets_every_call_alone() -> None:
    assert calls({**ABORT, "max_active_faults": 0}).status() == 0


def test_metadata_tells_of_the_fault() -> None:
    on = calls({**ABORT, "filter_metadata": {"a": "b"}})

    on.verdict()

    assert on.context is not None
    assert on.context.dynamic_metadata == {"envoy.filters.http.fault": {"a": "b"}}


def test_a_route_replaces_the_settings_as_a_whole() -> None:
    base = build(EXTENSION, DELAY)
    instead = Calls(overridden(EXTENSION, base, ABORT))

    assert (instead.status(), instead.slept) == (503, [])
    assert overridden(EXTENSION, base, {}) is INERT


def test_a_limit_of_the_response_rate_is_refused_by_name_where_nobody_honours_it() -> None:
    limit = {"fixed_limit": {"limit_kbps": "1"}, "percentage": ALWAYS}

    found = calls({"response_rate_limit": limit}).verdict()

    assert isinstance(found, LocalReply)
    assert found.details == "meshsdk_not_built{response_rate_limit of the fault filter (here)}"


@pytest.mark.parametrize(
    "config",
    [
        {"abort": {"percentage": ALWAYS}},
        {"abort": {"http_status": 600, "percentage": ALWAYS}},
        {"abort": {"http_status": 199, "percentage": ALWAYS}},
        {"delay": {"percentage": ALWAYS}},
        {"delay": {"fixed_delay": "0s", "percentage": ALWAYS}},
        {"response_rate_limit": {"fixed_limit": {}}},
    ],
)
def test_what_envoy_refuses_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError):
        calls(config)
