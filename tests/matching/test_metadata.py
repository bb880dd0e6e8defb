"""envoy.type.matcher.v3.MetadataMatcher, as a running Envoy 1.40 answered."""

from collections.abc import Mapping

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.metadata import parse_metadata_matcher

VALUES: tuple[object, ...] = (None, "v", 1, 1.5, True, False, [], ["v"], {"n": "v"}, "")
ABSENT = len(VALUES)
IS_V = {"string_match": {"exact": "v"}}
TABLE: list[tuple[Mapping[str, object], set[int]]] = [
    ({"null_match": {}}, {0}),
    (IS_V, {1}),
    ({"present_match": True}, set(range(10))),
    ({"present_match": False}, set()),
    ({"double_match": {"exact": 1}}, {2}),
    ({"double_match": {"range": {"start": 1, "end": 1.5}}}, {2}),
    ({"bool_match": True}, {4}),
    ({"bool_match": False}, {5}),
    ({"list_match": {"one_of": IS_V}}, {7}),
    ({"or_match": {"value_matchers": [{"list_match": {"one_of": IS_V}}, IS_V]}}, {1, 7}),
]


@pytest.mark.parametrize(("value", "expected"), TABLE)
def test_a_value_matches_by_its_kind(value: Mapping[str, object], expected: set[int]) -> None:
    config = {"filter": "ns", "path": [{"key": "k"}], "value": value}
    matcher = parse_metadata_matcher(Reader(config))
    inverted = parse_metadata_matcher(Reader({**config, "invert": True}))

    found = {i for i, v in enumerate(VALUES) if matcher.matches({"ns": {"k": v}})}
    assert found == expected
    assert not matcher.matches({})
    assert inverted.matches({})


def test_a_path_goes_through_messages_only() -> None:
    config = {
        "filter": "ns",
        "path": [{"key": "a"}, {"key": "b"}],
        "value": {"present_match": True},
    }
    matcher = parse_metadata_matcher(Reader(config))

    assert matcher.matches({"ns": {"a": {"b": None}}})
    assert not matcher.matches({"ns": {"a": [{"b": 1}]}})
    assert not matcher.matches({"ns": {"a": "b"}})


def test_text_of_a_token_is_compared_by_its_octets() -> None:
    config = {"filter": "j", "path": [{"key": "s"}], "value": {"string_match": {"exact": "\u00e9"}}}

    assert parse_metadata_matcher(Reader(config)).matches({"j": {"s": "\u00e9"}})


@pytest.mark.parametrize(
    "config",
    [
        {"filter": "", "path": [{"key": "k"}], "value": IS_V},
        {"filter": "ns", "path": [], "value": IS_V},
        {"filter": "ns", "path": [{"key": ""}], "value": IS_V},
        {"filter": "ns", "path": [{"key": "k"}]},
        {"filter": "ns", "path": [{"key": "k"}], "value": {}},
        {"filter": "ns", "path": [{"key": "k"}], "value": {"or_match": {"value_matchers": [IS_V]}}},
    ],
)
def test_a_bad_metadata_matcher_is_refused(config: Mapping[str, object]) -> None:
    with pytest.raises(ConfigError):
        parse_metadata_matcher(Reader(config))
