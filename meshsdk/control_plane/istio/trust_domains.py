"""Trust domain aliases: an exact principal of one of our trust domains means all of them."""

from collections.abc import Sequence
from typing import Final

_KUBERNETES_DEFAULT: Final = "cluster.local"  # in a policy it always means our own


def with_aliases(principals: Sequence[str], trust_domains: Sequence[str]) -> tuple[str, ...]:
    """Principals of the form TD/ns/NS/sa/SA once per trust domain; others as they are.

    Source: istiod, trustdomain.ReplaceTrustDomainAliases.
    """
    found: list[str] = []
    for principal in principals:
        parts = principal.split("/")
        if len(parts) != 5 or not _is_ours(parts[0], trust_domains):
            found.append(principal)
            continue
        renamed = (
            principal if _has_suffix(domain, parts[0]) else "/".join((domain, *parts[1:]))
            for domain in trust_domains
        )
        found += dict.fromkeys(renamed)
    return tuple(found)


def _is_ours(pattern: str, trust_domains: Sequence[str]) -> bool:
    if pattern in (_KUBERNETES_DEFAULT, "*"):
        return True
    return any(
        domain == pattern or _has_suffix(domain, pattern) or _has_prefix(domain, pattern)
        for domain in trust_domains
    )


def _has_suffix(domain: str, pattern: str) -> bool:
    return pattern.startswith("*") and domain.endswith(pattern[1:])


def _has_prefix(domain: str, pattern: str) -> bool:
    return pattern.endswith("*") and domain.startswith(pattern[:-1])
