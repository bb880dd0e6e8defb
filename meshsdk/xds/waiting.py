"""Who names which resource, since when, and until when it may be waited for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from meshsdk.resources.resource_type import Reference
from meshsdk.xds.ads import Key
from meshsdk.xds.store import Accepted


@dataclass(slots=True, eq=False)
class Candidate:
    """A version that is not in force yet: something that it names is not settled."""

    accepted: Accepted
    since: float
    """Monotonic seconds."""


class References:
    """Counts of what the versions in force, and the candidates, name."""

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self._since: dict[Key, float] = {}
        self._names: dict[str, set[str]] = {}
        self._frozen: dict[str, frozenset[str]] = {}

    def hold(self, references: Iterable[Reference], now: float) -> None:
        """Somebody names these."""
        for reference in references:
            key = Key(reference.type_url, reference.name)
            count = self._counts.get(key, 0)
            self._counts[key] = count + 1
            if not count:
                self._since[key] = now
                self._names.setdefault(key.type_url, set()).add(key.name)
                self._frozen.pop(key.type_url, None)

    def release(self, references: Iterable[Reference]) -> Iterator[Key]:
        """Somebody names these no more. Gives those that nobody names now; to be exhausted."""
        for reference in references:
            key = Key(reference.type_url, reference.name)
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key], self._since[key]
                self._names[key.type_url].discard(key.name)
                self._frozen.pop(key.type_url, None)
                yield key

    def since(self, key: Key) -> float | None:
        """Since when somebody names it; None when nobody does."""
        return self._since.get(key)

    def names(self, type_url: str) -> frozenset[str]:
        """All names of a type that somebody names."""
        found = self._frozen.get(type_url)
        if found is None:
            found = self._frozen[type_url] = frozenset(self._names.get(type_url, ()))
        return found

    def __contains__(self, key: Key) -> bool:
        return key in self._counts
