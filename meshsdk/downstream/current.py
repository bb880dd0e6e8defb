"""Who calls, for the code that answers."""

from contextvars import ContextVar, Token

from meshsdk.call.connection import NOBODY, Peer

_PEER: ContextVar[Peer] = ContextVar("meshsdk_peer", default=NOBODY)


def current_peer() -> Peer:
    """The verified peer of the request that is being answered.

    Nobody, a peer without an ID, on plaintext and outside of requests.
    """
    return _PEER.get()


def set_current_peer(peer: Peer) -> Token[Peer]:
    """For adapters, before the application runs."""
    return _PEER.set(peer)


def reset_current_peer(token: Token[Peer]) -> None:
    """For adapters, in the same context as `set_current_peer`."""
    _PEER.reset(token)
