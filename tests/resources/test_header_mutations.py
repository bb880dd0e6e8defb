"""Header mutations: append actions, order, empty values."""

import pytest

from meshsdk.call.headers import Headers
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.header_mutations import HeaderMutations, append, parse_header_mutations
from meshsdk.resources.substitution_format import Format

Pairs = list[tuple[str, str]]


def _mutations(add: list[dict[str, object]], remove: list[str] | None = None) -> HeaderMutations:
    config = {"request_headers_to_add": add, "request_headers_to_remove": remove or []}
    return parse_header_mutations(Reader(config), "request")


def _option(action: str, value: str = "new", **more: object) -> dict[str, object]:
    return {"header": {"key": "X-A", "value": value}, "append_action": action, **more}


def _plain(text: Format, _: Headers) -> str:
    return text.constant or ""


# HeaderAppendAction: before, after.
ACTIONS: list[tuple[str, Pairs, Pairs]] = [
    ("APPEND_IF_EXISTS_OR_ADD", [], [("x-a", "new")]),
    ("APPEND_IF_EXISTS_OR_ADD", [("x-a", "1")], [("x-a", "1"), ("x-a", "new")]),
    ("ADD_IF_ABSENT", [], [("x-a", "new")]),
    ("ADD_IF_ABSENT", [("x-a", "1")], [("x-a", "1")]),
    ("OVERWRITE_IF_EXISTS_OR_ADD", [], [("x-a", "new")]),
    ("OVERWRITE_IF_EXISTS_OR_ADD", [("x-a", "1"), ("x-a", "2")], [("x-a", "new")]),
    ("OVERWRITE_IF_EXISTS", [], []),
    ("OVERWRITE_IF_EXISTS", [("x-a", "1")], [("x-a", "new")]),
]


@pytest.mark.parametrize(("action", "before", "after"), ACTIONS)
def test_each_append_action_does_what_its_name_says(
    action: str, before: Pairs, after: Pairs
) -> None:
    changed = _mutations([_option(action)]).apply(Headers(before), _plain)

    assert list(changed) == after


def test_names_to_remove_go_before_anything_is_added() -> None:
    mutations = _mutations([_option("ADD_IF_ABSENT")], ["X-A"])

    assert list(mutations.apply(Headers([("x-a", "1")]), _plain)) == [("x-a", "new")]


def test_an_empty_value_is_added_only_where_it_is_kept() -> None:
    dropped = _mutations([_option("APPEND_IF_EXISTS_OR_ADD", "")])
    kept = _mutations([_option("APPEND_IF_EXISTS_OR_ADD", "", keep_empty_value=True)])

    assert list(dropped.apply(Headers(), _plain)) == []
    assert list(kept.apply(Headers(), _plain)) == [("x-a", "")]


def test_the_deprecated_append_false_overwrites() -> None:
    mutations = _mutations([{"header": {"key": "x-a", "value": "new"}, "append": False}])

    assert list(mutations.apply(Headers([("x-a", "1")]), _plain)) == [("x-a", "new")]


def test_a_field_of_which_envoy_keeps_one_line_is_joined() -> None:
    sent = Headers([("user-agent", "a")])

    assert list(append(sent, "user-agent", "b")) == [("user-agent", "a,b")]


def test_a_value_that_is_given_twice_is_refused() -> None:
    header = {"key": "x", "value": "a", "raw_value": "Yg=="}

    with pytest.raises(ConfigError, match="exclude each other"):
        _mutations([{"header": header}])
