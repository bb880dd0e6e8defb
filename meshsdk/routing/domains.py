"""Finding the virtual host of an authority without looking at every domain.

Source: Envoy, RouteMatcher::findVirtualHost: exact, longest suffix wildcard, longest prefix
wildcard, `*`.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from meshsdk.matching.octets import lower

T = TypeVar("T")


class Domains(Generic[T]):
    """Values by domain; a wildcard stands for at least one octet."""

    __slots__ = ("_any", "_exact", "_prefixes", "_suffixes")

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._exact: dict[str, T] = {}
        self._any: T | None = None
        suffixes: dict[int, dict[str, T]] = {}
        prefixes: dict[int, dict[str, T]] = {}
        for domain, value in entries:
            if domain == "*":
                self._any = value
            elif domain.startswith("*"):
                suffixes.setdefault(len(domain) - 1, {})[domain[1:]] = value
            elif domain.endswith("*"):
                prefixes.setdefault(len(domain) - 1, {})[domain[:-1]] = value
            else:
                self._exact[domain] = value
        self._suffixes = sorted(suffixes.items(), reverse=True)
        self._prefixes = sorted(prefixes.items(), reverse=True)

    def find(self, authority: str) -> T | None:
        """The value for an authority in any case; None when no domain takes it."""
        found = self._exact.get(authority)
        if found is not None:
            return found
        host = lower(authority)
        found = self._exact.get(host)
        if found is not None:
            return found
        if self._suffixes:
            found = _longest(self._suffixes, host, lambda n: host[-n:])
        if found is None and self._prefixes:
            found = _longest(self._prefixes, host, lambda n: host[:n])
        return self._any if found is None else found


def _longest(
    by_length: list[tuple[int, dict[str, T]]], host: str, part: Callable[[int], str]
) -> T | None:
    for length, entries in by_length:
        if length < len(host):
            found = entries.get(part(length))
            if found is not None:
                return found
    return None


def without_port(authority: str) -> str:
    """An authority up to its port (Envoy, HeaderUtility::getPortStart)."""
    at = authority.rfind(":")
    return authority if at < 0 or authority.rfind("]") > at else authority[:at]
