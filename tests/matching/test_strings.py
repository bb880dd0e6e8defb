"""envoy.type.matcher.v3.StringMatcher."""

from collections.abc import Mapping

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.strings import parse_string_matcher


@pytest.mark.parametrize(
    ("config", "value", "expected"),
    [
        ({"exact": "a"}, "a", True),
        ({"exact": "a"}, "A", False),
        ({"exact": ""}, "", True),
        ({"exact": "aB", "ignore_case": True}, "Ab", True),
        ({"exact": "\u00c9", "ignore_case": True}, "\xc3\xa9", False),
        ({"exact": "\u00e9"}, "\xc3\xa9", True),
        ({"exact": "k", "ignore_case": True}, "\u212a", False),
        ({"prefix": "/a"}, "/ab", True),
        ({"prefix": "/A", "ignore_case": True}, "/ab", True),
        ({"suffix": ".js"}, "x.js", True),
        ({"suffix": ".js"}, "x.js?", False),
        ({"contains": "dmi"}, "admin", True),
        ({"contains": "DMI", "ignore_case": True}, "admin", True),
        ({"safe_regex": {"regex": "a.c"}}, "abc", True),
        ({"safe_regex": {"regex": "a.c"}}, "abcd", False),
        ({"safe_regex": {"google_re2": {}, "regex": "a.c"}}, "abc", True),
    ],
)
def test_a_string_matches(config: Mapping[str, object], value: str, expected: bool) -> None:
    matcher = parse_string_matcher(Reader(config))

    assert matcher.matches(value) is expected
    assert matcher.test()(value) is expected


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({}, "exactly one of exact, prefix"),
        ({"exact": "a", "prefix": "b"}, "exactly one of"),
        ({"prefix": ""}, "config.prefix: expected a string that is not empty"),
        ({"contains": ""}, "config.contains"),
        ({"safe_regex": {"regex": "a"}, "ignore_case": True}, "config.ignore_case: has no effect"),
        ({"safe_regex": {"regex": ""}}, "config.safe_regex.regex"),
        ({"safe_regex": {"regex": "(?=a)"}}, "config.safe_regex.regex: RE2 refuses"),
        ({"custom": {"name": "x"}}, "config.custom: refused"),
        ({"exact": "a", "inexact": "b"}, "config.inexact: refused: unlisted"),
    ],
)
def test_what_envoy_refuses_is_refused_by_path(config: Mapping[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_string_matcher(Reader(config))

    assert problem in str(caught.value)
