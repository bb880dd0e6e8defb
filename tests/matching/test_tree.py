"""xds.type.matcher.v3.Matcher over a dict of strings; outcomes as a running Envoy 1.40's."""

from collections.abc import Callable, Mapping

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError, UnknownExtensionError
from meshsdk.matching.tree import TreeParser

Values = Mapping[str, str]
IP = "type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip"
TRIE = "type.googleapis.com/xds.type.matcher.v3.IPMatcher"


def _input(reader: Reader) -> Callable[[Values], str | None]:
    key = reader.required_string("key")
    return lambda values: values.get(key)


PARSER: TreeParser[Values, str] = TreeParser(
    {"test/input": _input}, lambda r: r.required_string("name")
)


def read(key: str) -> Mapping[str, object]:
    return {"name": "i", "typed_config": {"@type": "test/input", "key": key}}


def act(name: str) -> Mapping[str, object]:
    return {"action": {"name": "a", "typed_config": {"@type": "test/action", "name": name}}}


def is_(key: str, value: str) -> Mapping[str, object]:
    return {"single_predicate": {"input": read(key), "value_match": {"exact": value}}}


def when(*rows: tuple[Mapping[str, object], Mapping[str, object]]) -> Mapping[str, object]:
    return {"matcher_list": {"matchers": [{"predicate": p, "on_match": m} for p, m in rows]}}


def find(config: Mapping[str, object], **values: str) -> str | None:
    return PARSER.parse(Reader(config)).find(values)


def test_the_first_predicate_that_leads_somewhere_decides() -> None:
    inner = {"matcher": when((is_("b", "1"), act("inner")))}
    config = {
        **when((is_("a", "1"), inner), (is_("a", "1"), act("second"))),
        "on_no_match": act("none"),
    }

    assert find(config) == "none"
    assert find(config, a="1") == "second"
    assert find(config, a="1", b="1") == "inner"


def test_predicates_combine() -> None:
    both = {"and_matcher": {"predicate": [is_("a", "1"), is_("b", "1")]}}
    either = {"or_matcher": {"predicate": [is_("a", "1"), is_("b", "1")]}}
    neither = {"not_matcher": either}
    config = when((both, act("both")), (either, act("either")), (neither, act("neither")))

    assert find(config, a="1", b="1") == "both"
    assert find(config, b="1") == "either"
    assert find(config) == "neither"


def test_a_prefix_map_falls_back_to_shorter_prefixes() -> None:
    nested = {"matcher": when((is_("b", "1"), act("inner")))}
    entries = {"/": act("root"), "/a": act("a"), "/ab": nested}
    config = {
        "matcher_tree": {"input": read("p"), "prefix_match_map": {"map": entries}},
        "on_no_match": act("none"),
    }

    assert find(config, p="/b") == "root"
    assert find(config, p="/abc") == "a"
    assert find(config, p="/abc", b="1") == "inner"
    assert find(config) == "none"


def test_an_exact_map_falls_back_to_on_no_match() -> None:
    nested = {"matcher": when((is_("b", "1"), act("inner")))}
    entries = {"/a": act("a"), "/ab": nested}
    config = {
        "matcher_tree": {"input": read("p"), "exact_match_map": {"map": entries}},
        "on_no_match": act("none"),
    }

    assert find(config, p="/a") == "a"
    assert find(config, p="/ab") == "none"


def test_addresses_match_by_range_and_by_longest_range() -> None:
    ten = {"address_prefix": "10.0.0.0", "prefix_len": 8}
    local = {"address_prefix": "10.1.0.0", "prefix_len": 16}
    ip = {"name": "ip", "typed_config": {"@type": IP, "stat_prefix": "s", "cidr_ranges": [ten]}}
    by_range = when(({"single_predicate": {"input": read("ip"), "custom_match": ip}}, act("ten")))
    rows = [
        {"ranges": [ten], "on_match": act("ten")},
        {"ranges": [local], "on_match": act("local")},
    ]
    trie = {"name": "t", "typed_config": {"@type": TRIE, "range_matchers": rows}}
    by_trie = {"matcher_tree": {"input": read("ip"), "custom_match": trie}}

    assert find(by_range, ip="10.2.0.1") == "ten"
    assert find(by_range, ip="11.0.0.1") is None
    assert find(by_trie, ip="10.1.0.1") == "local"
    assert find(by_trie, ip="10.2.0.1") == "ten"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            when((is_("a", "1"), {**act("x"), "keep_matching": True})),
            r"on_match\.keep_matching: refused",
        ),
        (when((is_("a", "1"), {})), "exactly one of matcher, action"),
        ({"matcher_list": {"matchers": []}}, "at least 1 item"),
        (when(({"or_matcher": {"predicate": [is_("a", "1")]}}, act("x"))), "at least 2 item"),
        (when(({}, act("x"))), "exactly one of single_predicate"),
    ],
)
def test_a_bad_matcher_is_refused_by_path(config: Mapping[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        PARSER.parse(Reader(config))


def test_an_unknown_input_is_refused_by_its_type() -> None:
    unknown = {"name": "i", "typed_config": {"@type": "test/other"}}
    config = when(
        ({"single_predicate": {"input": unknown, "value_match": {"exact": "1"}}}, act("x"))
    )

    with pytest.raises(UnknownExtensionError) as caught:
        PARSER.parse(Reader(config))
    assert caught.value.type_url == "test/other"
