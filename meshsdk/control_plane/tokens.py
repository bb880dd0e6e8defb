"""Service account tokens: who may call, as istiod reads them (FEED.md 1.2, 2.2, 7.1)."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from meshsdk.clock import Clock
from meshsdk.errors import ConfigError
from meshsdk.identity import jwt
from meshsdk.identity.jwks import Jwks, parse_jwks
from meshsdk.identity.jwt_status import JwtStatus
from meshsdk.identity.token_key import TokenKey

AUDIENCE: Final = "istio-ca"
OWN_ISSUER: Final = "https://meshsdk.local"
"""The issuer of the tokens that this control plane mints itself."""
_SUBJECT: Final = "system:serviceaccount"
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_BEARER: Final = "Bearer "


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Whose tokens count."""

    issuer: str
    keys: Jwks

    @classmethod
    def of(cls, issuer: str, jwks: bytes) -> "TokenIssuer":
        """ConfigError where the key set is none."""
        keys = parse_jwks(jwks)
        if isinstance(keys, str):
            raise ConfigError(issuer, f"expected a JSON Web Key Set: {keys}")
        return cls(issuer, keys)


def mint(key: TokenKey, namespace: str, service_account: str, clock: Clock, lifetime: float) -> str:
    """A token of ours for a workload. `lifetime` in seconds. ConfigError for names of another
    form."""
    if not _are_names(namespace, service_account):
        problem = f"expected names of Kubernetes, found {namespace!r} and {service_account!r}"
        raise ConfigError("token", problem)
    now = int(clock.time())
    return key.sign(
        {
            "iss": OWN_ISSUER,
            "sub": f"{_SUBJECT}:{namespace}:{service_account}",
            "aud": [AUDIENCE],
            "iat": now,
            "exp": now + math.ceil(lifetime),
        }
    )


def workload_of(
    authorization: str, issuers: Iterable[TokenIssuer], clock: Clock
) -> tuple[str, str] | None:
    """Namespace and service account that an `authorization` value proves; None: nothing.

    Without leeway, with `exp`, and with the audience in a list, as istiod wants it.
    """
    if not authorization.startswith(_BEARER):
        return None
    token = jwt.parse(authorization.removeprefix(_BEARER), "strict")
    if isinstance(token, jwt.Refused):
        return None
    audiences = token.payload.get("aud")
    if not isinstance(audiences, list) or AUDIENCE not in audiences or not token.expiry:
        return None
    if jwt.check_time(token, math.ceil(clock.time()), 0) is not JwtStatus.OK:
        return None
    if not any(_is_of(token, issuer) for issuer in issuers):
        return None
    match token.subject.split(":"):
        case ["system", "serviceaccount", namespace, account] if _are_names(namespace, account):
            return namespace, account
        case _:
            return None


def _are_names(namespace: str, service_account: str) -> bool:
    """Each one segment of a SPIFFE ID: a slash would name somebody else."""
    return all(_NAME.fullmatch(each) is not None for each in (namespace, service_account))


def _is_of(token: jwt.Token, issuer: TokenIssuer) -> bool:
    return token.issuer == issuer.issuer and jwt.verify(token, issuer.keys, "strict") is None
