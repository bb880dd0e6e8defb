"""`@require`: what policy cannot know, asked in the application's own code."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import wraps
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Final, ParamSpec, TypeAlias, TypeVar, cast

from meshsdk.call.connection import Peer
from meshsdk.call.headers import Headers
from meshsdk.call.jwt import Jwt
from meshsdk.call.message import Response
from meshsdk.downstream.current import current_jwt, current_peer, forbid
from meshsdk.errors import ForbiddenError, UsageError

P = ParamSpec("P")
R = TypeVar("R")
ClaimValue: TypeAlias = str | int | bool
Claims: TypeAlias = Mapping[str | tuple[str, ...], ClaimValue | Collection[ClaimValue]]

FORBIDDEN_BODY: Final = b"RBAC: access denied"
FORBIDDEN: Final = Response(
    403,
    Headers([("content-length", str(len(FORBIDDEN_BODY))), ("content-type", "text/plain")]),
    FORBIDDEN_BODY,
)
"""What the caller of a guarded function gets: no more than a policy would tell."""
_SCHEME: Final = "spiffe://"


def require(
    *,
    principal: str | Collection[str] | None = None,
    namespace: str | Collection[str] | None = None,
    claims: Claims | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function run only for these callers; anybody else gets 403, whatever the framework.

    `principal`: SPIFFE IDs, with or without `spiffe://`, of which the verified peer must have one;
    a `*` at the end or the beginning stands for anything, alone for any verified peer. `namespace`:
    of an ID in Istio's form. `claims`: name, or names that lead to a nested claim, to the value, or
    to values of which one is wanted; a claim that is a list must have it among its items.

    Everything that is given must hold. The function raises ForbiddenError; MeshMiddleware makes 403
    of it, also where the framework would have answered 5xx. Outside of a request nothing holds.
    """
    principals, namespaces = _texts(principal, "principal"), _texts(namespace, "namespace")
    if principals is None and namespaces is None and not claims:
        raise UsageError("require() without principal, namespace or claims would let anybody in")
    wanted = [(_names(name), _values(value)) for name, value in (claims or {}).items()]

    def check() -> None:
        peer = current_peer()
        if principals is not None and not _is_one_of(peer, principals):
            raise _refused("the peer is not one of the required principals")
        if namespaces is not None and peer.namespace not in namespaces:
            raise _refused("the peer is in none of the required namespaces")
        if wanted:
            token = current_jwt()
            for names, values in wanted:
                if token is None or not _has(token, names, values):
                    raise _refused(f"the claim {'.'.join(names)} is missing or another")

    def guard(function: Callable[P, R]) -> Callable[P, R]:
        if iscoroutinefunction(function):

            @wraps(function)
            async def checked_async(*args: P.args, **kwargs: P.kwargs) -> object:
                check()
                return await function(*args, **kwargs)

            return cast("Callable[P, R]", checked_async)
        if isasyncgenfunction(function):
            return cast("Callable[P, R]", _checked_stream(check, function))

        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            check()
            return function(*args, **kwargs)

        return checked

    return guard


def _checked_stream(
    check: Callable[[], None], function: Callable[P, AsyncGenerator[object, object]]
) -> Callable[P, AsyncGenerator[object, object]]:
    """An async generator stays one: servers and frameworks ask for the kind of a handler. What its
    caller sends or throws in reaches it."""

    @wraps(function)
    async def checked(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[object, object]:
        check()
        async with aclosing(function(*args, **kwargs)) as stream:
            step = stream.asend(None)
            while True:
                try:
                    item = await step
                except StopAsyncIteration:
                    return
                try:
                    step = stream.asend((yield item))
                except Exception as error:
                    step = stream.athrow(error)

    return checked


def _refused(why: str) -> ForbiddenError:
    forbid()
    return ForbiddenError(why)


def _texts(found: str | Collection[str] | None, what: str) -> tuple[str, ...] | None:
    if found is None:
        return None
    texts = (found,) if isinstance(found, str) else tuple(found)
    if not texts or not all(texts):
        raise UsageError(f"require(): expected a {what}, found an empty one")
    return texts


def _names(name: str | tuple[str, ...]) -> tuple[str, ...]:
    return (name,) if isinstance(name, str) else name


def _values(value: ClaimValue | Collection[ClaimValue]) -> tuple[ClaimValue, ...]:
    if isinstance(value, str | bool | int):
        return (value,)
    if not value:
        raise UsageError("require(): expected values of a claim, found none")
    return tuple(value)


def _is_one_of(peer: Peer, principals: tuple[str, ...]) -> bool:
    if peer.spiffe_id is None:
        return False
    found = str(peer.spiffe_id)
    return any(_matches(found, principal) for principal in principals)


def _matches(found: str, principal: str) -> bool:
    """Istio's patterns: exact, prefix with `*` at the end, suffix with `*` at the beginning."""
    if principal == "*":
        return True
    if principal.startswith("*"):
        return found.endswith(principal[1:])
    whole = principal if principal.startswith(_SCHEME) else _SCHEME + principal
    return found.startswith(whole[:-1]) if whole.endswith("*") else found == whole


def _has(token: Jwt, names: tuple[str, ...], values: tuple[ClaimValue, ...]) -> bool:
    """Types count: `true` is not 1, and not "true"."""
    return any(
        type(found) is type(value) and found == value
        for found in token.values(*names)
        for value in values
    )
