"""The key sets of RequestAuthentications, fetched as istiod fetches them. Blocks."""

import json
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Final

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.request_authentication import (
    JwtRule,
    RequestAuthentication,
    key_set_problem,
)
from meshsdk.identity.unusable_jwks import make_unusable_jwks

_MAX_OCTETS: Final = 1 << 20
_THREADS: Final = 8


def key_sets(
    policies: Iterable[RequestAuthentication],
    given: Mapping[str, str],
    *,
    is_remote: bool = False,
) -> KeySets:
    """Every key set that policies ask for, each fetched once.

    `given`: URI to the key set itself, in place of a fetch. `is_remote`: proxies fetch. A key set
    that cannot be had is one that nobody can sign for.
    """
    rules = {
        (rule.jwks_uri, rule.issuer): rule
        for policy in policies
        for rule in policy.rules
        if not rule.jwks and not (is_remote and rule.jwks_uri)
    }
    wanted = [rule for rule in rules.values() if rule.jwks_uri not in given]
    found: dict[tuple[str, str], str | None] = {}
    if wanted:
        with ThreadPoolExecutor(_THREADS) as threads:
            for rule, text in zip(wanted, threads.map(fetch, wanted), strict=True):
                found[rule.jwks_uri, rule.issuer] = text

    def fetched(rule: JwtRule) -> str | None:
        if rule.jwks_uri in given:
            return given[rule.jwks_uri]
        return found.get((rule.jwks_uri, rule.issuer))

    return KeySets(fetched, make_unusable_jwks(), is_remote)


def fetch(rule: JwtRule) -> str | None:
    """The text of a rule's key set, None where it cannot be had. Blocks."""
    try:
        uri = rule.jwks_uri
        if not uri:
            said = json.loads(_get(rule.discovery_uri, rule.timeout))
            uri = str(said["jwks_uri"])
        text = _get(uri, rule.timeout)
    except (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError):
        return None
    return text if key_set_problem(text) is None else None


def _get(uri: str, timeout: float) -> str:
    if not uri.startswith(("http://", "https://")):
        raise ValueError(uri)
    with urllib.request.urlopen(uri, timeout=timeout) as response:  # noqa: S310 - checked above
        octets: bytes = response.read(_MAX_OCTETS)
    return octets.decode()
