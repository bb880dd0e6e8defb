"""Request bodies that are read first; the answers are those of a real Envoy 1.40."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.message import LocalReply
from meshsdk.errors import ConfigError
from meshsdk.filters.buffer import EXTENSION
from meshsdk.filters.not_built import INERT
from tests.filters.filter_case import Calls, Config, build, overridden

TEN: Config = {"max_request_bytes": 10}


@pytest.mark.parametrize(("size", "expected"), [(0, 0), (10, 0), (11, 413)])
def test_a_body_may_be_as_large_as_the_limit(size: int, expected: int) -> None:
    found = Calls(build(EXTENSION, TEN), body=b"x" * size).verdict("POST")

    assert (found.status if isinstance(found, LocalReply) else 0) == expected


def test_the_refusal_is_envoys() -> None:
    found = Calls(build(EXTENSION, TEN), body=b"x" * 11).verdict("POST")

    assert isinstance(found, LocalReply)
    assert (found.body, found.details) == (b"Payload Too Large", "request_payload_too_large")


def test_a_route_has_its_own_limit_or_none() -> None:
    base = build(EXTENSION, TEN)

    smaller = overridden(EXTENSION, base, {"buffer": {"max_request_bytes": 5}})

    assert not isinstance(Calls(smaller, body=b"x" * 6).verdict("POST"), Continue)
    assert overridden(EXTENSION, base, {"disabled": True}) is INERT


@pytest.mark.parametrize("config", [{}, {"max_request_bytes": 0}])
def test_a_limit_is_required(config: Config) -> None:
    with pytest.raises(ConfigError, match=r"^f\.max_request_bytes"):
        build(EXTENSION, config)


@pytest.mark.parametrize("level", [{}, {"disabled": False}])
def test_an_override_says_something(level: Config) -> None:
    with pytest.raises(ConfigError):
        overridden(EXTENSION, INERT, level)
