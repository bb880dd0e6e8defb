"""Headers against a plain list of pairs, whatever was looked up before."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshsdk.call.headers import Headers, Pair

NAMES = ("a", "b", "cookie", "x-id")

pairs = st.lists(st.tuples(st.sampled_from(NAMES), st.text("xyä\xff", max_size=3)), max_size=6)
names = st.sampled_from((*NAMES, "absent"))


def _fresh(listed: list[Pair]) -> Headers:
    return Headers(listed)


def _looked_up(listed: list[Pair]) -> Headers:
    headers = Headers(listed)
    headers.get("a")
    return headers


def _from_octets(listed: list[Pair]) -> Headers:
    return Headers.from_raw(
        [(name.upper().encode(), value.encode("latin-1")) for name, value in listed]
    )


ways = st.sampled_from((_fresh, _looked_up, _from_octets))


def _agrees(headers: Headers, model: list[Pair]) -> None:
    assert list(headers) == model
    assert len(headers) == len(model)
    assert list(headers.names()) == list(dict.fromkeys(name for name, _ in model))
    for name in (*NAMES, "absent", "new"):
        values = tuple(value for other, value in model if other == name)
        assert headers.values(name) == values
        assert headers.get(name) == (values[0] if values else None)
        assert (name in headers) is bool(values)
        assert headers.has_any(frozenset((name, "other"))) is bool(values)
    assert [(n.decode("latin-1").lower(), v.decode("latin-1")) for n, v in headers.raw()] == model


@given(pairs, ways)
def test_reading(listed: list[Pair], make: Callable[[list[Pair]], Headers]) -> None:
    _agrees(make(listed), listed)
    assert make(listed).has_any(frozenset(NAMES)) is bool(listed)


@given(pairs, ways, st.lists(names, max_size=4))
def test_without(
    listed: list[Pair], make: Callable[[list[Pair]], Headers], gone: list[str]
) -> None:
    before = make(listed)
    _agrees(before.without(*gone), [pair for pair in listed if pair[0] not in gone])
    _agrees(before, listed)


@given(pairs, ways, names)
def test_set_and_add(listed: list[Pair], make: Callable[[list[Pair]], Headers], name: str) -> None:
    before = make(listed)
    _agrees(before.add(name, "v"), [*listed, (name, "v")])
    _agrees(before.set(name, "v"), [*(p for p in listed if p[0] != name), (name, "v")])
    _agrees(before.plus([(name, "1"), (name, "2")]), [*listed, (name, "1"), (name, "2")])
    _agrees(before.exchanged("", [("new", "v")]), [*listed, ("new", "v")])
    if len(before.values(name)) == 1:
        kept = [p for p in listed if p[0] != name]
        _agrees(before.exchanged(name, [("new", "v")]), [*kept, ("new", "v")])
    _agrees(before, listed)


@given(pairs, pairs)
def test_equality_is_of_fields_in_order(one: list[Pair], other: list[Pair]) -> None:
    assert (_from_octets(one) == _looked_up(other)) is (one == other)
    assert hash(_from_octets(one)) == hash(_looked_up(one))


def test_names_of_any_case_are_lowered() -> None:
    assert Headers.of([("X-Id", "A")]).get("x-id") == "A"


def test_a_repr_tells_no_value() -> None:
    assert repr(Headers([("authorization", "secret")])) == "Headers(authorization)"


@pytest.mark.parametrize("other", [None, [("a", "b")], "a"])
def test_headers_equal_only_headers(other: object) -> None:
    assert Headers([("a", "b")]) != other
