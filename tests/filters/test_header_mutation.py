"""Mutations of fields and query parameters; the answers are those of a real Envoy 1.40."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.headers import Headers
from meshsdk.call.message import LocalReply, Response
from meshsdk.errors import ConfigError
from meshsdk.filters.header_mutation import EXTENSION
from tests.filters.filter_case import Calls, Config, build, extensions, overridden

Pairs = tuple[tuple[str, str], ...]


def put(key: str, value: str, action: str = "APPEND_IF_EXISTS_OR_ADD", **more: object) -> Config:
    return {"append": {"header": {"key": key, "value": value}, "append_action": action, **more}}


def calls(**mutations: object) -> Calls:
    return Calls(build(EXTENSION, {"mutations": mutations}, extensions()))


def test_mutations_are_done_one_after_the_other() -> None:
    on = calls(
        request_mutations=[
            put("X-A", "1"),
            put("x-a", "2"),
            put("x-b", "%REQ(x-a)%"),
            {"remove": "x-a"},
            put("x-c", "%REQ(x-a)%", keep_empty_value=True),
            put("x-d", "%REQ(x-a)%"),
        ]
    )

    assert on.passed().headers.pairs == (("x-b", "1"), ("x-c", ""))


@pytest.mark.parametrize(
    ("action", "absent", "there"),
    [
        ("APPEND_IF_EXISTS_OR_ADD", ("n",), ("o", "n")),
        ("ADD_IF_ABSENT", ("n",), ("o",)),
        ("OVERWRITE_IF_EXISTS_OR_ADD", ("n",), ("n",)),
        ("OVERWRITE_IF_EXISTS", (), ("n",)),
    ],
)
def test_append_actions(action: str, absent: tuple[str, ...], there: tuple[str, ...]) -> None:
    on = calls(request_mutations=[put("x-a", "n", action)])

    assert on.passed().headers.values("x-a") == absent
    assert on.passed(headers=(("x-a", "o"),)).headers.values("x-a") == there


def test_a_field_of_one_line_is_joined() -> None:
    on = calls(request_mutations=[put("user-agent", "b"), put("cookie", "b")])

    passed = on.passed(headers=(("user-agent", "a"), ("cookie", "a")))

    assert passed.headers.values("user-agent") == ("a,b",)
    assert passed.headers.values("cookie") == ("a", "b")


def test_fields_are_removed_by_a_matcher_of_their_names() -> None:
    on = calls(request_mutations=[{"remove_on_match": {"key_matcher": {"prefix": "x-drop"}}}])

    assert on.passed(headers=(("x-drop-1", ""), ("x-keep", ""))).headers.pairs == (("x-keep", ""),)


@pytest.mark.parametrize(
    ("mutation", "lost"),
    [
        ({"remove": ":method"}, {"method"}),
        ({"remove": "host"}, {"authority"}),
        ({"remove_on_match": {"key_matcher": {"suffix": "h"}}}, {"path"}),
        ({"remove_on_match": {"key_matcher": {"prefix": ":"}}}, {"method", "path", "authority"}),
    ],
)
def test_pseudo_headers_can_be_removed(mutation: Config, lost: set[str]) -> None:
    passed = calls(request_mutations=[mutation]).passed()

    assert {n for n in ("method", "path", "authority") if not getattr(passed, n)} == lost


def test_the_answer_is_changed_with_both_messages_in_view() -> None:
    on = calls(response_mutations=[put("x-g", "%RESPONSE_CODE% %RESP(x-u)% %REQ(x-r)%")])

    answer = on.answered(Response(201, Headers((("x-u", "u"),))), (("x-r", "r"),))

    assert answer.headers.get("x-g") == "201 u r"


def test_an_answer_without_status_is_marked() -> None:
    on = calls(response_mutations=[{"remove": ":status"}])

    assert on.answered(Response(200)).status == 0


@pytest.mark.parametrize(("wins", "order"), [(False, "f r h c"), (True, "f c h r")])
def test_levels_come_after_the_filters_own(wins: bool, order: str) -> None:
    def level(value: str) -> Config:
        return {"mutations": {"request_mutations": [put("x-l", value)]}}

    base = build(EXTENSION, {**level("f"), "most_specific_header_mutations_wins": wins})
    on = Calls(overridden(EXTENSION, base, level("c"), level("h"), level("r")))

    assert on.passed().headers.values("x-l") == tuple(order.split())


QUERY = [
    {"append": {"record": {"key": "c", "value": "3"}}},
    {"append": {"record": {"key": "b", "value": "m"}, "action": "ADD_IF_ABSENT"}},
    {"append": {"record": {"key": "n", "value": "x"}, "action": "OVERWRITE_IF_EXISTS"}},
    {"remove": "a"},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/p", "/p?b=m&c=3"),
        ("/p?", "/p?b=m&c=3"),
        ("/p?a=1&b=2&a", "/p?b=2&c=3"),
        ("/p?n=1&n=2&B=1", "/p?B=1&b=m&c=3&n=x"),
        ("/p?b&&=e", "/p?=&=e&b=&c=3"),
        ("/p?k=%41%zz&%6B=2", "/p?b=m&c=3&k=A%zz&k=2"),
        ("/p?x=a?b=c", "/p?b=m&c=3&x=a?b=c"),
    ],
)
def test_query_parameters_come_out_decoded_and_sorted(path: str, expected: str) -> None:
    assert calls(query_parameter_mutations=QUERY).passed(path=path).path == expected


def test_no_value_tears_the_request_line_apart() -> None:
    injected = [{"append": {"record": {"key": "v", "value": "%REQ(x-v)%"}}}]
    header = (("x-v", "1 HTTP/1.1&a=2"),)

    by_envoy = calls(query_parameter_mutations=injected).passed(path="/?b=%20", headers=header)
    config: Config = {"mutations": {"query_parameter_mutations": injected}}
    strict = Calls(build(EXTENSION, config, extensions("strict")))

    assert by_envoy.path == "/?b=%20&v=1%20HTTP/1.1&a=2"
    assert strict.passed(path="/?b=%26", headers=header).path == "/?b=%26&v=1%20HTTP/1.1%26a%3D2"


REFUSED: list[Config] = [
    {"request_mutations": [put(":method", "PUT")]},
    {"request_mutations": [put("host", "x")]},
    {"request_mutations": [put("a b", "x")]},
    {"request_mutations": [{}]},
    {"response_mutations": [put(":status", "201")]},
    {"query_parameter_mutations": [{}]},
    {"query_parameter_mutations": [{"append": {"record": {"key": "a", "value": 1}}}]},
    {"query_parameter_mutations": [{"append": {}}]},
]


@pytest.mark.parametrize("mutations", REFUSED)
def test_what_cannot_be_is_refused(mutations: Config) -> None:
    with pytest.raises(ConfigError):
        calls(**mutations)


def test_mutations_of_trailers_fail_their_calls_by_name() -> None:
    found = calls(response_trailers_mutations=[put("a", "b")]).verdict()

    assert isinstance(found, LocalReply)
    assert found.details == "meshsdk_not_built{f.mutations.response_trailers_mutations}"


def test_a_request_that_is_not_changed_goes_on_as_it_is() -> None:
    on = calls()

    assert isinstance(on.verdict(), Continue)
