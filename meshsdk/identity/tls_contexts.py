"""The TLS contexts in use: one dict lookup per attempt, swapped whole with the identity."""

import ssl
from dataclasses import dataclass, field
from threading import Lock

from meshsdk.clock import Clock
from meshsdk.errors import IdentityError, MeshError
from meshsdk.identity.tls import TlsSnapshot, build_snapshot
from meshsdk.identity.tls_params import TlsParams
from meshsdk.identity.x509_context import NO_IDENTITY, IdentityStatus, X509Context

_LIMIT = 1024  # settings per role; each context holds some 50 to 100 KiB


@dataclass(slots=True, eq=False)
class _Entry:
    snapshot: TlsSnapshot
    used: bool = True
    """Looked up since the identity that it belongs to came."""


@dataclass(slots=True, eq=False)
class _Generation:
    """All contexts of one identity: nothing of an older one is found here."""

    identity: X509Context | None
    clients: dict[TlsParams, _Entry] = field(default_factory=dict[TlsParams, _Entry])
    servers: dict[TlsParams, _Entry] = field(default_factory=dict[TlsParams, _Entry])


@dataclass(frozen=True, slots=True)
class Adoption:
    """What publishing a status did."""

    changed: bool
    errors: tuple[MeshError, ...] = ()


class TlsContexts:
    """Contexts by settings, for the newest identity. Any thread may ask.

    `adopt` is where the identity is published: contexts in use are rebuilt before the swap, so
    that no call pays for a rotation. A context that was handed out stays valid and unchanged.
    """

    def __init__(self, clock: Clock, *, limit: int = _LIMIT) -> None:
        self.status: IdentityStatus = NO_IDENTITY
        self._clock = clock
        self._limit = limit
        self._generation = _Generation(None)
        self._building = Lock()

    @property
    def kept(self) -> int:
        """How many contexts are held now."""
        generation = self._generation
        return len(generation.clients) + len(generation.servers)

    def client(self, params: TlsParams) -> ssl.SSLContext:
        """For one attempt. `IdentityError` (also where ours has expired) or `ConfigError`."""
        generation = self._generation
        return self._find(generation, generation.clients, params, server=False)

    def server(self, params: TlsParams) -> ssl.SSLContext:
        """For one accepted connection; errors as `client`."""
        generation = self._generation
        return self._find(generation, generation.servers, params, server=True)

    def _find(
        self,
        generation: _Generation,
        entries: dict[TlsParams, _Entry],
        params: TlsParams,
        *,
        server: bool,
    ) -> ssl.SSLContext:
        entry = entries.get(params)
        if entry is None:
            entry = self._build(generation, entries, params, server=server)
        # Nobody tells us that a certificate has expired.
        if entry.snapshot.expires <= self._clock.time():
            raise IdentityError(
                f"our certificate has expired: expected notAfter in the future, found"
                f" {self._clock.time() - entry.snapshot.expires:.0f} s ago"
                f" (source: {self.status.state}: {self.status.detail})"
            )
        entry.used = True
        return entry.snapshot.context

    def _build(
        self,
        generation: _Generation,
        entries: dict[TlsParams, _Entry],
        params: TlsParams,
        *,
        server: bool,
    ) -> _Entry:
        with self._building:
            entry = entries.get(params)
            if entry is not None:
                return entry
            try:
                snapshot = build_snapshot(
                    params, generation.identity, self._clock.time, server=server
                )
            except IdentityError as error:
                status = self.status
                raise IdentityError(f"{error} (source: {status.state} {status.detail})") from error
            entry = _Entry(snapshot)
            while len(entries) >= self._limit:
                entries.pop(next(iter(entries)))
            entries[params] = entry
            return entry

    def adopt(self, status: IdentityStatus) -> Adoption:
        """Publish. For the identity's own thread only; blocks 1 to 2 ms per context in use.

        A context that cannot be rebuilt is named in the answer, and built again, with the same
        error, for whoever asks.
        """
        old = self._generation
        if status.context is None or status.context is old.identity:
            self.status = status
            return Adoption(changed=False)
        new = _Generation(status.context)
        errors: list[MeshError] = []
        for source, target, server in (
            (old.clients, new.clients, False),
            (old.servers, new.servers, True),
        ):
            for params, entry in list(source.items()):
                if not entry.used:
                    continue
                try:
                    snapshot = self._carried(entry.snapshot, params, status.context, server=server)
                except MeshError as error:
                    errors.append(error)
                    continue
                target[params] = _Entry(snapshot, used=False)
        self.status = status
        self._generation = new
        return Adoption(changed=True, errors=tuple(errors))

    def _carried(
        self, old: TlsSnapshot, params: TlsParams, identity: X509Context, *, server: bool
    ) -> TlsSnapshot:
        if old.identity is None:
            return old
        return build_snapshot(params, identity, self._clock.time, server=server)
