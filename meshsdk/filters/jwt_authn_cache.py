"""Tokens that were found good lately, so that the next request needs no signature check."""

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256

from meshsdk.call.headers import Pair
from meshsdk.filters.jwt_authn_provider import Provider
from meshsdk.identity.jwks import Jwks
from meshsdk.identity.jwt import Token
from meshsdk.identity.jwt_json import Json


@dataclass(frozen=True, slots=True, eq=False)
class Verified:
    """A good token, and what of it is handed on. Shared by requests: nobody writes to it."""

    token: Token
    provider: Provider
    jwks: Jwks
    """The set whose key signed it: another set in force, another verdict."""
    added: tuple[Pair, ...] = field(repr=False)
    """Header fields."""
    bad_header: str
    """One of them that would hold control characters; empty: none would."""
    has_claims: bool
    """Whether a claim is among them."""
    published: tuple[tuple[str, Json], ...] = field(repr=False)
    """Dynamic metadata."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenCache:
    """Of one requirement: its verdict holds for no other. The oldest entry makes room."""

    size: int
    max_token: int
    """Longer tokens are not kept."""
    entries: "OrderedDict[bytes, Verified]" = field(default_factory=OrderedDict[bytes, Verified])

    def find(self, token: str) -> Verified | None:
        """What is known of a token; the caller checks time and keys."""
        if not self.entries:
            return None
        return self.entries.get(sha256(token.encode("latin-1")).digest())

    def keep(self, token: str, verified: Verified) -> None:
        """Remember a good token."""
        if len(token) > self.max_token:
            return
        self.entries[sha256(token.encode("latin-1")).digest()] = verified
        if len(self.entries) > self.size:
            self.entries.popitem(last=False)

    def drop(self, token: str) -> None:
        """Forget one."""
        self.entries.pop(sha256(token.encode("latin-1")).digest(), None)
