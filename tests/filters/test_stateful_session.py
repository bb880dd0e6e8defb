"""Sticky sessions; cookies and headers are those of a real Envoy 1.40."""

import base64

import pytest

from meshsdk.call.address import Address
from meshsdk.call.endpoint import Endpoint, Host, HostState
from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import Response
from meshsdk.errors import ConfigError
from meshsdk.filters.not_built import INERT
from meshsdk.filters.stateful_session import EXTENSION
from tests.filters.filter_case import Calls, Config, build, overridden

PREFIX = "type.googleapis.com/envoy.extensions.http.stateful_session."
HEADER: Config = {
    "name": "h",
    "typed_config": {"@type": f"{PREFIX}header.v3.HeaderBasedSessionState", "name": "x-session"},
}
FIRST = "127.0.0.1:21001"
SECOND = Host(Endpoint(Address("127.0.0.1", 21002)), HostState())
OF_FIRST = "Cg8xMjcuMC4wLjE6MjEwMDE="


def cookie(**fields: object) -> Config:
    url = f"{PREFIX}cookie.v3.CookieBasedSessionState"
    return {"name": "c", "typed_config": {"@type": url, "cookie": {"name": "sess", **fields}}}


def calls(state: Config, **config: object) -> Calls:
    return Calls(build(EXTENSION, {"session_state": state, **config}))


def asked(on: Calls, *headers: tuple[str, str], path: str = "/") -> str:
    """The host that the filter asks for."""
    on.verdict(headers=headers, path=path)
    assert on.context is not None
    return on.context.override_host


def told(on: Calls, *headers: tuple[str, str]) -> Headers:
    """The fields of the answer of another host."""
    found = on.verdict(headers=headers)
    assert isinstance(found, Continue)
    assert found.on_response is not None
    assert on.context is not None
    on.context.host = SECOND
    return found.on_response(Response(200, attempt=object()), on.context).headers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (OF_FIRST, FIRST),
        (f'"{OF_FIRST}"', FIRST),
        (base64.b64encode(FIRST.encode()).decode(), FIRST),
        ("xx!", ""),
        ("Cg8xMjcuMC4wLjE6MjEwMDIQAg==", ""),  # over since 1970
        ("Cg8xMjcuMC4wLjE6MjEwMDIQ/8/bw/QC", "127.0.0.1:21002"),
    ],
)
def test_a_cookie_asks_for_its_host(value: str, expected: str) -> None:
    assert asked(calls(cookie(path="/")), ("cookie", f"sess={value}")) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/p", FIRST), ("/p/x", FIRST), ("/p?x", FIRST), ("/px", ""), ("/q", "")],
)
def test_a_cookie_counts_under_its_path(path: str, expected: str) -> None:
    on = calls(cookie(path="/p"))

    assert asked(on, ("cookie", f"sess={OF_FIRST}"), path=path) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, 'sess="Cg8xMjcuMC4wLjE6MjEwMDI="; HttpOnly'),
        (
            {"path": "/", "attributes": [{"name": "SameSite", "value": "Lax"}, {"name": "Secure"}]},
            'sess="Cg8xMjcuMC4wLjE6MjEwMDI="; Path=/; SameSite=Lax; Secure; HttpOnly',
        ),
        (
            {"path": "/", "ttl": "120s"},
            'sess="Cg8xMjcuMC4wLjE6MjEwMDIQ4Ag="; Max-Age=120; Path=/; HttpOnly',
        ),
    ],
)
def test_a_new_host_is_told_in_a_cookie(fields: Config, expected: str) -> None:
    assert told(calls(cookie(**fields))).get("set-cookie") == expected


def test_the_host_that_was_asked_for_is_not_told_again() -> None:
    of_second = base64.b64encode(b"127.0.0.1:21002").decode()

    assert "x-session" not in told(calls(HEADER), ("x-session", of_second))


def test_a_header_asks_for_its_host_and_tells_of_another() -> None:
    of_first = base64.b64encode(FIRST.encode()).decode()
    on = calls(HEADER)

    assert asked(on, ("x-session", of_first)) == FIRST
    assert told(on, ("x-session", "127.0.0.1:1")).get("x-session") == "MTI3LjAuMC4xOjIxMDAy"


def test_a_strict_session_takes_no_other_host() -> None:
    on = calls(HEADER, strict=True, status_on_strict_destination_not_found=404)
    asked(on, ("x-session", base64.b64encode(FIRST.encode()).decode()))

    assert on.context is not None
    assert on.context.override_is_strict
    assert on.context.override_missing_status == 404


def test_without_a_state_there_are_no_sessions() -> None:
    assert build(EXTENSION, {}) is INERT


def test_a_route_has_sessions_of_its_own_or_none() -> None:
    base = build(EXTENSION, {"session_state": HEADER})

    under = overridden(EXTENSION, base, {"stateful_session": {"session_state": cookie()}})

    assert asked(Calls(under), ("cookie", f"sess={OF_FIRST}")) == FIRST
    assert overridden(EXTENSION, base, {"disabled": True}) is INERT


@pytest.mark.parametrize("state", [{"name": "x"}, cookie(name=""), cookie(ttl="-1s")])
def test_what_is_no_session_state_is_refused(state: Config) -> None:
    with pytest.raises(ConfigError):
        calls(state)
