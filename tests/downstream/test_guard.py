"""`@require`, `current_jwt`: guards in handlers."""

import asyncio
from collections.abc import AsyncGenerator
from inspect import isasyncgenfunction

import pytest

from meshsdk import ForbiddenError, Jwt, UsageError, current_jwt, current_peer, require
from meshsdk.call.connection import Peer
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.downstream.current import Current, is_forbidden, reset_current, set_current
from tests.filters.policy_case import Given

ID = "spiffe://td/ns/shop/sa/order"
CLAIMS: dict[str, object] = {
    "iss": "i",
    "sub": "s",
    "aud": ["a", "b"],
    "scope": "read write",
    "roles": ["admin", 1],
    "realm": {"tier": "gold"},
    "is_staff": True,
    "a.b": "dotted",
}


def allowed(uri: str | None = ID, **wanted: object) -> bool:
    context = Given().context()
    peer = Peer(None if uri is None else SpiffeId.parse(uri))
    token = set_current(Current(peer, context))
    try:
        guarded = require(**wanted)(lambda: True)  # type: ignore[arg-type]  # a table of arguments
        found = guarded()
        assert not is_forbidden()
        return found
    except ForbiddenError:
        assert is_forbidden()
        return False
    finally:
        reset_current(token)


@pytest.mark.parametrize(
    ("principal", "passes"),
    [
        (ID, True),
        ("td/ns/shop/sa/order", True),
        ("td/ns/shop/*", True),
        ("*/sa/order", True),
        ("*", True),
        (["x/y", ID], True),
        ("td/ns/shop/sa/orders", False),
        ("td/ns/shop/sa/orde", False),
        ("shop/sa/order", False),
        ("TD/ns/shop/sa/order", False),
    ],
)
def test_a_principal_is_matched_as_istio_matches_it(principal: object, passes: bool) -> None:
    assert allowed(principal=principal) is passes


def test_without_a_verified_peer_no_principal_holds() -> None:
    assert not allowed(None, principal="*")
    assert not allowed(None, namespace="shop")


def test_a_namespace_is_that_of_the_id() -> None:
    assert allowed(namespace="shop")
    assert not allowed(namespace="other")
    assert not allowed("spiffe://td/workload", namespace="shop")


@pytest.mark.parametrize(
    ("name", "value", "passes"),
    [
        ("sub", "s", True),
        ("sub", ["x", "s"], True),
        ("aud", "b", True),
        ("roles", "admin", True),
        ("scope", "write", True),
        ("scope", "read write", False),
        (("realm", "tier"), "gold", True),
        ("realm.tier", "gold", False),
        ("a.b", "dotted", True),
        ("is_staff", True, True),
        ("is_staff", "true", False),
        ("is_staff", 1, False),
        ("roles", True, False),
        ("sub", "S", False),
        ("missing", "", False),
    ],
)
def test_a_claim_is_compared_by_type_and_value(name: object, value: object, passes: bool) -> None:
    assert _claims({name: value}) is passes


def _claims(wanted: object) -> bool:
    context = Given().context()
    context.claims = (CLAIMS,)
    token = set_current(Current(Peer(), context))
    try:
        return require(claims=wanted)(lambda: True)()  # type: ignore[arg-type]  # a table
    except ForbiddenError:
        return False
    finally:
        reset_current(token)


def test_everything_that_is_given_must_hold() -> None:
    assert not allowed(principal=ID, namespace="other")


def test_outside_of_a_request_nothing_holds_and_nobody_else_is_forbidden() -> None:
    guarded = require(principal="*")(lambda: True)

    with pytest.raises(ForbiddenError):
        guarded()

    assert not is_forbidden()
    assert current_jwt() is None
    assert current_peer().spiffe_id is None


def test_without_a_token_no_claim_holds() -> None:
    context = Given().context()
    context.claims = ()
    token = set_current(Current(Peer(SpiffeId.parse(ID)), context))
    try:
        with pytest.raises(ForbiddenError):
            require(claims={"sub": "s"})(lambda: True)()
    finally:
        reset_current(token)


def test_coroutines_are_guarded_before_they_run() -> None:
    ran: list[bool] = []

    @require(principal="*")
    async def handler() -> None:
        ran.append(True)

    with pytest.raises(ForbiddenError):
        asyncio.run(handler())

    assert ran == []
    assert handler.__name__ == "handler"


def test_async_generators_are_guarded_and_stay_what_they_are() -> None:
    heard: list[object] = []

    @require(principal=ID)
    async def items() -> AsyncGenerator[object, object]:
        try:
            heard.append((yield 1))
            yield 2
        except ValueError:
            heard.append("thrown")
            yield 3
        finally:
            heard.append("closed")

    async def work() -> list[object]:
        refused = items()
        with pytest.raises(ForbiddenError):
            await anext(refused)
        set_current(Current(Peer(SpiffeId.parse(ID)), Given().context()))
        stream = items()
        found = [await anext(stream), await stream.asend("a"), await stream.athrow(ValueError())]
        await stream.aclose()
        assert heard[-1] == "closed"
        return found

    assert isasyncgenfunction(items)
    assert asyncio.run(work()) == [1, 2, 3]
    assert heard == ["a", "thrown", "closed"]


@pytest.mark.parametrize(
    "arguments", [{}, {"principal": ""}, {"principal": []}, {"claims": {}}, {"claims": {"a": []}}]
)
def test_a_guard_that_lets_anybody_or_nobody_in_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        require(**arguments)  # type: ignore[arg-type]  # a table of arguments


def test_a_token_has_typed_claims() -> None:
    token = Jwt(CLAIMS)

    assert (token.issuer, token.subject, token.principal) == ("i", "s", "i/s")
    assert token.audiences == ("a", "b")
    assert token.claim("realm", "tier") == "gold"
    assert token.claim("sub", "x") is None
    assert "dotted" not in repr(token)
