"""The hash of a call."""

from meshsdk.call.message import Response
from meshsdk.matching.xxh64 import xxh64
from meshsdk.routing.action import Chosen
from tests.routing.calls import Json, choose, context, request, route, table


def _chosen(*policies: Json) -> Chosen:
    return choose(table(route({"prefix": "/"}, "x", hash_policy=policies)), request())


BY_USER: Json = {"header": {"header_name": "X-User"}}
BY_QUERY: Json = {"query_parameter": {"name": "q"}}


def test_a_header_is_hashed_by_all_its_values_whatever_their_order() -> None:
    chosen = _chosen(BY_USER)

    one = chosen.hash(request(headers=[("x-user", "a"), ("x-user", "b")]), context())
    other = chosen.hash(request(headers=[("x-user", "b"), ("x-user", "a")]), context())

    assert one == other == xxh64(b"b", xxh64(b"a"))


def test_nothing_to_hash_is_no_hash() -> None:
    assert _chosen(BY_USER, BY_QUERY).hash(request("/"), context()) is None


def test_policies_are_combined_until_a_terminal_one_found_something() -> None:
    asked = request("/?q=1", [("x-user", "a")])
    user, query = xxh64(b"a"), xxh64(b"1")
    rotated = (user << 1 | user >> 63) & (2**64 - 1)

    assert _chosen(BY_USER, BY_QUERY).hash(asked, context()) == rotated ^ query
    assert _chosen({**BY_USER, "terminal": True}, BY_QUERY).hash(asked, context()) == user


def test_the_source_address_is_the_judged_one() -> None:
    chosen = _chosen({"connection_properties": {"source_ip": True}})

    assert chosen.hash(request(), context(source="10.0.0.9")) == xxh64(b"10.0.0.9")


def test_a_missing_cookie_with_a_lifetime_is_made_up_and_sent() -> None:
    chosen = _chosen({"cookie": {"name": "v", "ttl": "60s", "path": "/p"}})
    call, asked = context(), request()
    chosen.finalize(asked, call)

    hashed = chosen.hash(asked, call)
    answer = chosen.on_response(Response(200), call)

    line = answer.headers.get("set-cookie")
    assert line is not None
    value = line.split('"')[1]
    assert line == f'v="{value}"; Max-Age=60; Path=/p; HttpOnly'
    assert hashed == xxh64(value.encode())


def test_a_cookie_that_the_caller_has_is_not_sent_again() -> None:
    chosen = _chosen({"cookie": {"name": "v", "ttl": "60s"}})
    call, asked = context(), request(headers=[("cookie", "v=1")])
    chosen.finalize(asked, call)

    assert chosen.hash(asked, call) == xxh64(b"1")
    assert "set-cookie" not in chosen.on_response(Response(200), call).headers
