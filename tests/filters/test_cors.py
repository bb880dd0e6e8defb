"""Cross-origin calls; the answers are those of a real Envoy 1.40."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Response
from meshsdk.filters.cors import EXTENSION
from meshsdk.filters.not_built import INERT
from tests.filters.filter_case import Calls, Config, build, overridden

A = ("origin", "https://a.com")
PUT = ("access-control-request-method", "PUT")
ALLOW_A: Config = {"allow_origin_string_match": [{"exact": "https://a.com"}]}
NEVER: Config = {"default_value": {"numerator": 0}}


def calls(*levels: Config) -> Calls:
    return Calls(overridden(EXTENSION, INERT, *levels))


def preflight(on: Calls, *headers: tuple[str, str]) -> dict[str, str] | None:
    """The fields of the answer to a preflight; None: it goes on."""
    found = on.verdict("OPTIONS", headers=(PUT, *headers))
    if isinstance(found, Continue):
        return None
    assert (found.status, found.details, found.as_is) == (200, "cors_response", True)
    return dict(found.headers)


def test_the_filter_alone_has_no_effect() -> None:
    assert build(EXTENSION, {}) is INERT


def test_a_preflight_is_answered() -> None:
    on = calls(
        {
            **ALLOW_A,
            "allow_methods": "GET,PUT",
            "allow_headers": "*",
            "expose_headers": "x-e",
            "max_age": "600",
            "allow_credentials": True,
            "allow_private_network_access": True,
        }
    )
    asked = ("access-control-request-headers", "x-q")

    answer = preflight(on, A, asked, ("access-control-request-private-network", "true"))

    assert answer == {
        "access-control-allow-origin": "https://a.com",
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET,PUT",
        "access-control-allow-headers": "x-q",
        "access-control-max-age": "600",
        "access-control-allow-private-network": "true",
        "access-control-expose-headers": "x-e",
    }


def test_a_preflight_of_another_origin_goes_on_unless_it_must_not() -> None:
    b = ("origin", "https://b.com")

    assert preflight(calls(ALLOW_A), b) is None
    assert preflight(calls({**ALLOW_A, "forward_not_matching_preflights": False}), b) == {}


@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", (A, PUT)), ("OPTIONS", (A,)), ("OPTIONS", (A, (PUT[0], ""))), ("OPTIONS", (PUT,))],
)
def test_what_is_no_preflight_goes_on(method: str, headers: tuple[tuple[str, str], ...]) -> None:
    assert isinstance(calls(ALLOW_A).verdict(method, headers=headers), Continue)


def test_the_answer_says_who_may_read_it_and_overwrites_what_the_upstream_said() -> None:
    on = calls({**ALLOW_A, "expose_headers": "x-e"})
    upstream = Response(200, Headers((("access-control-allow-origin", "*"),)))

    answer = on.answered(upstream, (A,))

    assert dict(answer.headers) == {
        "access-control-allow-origin": "https://a.com",
        "access-control-expose-headers": "x-e",
    }
    assert on.answered(upstream, (("origin", "https://b.com"),)) is upstream


def test_two_origins_are_one_that_nobody_allows() -> None:
    assert preflight(calls(ALLOW_A), A, ("origin", "https://b.com")) is None


def test_a_star_takes_every_origin() -> None:
    on = calls({"allow_origin_string_match": [{"exact": "*"}], "allow_headers": "*"})

    assert preflight(on, ("origin", "null")) == {
        "access-control-allow-origin": "null",
        "access-control-allow-headers": "",
    }


def test_a_level_counts_field_by_field() -> None:
    host: Config = {**ALLOW_A, "max_age": "5", "allow_credentials": True}

    answer = preflight(calls(host, {"allow_methods": "GET", "allow_credentials": False}), A)

    assert answer == {
        "access-control-allow-origin": "https://a.com",
        "access-control-allow-methods": "GET",
        "access-control-max-age": "5",
    }


def test_only_the_most_specific_level_says_whether_it_is_on() -> None:
    off = {**ALLOW_A, "filter_enabled": NEVER}

    assert preflight(calls(ALLOW_A, off), A) is None
    assert preflight(calls(off, ALLOW_A), A) is not None


def test_routes_that_answer_themselves_know_no_cors() -> None:
    on = calls(ALLOW_A)
    on.route = None

    assert preflight(on, A) is None


def test_the_older_form_of_routes_is_the_same_policy() -> None:
    url = "type.googleapis.com/envoy.config.route.v3.CorsPolicy"

    found = calls({"@type": url, **ALLOW_A}).verdict("OPTIONS", headers=(A, PUT))

    assert isinstance(found, LocalReply)
