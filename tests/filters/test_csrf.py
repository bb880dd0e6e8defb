"""Origins of changes; the answers are those of a real Envoy 1.40."""

import pytest

from meshsdk.errors import ConfigError
from meshsdk.filters.csrf import EXTENSION, host_and_port
from tests.filters.filter_case import RUNTIME_ALWAYS, Calls, Config, build, overridden

HOST = "www.example.com"
ON: Config = {"filter_enabled": RUNTIME_ALWAYS}


def status(config: Config, *headers: tuple[str, str], method: str = "POST") -> int:
    calls = Calls(build(EXTENSION, config))
    found = calls.verdict(method, headers=headers, authority=HOST)
    return getattr(found, "status", 0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), 403),
        ((("origin", "http://www.example.com"),), 0),
        ((("origin", "https://www.example.com"),), 0),
        ((("origin", "http://evil.com"),), 403),
        ((("referer", "http://www.example.com/x"),), 0),
        ((("origin", ""), ("referer", "http://www.example.com/x")), 0),
        ((("origin", "null"), ("referer", "http://www.example.com")), 403),
        ((("origin", "http://a"), ("origin", "http://www.example.com")), 403),
        ((("origin", "HTTP://WWW.EXAMPLE.COM"),), 403),
        ((("origin", "www.example.com"),), 0),
    ],
)
def test_a_change_must_come_from_its_own_origin(
    headers: tuple[tuple[str, str], ...], expected: int
) -> None:
    assert status(ON, *headers) == expected


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "CONNECT", "TRACE"])
def test_what_changes_nothing_may_come_from_anywhere(method: str) -> None:
    assert status(ON, ("origin", "http://evil.com"), method=method) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://www.example.com:80", "www.example.com:80"),
        ("ftp://u:p@www.example.com", "www.example.com"),
        ("http://www.example.com?q", "www.example.com"),
        ("http://www.example.com#f", "http://www.example.com#f"),
        ("//www.example.com", "//www.example.com"),
        ("http://[::1]:99/", "[::1]:99"),
        ("http:///x", "http:///x"),
        ("http://a:65536/", "http://a:65536/"),
        ("http://www.ex ample.com", "http://www.ex ample.com"),
    ],
)
def test_of_a_url_host_and_port_count_as_they_are_written(text: str, expected: str) -> None:
    assert host_and_port(text) == expected


def test_additional_origins_may_change_something_too() -> None:
    config: Config = {**ON, "additional_origins": [{"suffix": "extra.com"}]}

    assert status(config, ("origin", "http://sub.extra.com")) == 0
    assert status(config, ("origin", "http://evil.com")) == 403


def test_a_route_has_a_policy_of_its_own() -> None:
    off: Config = {"filter_enabled": {"default_value": {"numerator": 0}}}
    under = Calls(overridden(EXTENSION, build(EXTENSION, off), ON))

    assert getattr(under.verdict("POST"), "details", "") == "csrf_origin_mismatch"


def test_filter_enabled_is_required() -> None:
    with pytest.raises(ConfigError, match=r"^f\.filter_enabled"):
        build(EXTENSION, {})
