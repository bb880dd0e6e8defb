"""Paths as policies and routes see them."""

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.path import parse_path_matcher, without_parameters, without_query


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/a", "/a"), ("/a?b", "/a"), ("/a#b?c", "/a"), ("/a?b#c", "/a"), ("/?", "/")],
)
def test_query_and_fragment_are_no_part_of_a_path(path: str, expected: str) -> None:
    assert without_query(path) == expected


# vectors: path_params
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/admin;x=1", "/admin"),
        ("/admin;", "/admin"),
        ("/;x/admin", "//admin"),
        ("/admin/;x", "/admin/"),
        ("/a", "/a"),
    ],
)
def test_parameters_end_a_segment(path: str, expected: str) -> None:
    assert without_parameters(path) == expected


def test_a_path_matcher_does_not_see_the_query() -> None:
    matcher = parse_path_matcher(Reader({"path": {"suffix": ".js"}}))

    assert matcher.matches("/x.js?y")
    assert not matcher.matches("/x?y.js")


def test_a_path_matcher_without_a_path_is_refused() -> None:
    with pytest.raises(ConfigError, match="path is required"):
        parse_path_matcher(Reader({}))
