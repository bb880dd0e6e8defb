"""From accepted resources to one consistent snapshot: follow references, warm, then swap.

Each listener, route configuration and cluster warms alone: while a new version names something
that is not settled (not found, not known bad, not given up) its old version stays in force.
Source: FEED.md 1.10; gRFC A74 for the aim.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, cast

from meshsdk.config.bootstrap import Mode
from meshsdk.resources import (
    cluster,
    extension_config,
    listener,
    load_assignment,
    name_table,
    route_configuration,
    secret,
)
from meshsdk.resources.cluster import Cluster
from meshsdk.resources.extension_config import ExtensionConfig
from meshsdk.resources.listener import Listener
from meshsdk.resources.load_assignment import LoadAssignment
from meshsdk.resources.name_table import NameTable
from meshsdk.resources.resource_type import CLUSTER_WAIT, Reference
from meshsdk.resources.route_configuration import RouteConfiguration
from meshsdk.resources.secret import Secret
from meshsdk.resources.snapshot import Absent, Bad, Missing, Snapshot
from meshsdk.xds.ads import Key
from meshsdk.xds.published import Published
from meshsdk.xds.store import Accepted, TypeStore
from meshsdk.xds.subscription import Subscription
from meshsdk.xds.waiting import Candidate, References

LDS: Final = listener.TYPE_URL
RDS: Final = route_configuration.TYPE_URL
CDS: Final = cluster.TYPE_URL
EDS: Final = load_assignment.TYPE_URL
SDS: Final = secret.TYPE_URL
ECDS: Final = extension_config.TYPE_URL
NDS: Final = name_table.TYPE_URL

FIRST_WAIT: Final = 15.0  # seconds that the first snapshot waits for what is still warming
LISTENER_WAIT: Final = 15.0  # seconds until a listener that was asked for does not exist
LINGER: Final = 1.0  # seconds that a removed cluster stays while a live route names it
_WARMED: Final = (CDS, RDS, LDS)
"""Types with versions in force, in the order in which they depend on each other."""
_NAMED: Final = (EDS, RDS, SDS, ECDS)


@dataclass(frozen=True, slots=True)
class Assembly:
    """What to do next."""

    snapshot: Snapshot | None
    """None: nothing changed, or the first one is not complete."""
    subscriptions: Mapping[str, Subscription]
    """What to want, by type URL."""
    deadline: float | None
    """Monotonic seconds at which to assemble again although nothing came; None: never."""


class Assembler:
    """Follows references through what an `AdsMachine` accepted."""

    def __init__(self, stores: Mapping[str, TypeStore], mode: Mode) -> None:
        self._stores = stores
        self._is_sidecar = mode == "sidecar"
        self._active: dict[str, dict[str, Accepted]] = {url: {} for url in _WARMED}
        self._candidates: dict[str, dict[str, Candidate]] = {url: {} for url in _WARMED}
        self._references = References()
        self._cluster_users: dict[str, int] = {}
        self._lingering: dict[str, float] = {}
        self._resolved: dict[str, Listener] = {}
        self._asked: dict[str, Reference] = {}
        self._published = Published()
        self._touched: dict[Key, None] = {}
        self._deadline: float | None = None
        self._first_answer: float | None = None
        self._version = 0

    def want_listener(self, name: str, now: float) -> None:
        """Proxyless: the application calls this listener."""
        if name not in self._asked:
            reference = Reference(LDS, name, LISTENER_WAIT)
            self._asked[name] = reference
            self._hold((reference,), now)

    def drop_listener(self, name: str) -> None:
        """Proxyless: nobody calls this listener any more."""
        reference = self._asked.pop(name, None)
        if reference is not None:
            self._release((reference,))
            self._removed(Key(LDS, name), 0.0)

    def assemble(self, changed: Iterable[Key], now: float) -> Assembly:
        """Take what changed and what time did; `now` is monotonic."""
        self._deadline = None
        for key in changed:
            self._note(key, now)
        for url in _WARMED:
            self._warm(url, now)
        self._give_up_listeners(now)
        self._end_lingering(now)
        for key in self._touched:
            self._publish(key, now)
        self._touched.clear()
        return Assembly(self._snapshot(now), self._subscriptions(), self._deadline)

    # -- versions ---------------------------------------------------------------------------

    def _note(self, key: Key, now: float) -> None:
        """One resource is new, newly refused, or gone."""
        self._touched[key] = None
        if self._first_answer is None:
            self._first_answer = now
        if key.type_url == ECDS:
            self._resolve_again(key)
        if key.type_url not in self._active or key.name == "*":
            return
        good = self._stores[key.type_url].good(key.name)
        if good is None:
            self._removed(key, now)
        elif key.type_url != RDS or key in self._references:
            self._offer(key, good, now)

    def _offer(self, key: Key, good: Accepted, now: float) -> None:
        active = self._active[key.type_url].get(key.name)
        waiting = self._candidates[key.type_url].get(key.name)
        if active is not None and active.value is good.value:
            self._withdraw(key)
        elif waiting is None or waiting.accepted.value is not good.value:
            # New names first: what both versions name is never let go.
            self._hold(good.references, now)
            self._withdraw(key)
            self._candidates[key.type_url][key.name] = Candidate(good, now)

    def _hold(self, references: Iterable[Reference], now: float) -> None:
        """Name these. A route configuration that is here already goes the way of a new one."""
        held = tuple(references)
        self._references.hold(held, now)
        for reference in held:
            key = Key(reference.type_url, reference.name)
            if key.type_url == RDS and key.name not in self._active[RDS]:
                good = self._stores[RDS].good(key.name)
                if good is not None:
                    self._offer(key, good, now)

    def _withdraw(self, key: Key) -> None:
        """Forget a candidate that never came into force."""
        candidate = self._candidates[key.type_url].pop(key.name, None)
        if candidate is not None:
            self._release(candidate.accepted.references)

    def _removed(self, key: Key, now: float) -> None:
        self._withdraw(key)
        if key.name not in self._active[key.type_url]:
            return
        if key.type_url == CDS and self._cluster_users.get(key.name):
            self._lingering.setdefault(key.name, now + LINGER)
            return
        self._retire(key)

    def _retire(self, key: Key) -> None:
        """Take the version in force out."""
        active = self._active[key.type_url].pop(key.name, None)
        if active is None:
            return
        self._touched[key] = None
        if key.type_url == LDS:
            self._resolved.pop(key.name, None)
        self._use_clusters(key, active, -1)
        self._release(active.references)

    def _release(self, references: Iterable[Reference]) -> None:
        """Stop naming these; what is subscribed by name goes with its last referrer."""
        for key in tuple(self._references.release(references)):
            self._touched[key] = None
            if key.type_url == RDS or (key.type_url == CDS and not self._is_sidecar):
                self._withdraw(key)
                self._retire(key)

    def _use_clusters(self, key: Key, accepted: Accepted, change: int) -> None:
        if key.type_url == CDS:
            return
        users = self._cluster_users
        for reference in accepted.references:
            if reference.type_url == CDS:
                users[reference.name] = users.get(reference.name, 0) + change

    # -- warming ----------------------------------------------------------------------------

    def _warm(self, url: str, now: float) -> None:
        """Put candidates in force whose references are settled."""
        for name, candidate in tuple(self._candidates[url].items()):
            # Every reference is asked, so that the earliest deadline is known.
            settled = [self._is_settled(r, candidate, now) for r in candidate.accepted.references]
            if all(settled):
                self._activate(Key(url, name), candidate.accepted)

    def _activate(self, key: Key, accepted: Accepted) -> None:
        del self._candidates[key.type_url][key.name]
        before = self._active[key.type_url].get(key.name)
        self._active[key.type_url][key.name] = accepted
        self._touched[key] = None
        self._touched.update(dict.fromkeys(Key(r.type_url, r.name) for r in accepted.references))
        self._use_clusters(key, accepted, 1)
        if key.type_url == CDS:
            self._lingering.pop(key.name, None)
        if key.type_url == LDS:
            self._resolve(key.name, accepted)
        if before is not None:
            self._use_clusters(key, before, -1)
            self._release(before.references)

    def _is_settled(self, reference: Reference, candidate: Candidate, now: float) -> bool:
        key = Key(reference.type_url, reference.name)
        store = self._stores.get(key.type_url)
        if store is None:
            return True
        entry = store.entries.get(key.name)
        active = self._active.get(key.type_url)
        if active is not None and key.name in active:
            return True
        if entry is None:
            if self._is_wildcard(key.type_url) and store.answered:
                return True
        elif entry.good is None or active is None:
            return True
        elif key.type_url == RDS:
            return False  # It came, and waits for clusters on a clock of its own.
        since = candidate.since if key.type_url == CDS else self._references.since(key)
        return self._is_over(since, reference.timeout, now)

    def _is_over(self, since: float | None, timeout: float | None, now: float) -> bool:
        """Whether a clock ran out; else its end is one of our deadlines."""
        if since is None or timeout is None:
            return False
        end = since + timeout
        if now >= end:
            return True
        self._wake_at(end)
        return False

    def _wake_at(self, moment: float) -> None:
        self._deadline = moment if self._deadline is None else min(self._deadline, moment)

    def _is_wildcard(self, type_url: str) -> bool:
        return self._is_sidecar and type_url in (CDS, LDS, NDS)

    def _end_lingering(self, now: float) -> None:
        for name, end in tuple(self._lingering.items()):
            if now >= end or not self._cluster_users.get(name):
                del self._lingering[name]
                self._retire(Key(CDS, name))
            else:
                self._wake_at(end)

    def _give_up_listeners(self, now: float) -> None:
        store = self._stores[LDS]
        for name, reference in self._asked.items():
            if name not in store.entries:
                since = self._references.since(Key(LDS, name))
                if self._is_over(since, reference.timeout, now):
                    self._touched[Key(LDS, name)] = None

    # -- discovered filters -----------------------------------------------------------------

    def _resolve(self, name: str, accepted: Accepted) -> None:
        value = accepted.value
        assert isinstance(value, Listener)
        names = [r.name for r in accepted.references if r.type_url == ECDS]
        if not any(f.discovery for m in value.connection_managers() for f in m.http_filters):
            self._resolved[name] = value
            return
        configs: dict[str, ExtensionConfig] = {}
        for wanted in names:
            good = self._stores[ECDS].good(wanted)
            if good is not None and isinstance(good.value, ExtensionConfig):
                configs[wanted] = good.value
        self._resolved[name] = listener.resolve(value, configs)

    def _resolve_again(self, key: Key) -> None:
        for name, accepted in self._active[LDS].items():
            if any(r.type_url == ECDS and r.name == key.name for r in accepted.references):
                self._resolve(name, accepted)
                self._touched[Key(LDS, name)] = None

    # -- the snapshot -----------------------------------------------------------------------

    def _publish(self, key: Key, now: float) -> None:
        if key.name == "*" or key.type_url == ECDS:
            return
        self._published.put(key.type_url, key.name, self._value(key, now))

    def _value(self, key: Key, now: float) -> object:
        """What the snapshot says of a name; None: nothing."""
        if key.type_url == LDS and key.name in self._resolved:
            return self._resolved[key.name]
        active = self._active.get(key.type_url)
        if active is not None and key.name in active:
            return active[key.name].value
        is_named = key in self._references
        if not is_named and not self._is_wildcard(key.type_url):
            return None
        entry = self._stores[key.type_url].entries.get(key.name)
        if entry is not None and entry.good is not None:
            return entry.good.value if active is None else None
        if entry is not None and entry.refused is not None:
            return Bad(entry.refused.error)
        if entry is not None and not entry.exists:
            return Missing()
        return self._given_up(key, now) if is_named else None

    def _given_up(self, key: Key, now: float) -> Missing | None:
        if self._is_wildcard(key.type_url):
            return None
        since = self._references.since(key)
        waited = 0.0 if since is None else now - since
        return Missing(f"did not come in {waited:.0f} s") if waited >= CLUSTER_WAIT else Missing()

    def _snapshot(self, now: float) -> Snapshot | None:
        if not self._published.is_changed or not self._may_publish(now):
            return None
        self._published.is_changed = False
        self._version += 1
        copy = self._published.copy
        names = next(iter(copy(NDS).values()), None)
        return Snapshot(
            cast("Mapping[str, Listener | Absent]", copy(LDS)),
            cast("Mapping[str, RouteConfiguration | Absent]", copy(RDS)),
            cast("Mapping[str, Cluster | Absent]", copy(CDS)),
            cast("Mapping[str, LoadAssignment | Absent]", copy(EDS)),
            cast("Mapping[str, Secret | Absent]", copy(SDS)),
            names if isinstance(names, NameTable) else None,
            self._version,
        )

    def _may_publish(self, now: float) -> bool:
        """Whether a first snapshot would be complete, or complete enough after a while."""
        if self._version:
            return True
        if not self._is_sidecar:
            return bool(self._published.copy(LDS))
        if not (self._stores[LDS].answered and self._stores[CDS].answered):
            return False
        if self._stores[NDS].answered and not any(self._candidates.values()):
            return True
        return self._is_over(self._first_answer, FIRST_WAIT, now)

    def _subscriptions(self) -> Mapping[str, Subscription]:
        everything = Subscription(wildcard=True)
        wanted = {url: Subscription(self._references.names(url)) for url in _NAMED}
        if self._is_sidecar:
            return {CDS: everything, LDS: everything, NDS: everything, **wanted}
        return {
            CDS: Subscription(self._references.names(CDS)),
            LDS: Subscription(frozenset(self._asked)),
            **wanted,
        }
