"""envoy.config.route.v3.HeaderMatcher, as a running Envoy 1.40 answered."""

from collections.abc import Mapping

import pytest

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.headers import parse_header_matcher

# For each matcher: which of these lines of x-a it takes.
LINES: tuple[tuple[str, ...], ...] = (
    (),
    ("",),
    ("5",),
    ("a",),
    ("5", "50"),
    ("50", "5"),
    ("+5",),
    ("5x",),
    ("99999999999999999999",),
    ("05",),
)
RANGE = {"range_match": {"start": 3, "end": 10}}
EXACT = {"string_match": {"exact": "5"}}
EMPTY = {"treat_missing_header_as_empty": True}
INVERT = {"invert_match": True}
ALL = set(range(10))
IN_RANGE = {2, 4, 5, 6, 9}
TABLE: list[tuple[Mapping[str, object], set[int]]] = [
    (RANGE, IN_RANGE),
    ({**RANGE, **INVERT}, ALL - IN_RANGE - {0}),
    ({**RANGE, **INVERT, **EMPTY}, ALL - IN_RANGE),
    ({"present_match": True}, ALL - {0}),
    ({"present_match": True, **INVERT}, {0}),
    ({"present_match": False}, {0}),
    ({"present_match": False, **INVERT}, ALL - {0}),
    ({"present_match": True, **EMPTY}, ALL),
    ({"present_match": False, **EMPTY}, set()),
    ({}, ALL - {0}),
    (INVERT, {0}),
    (EXACT, {2, 4, 5}),
    ({**EXACT, **INVERT}, ALL - {0, 2, 4, 5}),
    ({**EXACT, **INVERT, **EMPTY}, ALL - {2, 4, 5}),
    ({"string_match": {"exact": ""}, **EMPTY}, {0, 1}),
    ({"exact_match": "5"}, {2, 4, 5}),
    ({"exact_match": ""}, ALL - {0}),
    ({"prefix_match": "5"}, {2, 4, 5, 7}),
    ({"suffix_match": "5"}, {2, 4, 5, 6, 9}),
    ({"contains_match": "x"}, {7}),
    ({"safe_regex_match": {"regex": "[0-9]"}}, {2, 4, 5}),
]


@pytest.mark.parametrize(("config", "expected"), TABLE)
def test_a_header_matches_line_by_line(config: Mapping[str, object], expected: set[int]) -> None:
    matcher = parse_header_matcher(Reader({"name": "X-A", **config}))

    requests = [Request("GET", "a", "/", Headers(("x-a", v) for v in lines)) for lines in LINES]
    assert {i for i, request in enumerate(requests) if matcher.matches(request)} == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (":method", "GET"),
        (":path", "/p?q"),
        (":authority", "h:1"),
        ("host", "h:1"),
        (":scheme", "http"),
    ],
)
def test_pseudo_headers_are_headers(name: str, value: str) -> None:
    matcher = parse_header_matcher(Reader({"name": name, "string_match": {"exact": value}}))

    assert matcher.matches(Request("GET", "h:1", "/p?q"))


@pytest.mark.parametrize(
    "config",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"name": "a", "prefix_match": ""},
        {"name": "a", "exact_match": "x", "present_match": True},
        {"name": "a", "unknown_match": "x"},
    ],
)
def test_a_bad_header_matcher_is_refused(config: Mapping[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_header_matcher(Reader(config))
