"""Header fields of one message: ordered, lower-case names, octets seen as latin-1 text."""

from collections.abc import Iterable, Iterator, KeysView, Sequence
from typing import TypeAlias

Pair: TypeAlias = tuple[str, str]
RawPair: TypeAlias = tuple[bytes, bytes]

_NO_REPEATS: dict[str, tuple[str, ...]] = {}
_NAMES: dict[bytes, str] = {}
"""Names as they were decoded before: the same few come with every message."""
_REMEMBERED = 512
_LONG = 64


def _name(octets: bytes) -> str:
    """A field's name in lower case; remembered, unless somebody invents names."""
    name = octets.lower().decode("latin-1")
    if len(_NAMES) < _REMEMBERED and len(octets) < _LONG:
        _NAMES[octets] = name
    return name


class Headers:
    """An immutable list of fields; repeats keep their order. Every change gives a new value.

    Fields that came from a server or client library stay octets until somebody reads them, so a
    call whose filters never look costs no decoding.
    """

    __slots__ = ("_index", "_pairs", "_raw", "_repeats")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        """`pairs` must already have lower-case names; `Headers.of` lowers them."""
        self._pairs: tuple[Pair, ...] | None = tuple(pairs)
        self._raw: Sequence[RawPair] | None = None
        self._index: dict[str, str] | None = None
        """First values by name, made at the first look."""
        self._repeats: dict[str, tuple[str, ...]] = _NO_REPEATS
        """Every value of the names that occur more than once, once the index is made."""

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "Headers":
        """Headers with names in any case."""
        return cls((name.lower(), value) for name, value in pairs)

    @classmethod
    def from_raw(cls, raw: Sequence[RawPair]) -> "Headers":
        """Headers from octets, as ASGI and HTTP parsers give them; `raw` must not change later."""
        headers = cls.__new__(cls)
        headers._pairs = None
        headers._raw = raw
        headers._index = None
        headers._repeats = _NO_REPEATS
        return headers

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All fields in order."""
        pairs = self._pairs
        if pairs is None:
            raw = self._raw
            assert raw is not None
            known = _NAMES.get
            # A list is made faster than a generator is run, and this is every call's cost.
            pairs = tuple(
                [(known(name) or _name(name), value.decode("latin-1")) for name, value in raw]
            )
            self._pairs = pairs
        return pairs

    def raw(self) -> Sequence[RawPair]:
        """All fields as octets; names keep the case in which they came."""
        if self._raw is None:
            assert self._pairs is not None
            self._raw = [
                (name.encode("latin-1"), value.encode("latin-1")) for name, value in self._pairs
            ]
        return self._raw

    def _lookup(self) -> dict[str, str]:
        pairs = self.pairs
        index = dict(pairs)
        if len(index) != len(pairs):
            every: dict[str, tuple[str, ...]] = {}
            for name, value in pairs:
                every[name] = (*every.get(name, ()), value)
            self._repeats = {name: values for name, values in every.items() if len(values) > 1}
            index = {name: values[0] for name, values in every.items()}
        self._index = index
        return index

    def get(self, name: str) -> str | None:
        """The first value of a field, or None; `name` in lower case."""
        index = self._index
        if index is None:
            index = self._lookup()
        return index.get(name)

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a field, in order; empty when absent."""
        index = self._index
        if index is None:
            index = self._lookup()
        value = index.get(name)
        if value is None:
            return ()
        return self._repeats.get(name) or (value,)

    def has_repeats(self) -> bool:
        """Whether some name occurs more than once."""
        if self._index is None:
            self._lookup()
        return self._repeats is not _NO_REPEATS

    def has_any(self, names: frozenset[str]) -> bool:
        """Whether one of these fields is there; decodes no value."""
        index = self._index
        if index is None:
            if self._pairs is None and self._raw is not None:
                known = _NAMES.get
                for name, _ in self._raw:  # noqa: SIM110 - a generator costs more than the loop
                    if (known(name) or _name(name)) in names:
                        return True
                return False
            index = self._lookup()
        return not names.isdisjoint(index)

    def names(self) -> KeysView[str]:
        """The names of all fields, each once."""
        index = self._index
        if index is None:
            index = self._lookup()
        return index.keys()

    def __contains__(self, name: object) -> bool:
        index = self._index
        if index is None:
            index = self._lookup()
        return name in index

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.pairs == other.pairs

    def __hash__(self) -> int:
        return hash(self.pairs)

    def __repr__(self) -> str:
        # Names only: values may be credentials, and reprs end up in logs.
        return f"Headers({', '.join(name for name, _ in self.pairs)})"

    def add(self, name: str, value: str) -> "Headers":
        """One more field at the end."""
        return Headers((*self.pairs, (name, value)))

    def set(self, name: str, value: str) -> "Headers":
        """The field once, at the end; earlier ones of that name go."""
        if name in self:
            return Headers([*[p for p in self.pairs if p[0] != name], (name, value)])
        return Headers((*self.pairs, (name, value)))

    def without(self, *names: str) -> "Headers":
        """The same fields less those names; self when none is there."""
        index = self._index
        if index is None:
            index = self._lookup()
        gone = [name for name in names if name in index]
        if not gone:
            return self
        pairs, raw = self.pairs, self._raw
        places = [i for i, pair in enumerate(pairs) if pair[0] not in gone]
        kept = Headers([pairs[i] for i in places])
        kept._raw = None if raw is None else [raw[i] for i in places]
        # Looking up goes on where it was: the next reader pays nothing.
        kept._index = index = index.copy()
        for name in gone:
            index.pop(name, None)  # a name may be asked for twice
        repeats = {n: v for n, v in self._repeats.items() if n not in gone}
        kept._repeats = repeats or _NO_REPEATS
        return kept

    def plus(self, pairs: Iterable[Pair]) -> "Headers":
        """More fields at the end."""
        return Headers((*self.pairs, *pairs))

    def exchanged(self, gone: str, more: Sequence[Pair]) -> "Headers":
        """The same less the one field `gone` (empty: none), which occurs once, and with more at
        the end, whose names are new here; what was looked up stays known."""
        pairs, raw, index = self.pairs, self._raw, self._index
        headers = Headers.__new__(Headers)
        index = None if index is None else index.copy()
        if gone:
            at = [name for name, _ in pairs].index(gone)
            pairs = pairs[:at] + pairs[at + 1 :]
            if raw is not None:
                raw = [*raw[:at], *raw[at + 1 :]]
            if index is not None:
                del index[gone]
        if more:
            pairs = (*pairs, *more)
            if raw is not None:
                raw = [*raw, *[(n.encode("latin-1"), v.encode("latin-1")) for n, v in more]]
            if index is not None:
                index.update(more)
        headers._pairs, headers._raw, headers._index = pairs, raw, index
        headers._repeats = self._repeats
        return headers


EMPTY = Headers()
