"""envoy.config.route.v3.CookieMatcher, as a running Envoy 1.40 answered."""

import pytest

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.config.reader import Reader
from meshsdk.matching.cookie import cookies, parse_cookie_matcher

CONFIG = {"name": "c", "string_match": {"exact": "v"}}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), False),
        (("c=v",), True),
        (("c=w",), False),
        (('c="v"',), True),
        (("a=1; c=v",), True),
        (("a=1;c=v",), True),
        (("c=w; c=v",), False),
        (("c=v; c=w",), True),
        (("a=1", "c=v"), True),
        (("c=w", "c=v"), False),
        (("c",), False),
        (("c = v",), False),
        (("c=v ",), True),
        (("C=v",), False),
        (("c=v=x",), False),
    ],
)
def test_the_first_value_of_a_cookie_counts(lines: tuple[str, ...], expected: bool) -> None:
    found = cookies(Request("GET", "a", "/", Headers(("cookie", line) for line in lines)))

    assert parse_cookie_matcher(Reader(CONFIG)).matches(found) is expected
    assert (
        parse_cookie_matcher(Reader({**CONFIG, "invert_match": True})).matches(found)
        is not expected
    )
