"""A verified JSON Web Token, for the code that answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast


@dataclass(frozen=True, slots=True)
class Jwt:
    """What `jwt_authn` found good: signature, times, issuer and audience."""

    claims: Mapping[str, object] = field(repr=False)
    """The payload as it was signed. Shared by requests: nobody may write to it."""

    @property
    def issuer(self) -> str:
        """`iss`; empty where there is none."""
        return self._text("iss")

    @property
    def subject(self) -> str:
        """`sub`; empty where there is none."""
        return self._text("sub")

    @property
    def audiences(self) -> tuple[str, ...]:
        """`aud`, a string or a list of them."""
        return tuple(value for value in self.values("aud") if isinstance(value, str))

    @property
    def principal(self) -> str:
        """Istio's `request.auth.principal`: issuer, a slash, subject; empty without both."""
        return f"{self.issuer}/{self.subject}" if self.issuer and self.subject else ""

    def claim(self, *names: str) -> object:
        """A claim by the names that lead to it; None where they do not."""
        found: object = self.claims
        for name in names:
            found = _member(found, name)
        return found

    def values(self, *names: str) -> tuple[object, ...]:
        """The items of a claim that is a list, or the claim alone; `scope` and `permission` are words
        with blanks between them, as istiod reads them."""
        found = self.claim(*names)
        if isinstance(found, str) and names in (("scope",), ("permission",)):
            return tuple(found.split())
        if isinstance(found, list | tuple):
            return tuple(cast("Sequence[object]", found))
        return () if found is None else (found,)

    def _text(self, name: str) -> str:
        found = self.claims.get(name)
        return found if isinstance(found, str) else ""


def _member(value: object, name: str) -> object:
    if not isinstance(value, Mapping):
        return None
    return cast("Mapping[str, object]", value).get(name)
