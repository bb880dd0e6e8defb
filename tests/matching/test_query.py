"""envoy.config.route.v3.QueryParameterMatcher, as a running Envoy 1.40 answered."""

from collections.abc import Mapping

import pytest

from meshsdk.config.reader import Reader
from meshsdk.matching.query import parse_query_parameter_matcher, query_parameters

PATHS = (
    "/", "/?", "/?a", "/?a=", "/?a=1", "/?a=2&a=1", "/?b&a=1", "/?&&a=1", "/?a=1=2", "/?%61=1", "/?A=1", "/?a=%31",
    "/?a=1?a=2", "/?x?a=1",
)  # fmt: skip
WITH_A = set(PATHS) - {"/", "/?", "/?%61=1", "/?A=1", "/?x?a=1"}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"string_match": {"exact": "1"}}, {"/?a=1", "/?b&a=1", "/?&&a=1"}),
        ({"present_match": True}, WITH_A),
        ({"present_match": False}, set(PATHS) - WITH_A),
        ({}, WITH_A),
    ],
)
def test_the_first_value_of_a_parameter_counts(
    config: Mapping[str, object], expected: set[str]
) -> None:
    matcher = parse_query_parameter_matcher(Reader({"name": "a", **config}))

    assert {path for path in PATHS if matcher.matches(query_parameters(path))} == expected
