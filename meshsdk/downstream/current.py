"""Who calls, for the code that answers."""

from contextvars import ContextVar, Token

from meshsdk.call.connection import NOBODY, Peer
from meshsdk.call.context import CallContext
from meshsdk.call.jwt import Jwt


class Current:
    """The request that is being answered."""

    __slots__ = ("context", "is_forbidden", "peer")

    def __init__(self, peer: Peer, context: CallContext | None = None) -> None:
        self.peer = peer
        self.context = context
        self.is_forbidden = False
        """A guard in the application's code said no. Threads and tasks of the request share this."""


_NONE = Current(NOBODY)
_CURRENT: ContextVar[Current] = ContextVar("meshsdk_current", default=_NONE)


def current_peer() -> Peer:
    """The verified peer of the request that is being answered.

    Nobody, a peer without an ID, on plaintext and outside of requests.
    """
    return _CURRENT.get().peer


def current_jwt() -> Jwt | None:
    """The token that `jwt_authn` found good for the request that is being answered; of several the
    first. None: there was none, or nothing asks for one."""
    context = _CURRENT.get().context
    return Jwt(context.claims[0]) if context is not None and context.claims else None


def forbid() -> None:
    """The request that is being answered must end with 403, whatever the framework makes of it."""
    current = _CURRENT.get()
    if current is not _NONE:
        current.is_forbidden = True


def set_current(current: Current) -> Token[Current]:
    """For adapters, before the application runs."""
    return _CURRENT.set(current)


def reset_current(token: Token[Current]) -> None:
    """For adapters, in the same context as `set_current`."""
    _CURRENT.reset(token)


def is_forbidden() -> bool:
    """Whether a guard said no."""
    return _CURRENT.get().is_forbidden
