"""What one ADS stream was asked for, was sent and answered: the server's rules, without I/O.

They are istiod's (FEED.md 1.7, 1.8, 1.9) and so the protocol's, but for one: unsubscribing `*`
ends the wildcard, as xDS says and istiod does not. Unlike istiod's, our delta resources have
versions, a digest of their bytes, so that a client that comes back gets only what changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, TypeAlias, cast

from meshsdk.wire.ads_codec import EncodedResource, encode_resource
from meshsdk.xds.messages import DiscoveryRequest, Variant

CLUSTER: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
LOAD_ASSIGNMENT: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTE_CONFIGURATION: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRET: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type
EXTENSION_CONFIG: Final = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
NAME_TABLE: Final = "type.googleapis.com/istio.networking.nds.v1.NameTable"

_ORDER: Final = (CLUSTER, LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION, SECRET)
# For these an empty list of names asks for nothing; for all others it is the wildcard.
_BY_NAME: Final = frozenset({LOAD_ASSIGNMENT, ROUTE_CONFIGURATION, SECRET, EXTENSION_CONFIG})
# State of the world cannot say that these are gone: they are sent empty.
_NAME_FIELD: Final = {LOAD_ASSIGNMENT: "cluster_name", ROUTE_CONFIGURATION: "name"}


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource that is ready to be sent."""

    encoded: EncodedResource
    references: frozenset[tuple[str, str]] = frozenset()
    """(type URL, name) of what a client warms again when this changes, and so wants again."""

    @property
    def version(self) -> str:
        """A digest of the bytes."""
        return self.encoded.version


Snapshot: TypeAlias = Mapping[str, Mapping[str, Resource]]
"""Type URL to name to resource: all that one node can ask for."""


@dataclass(frozen=True, slots=True)
class Push:
    """One response."""

    type_url: str
    version: str
    nonce: str
    resources: tuple[EncodedResource, ...]
    removed: tuple[str, ...] = ()


@dataclass(slots=True)
class Watch:
    """One type on one stream."""

    type_url: str
    is_wildcard: bool = False
    names: set[str] = field(default_factory=set[str])
    sent: dict[str, str] = field(default_factory=dict[str, str])
    """Name to version: what the client holds, so far as we know."""
    due: set[str] = field(default_factory=set[str])
    """Names to be answered, whether or not they changed."""
    answer_due: bool = False
    """A response is due even if it is empty."""
    nonce: str = ""
    """Of the last response; `answered` is what the client has answered."""
    answered: str = ""
    version_sent: str = ""
    version_acked: str = ""
    nack: str | None = None

    def wants(self, name: str) -> bool:
        """Whether the stream has subscribed to a name."""
        return self.is_wildcard or name in self.names


class Session:
    """The server's memory of one stream. Not safe for threads."""

    def __init__(self, variant: Variant) -> None:
        self.variant: Variant = variant
        self.watches: dict[str, Watch] = {}
        self._nonces = 0

    def receive(self, request: DiscoveryRequest) -> None:
        """Take in a subscription, an ACK or a NACK."""
        is_first = request.type_url not in self.watches
        watch = self.watches.setdefault(request.type_url, Watch(request.type_url))
        if request.nonce and watch.nonce:
            if request.nonce != watch.nonce:
                return  # it answers an older response: ignored whole, names too
            watch.nack, watch.answered = request.error, request.nonce
            if request.error is None:
                watch.version_acked = watch.version_sent
        if self.variant == "delta":
            _subscribe_delta(watch, request, is_first)
        elif request.error is None:
            _subscribe_sotw(watch, request)

    def pushes(self, snapshot: Snapshot, version: str) -> Iterator[Push]:
        """What is to be sent now, in order. It counts as sent when the iterator goes on."""
        for type_url in sorted(self.watches, key=_rank):
            watch, resources = self.watches[type_url], snapshot.get(type_url, {})
            if self.variant == "delta":
                found = _changes(watch, resources)
            else:
                found = _state(watch, resources)
            if found is None:
                continue
            self._nonces += 1
            watch.nonce, watch.version_sent = f"{version}-{self._nonces}", version
            self._follow(found.changed)
            encoded = tuple(each.encoded for each in found.sent)
            yield Push(type_url, version, watch.nonce, encoded, found.removed)

    def _follow(self, changed: Iterable[Resource]) -> None:
        for each in changed:
            for type_url, name in each.references:
                watch = self.watches.get(type_url)
                if watch is not None and name in watch.names:
                    watch.due.add(name)


def resource(type_url: str, name: str, data: Mapping[str, object]) -> Resource:
    """Encode a resource. ConfigError names the path of what does not fit its type."""
    raw = encode_resource(type_url, data)
    digest = hashlib.sha256(raw).hexdigest()[:16]
    encoded = EncodedResource(name, type_url, raw, digest)
    return Resource(encoded, frozenset(_references(type_url, name, data)))


def _subscribe_delta(watch: Watch, request: DiscoveryRequest, is_first: bool) -> None:
    by_name = watch.type_url in _BY_NAME
    subscribed = set(request.subscribe)
    if is_first:
        watch.sent.update(request.initial_resource_versions)
        watch.answer_due = not by_name
        if by_name:
            watch.names.update(request.initial_resource_versions)
    if "*" in subscribed or (is_first and not subscribed and not by_name):
        watch.is_wildcard = watch.answer_due = True
    subscribed.discard("*")
    watch.names |= subscribed
    watch.due |= subscribed
    unsubscribed = set(request.unsubscribe)
    if "*" in unsubscribed:
        watch.is_wildcard = False
    watch.names -= unsubscribed
    watch.due &= watch.names
    if unsubscribed:
        for name in [name for name in watch.sent if not watch.wants(name)]:
            del watch.sent[name]


def _subscribe_sotw(watch: Watch, request: DiscoveryRequest) -> None:
    by_name = watch.type_url in _BY_NAME
    names = set(request.names) - {"*"}
    if by_name and not names:
        watch.names, watch.due, watch.sent, watch.answer_due = set(), set(), {}, False
        return
    starts = not request.nonce or not watch.nonce
    is_wildcard = not by_name and (not request.names or "*" in request.names)
    if by_name:
        watch.due |= names if starts else names - watch.names
        watch.due &= names
        watch.answer_due = watch.answer_due or starts
    elif starts or names != watch.names or is_wildcard != watch.is_wildcard:
        watch.answer_due = True
    watch.names, watch.is_wildcard = names, is_wildcard
    for name in [name for name in watch.sent if not watch.wants(name)]:
        del watch.sent[name]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one response says."""

    sent: list[Resource]
    changed: list[Resource]
    """Those of them that the client does not hold in this version."""
    removed: tuple[str, ...] = ()


def _changes(watch: Watch, resources: Mapping[str, Resource]) -> _Found | None:
    """Delta: what the client lacks, and the names that it asks for or holds in vain."""
    names = resources if watch.is_wildcard else sorted(watch.names & resources.keys())
    changed = [
        resources[name]
        for name in names
        if name in watch.due or watch.sent.get(name) != resources[name].version
    ]
    removed = tuple(sorted((watch.sent.keys() | watch.due) - resources.keys()))
    if not (changed or removed or watch.answer_due):
        return None
    watch.due, watch.answer_due = set(), False
    watch.sent.update((each.encoded.name, each.version) for each in changed)
    for name in removed:
        watch.sent.pop(name, None)
    return _Found(changed, changed, removed)


def _state(watch: Watch, resources: Mapping[str, Resource]) -> _Found | None:
    """State of the world: everything for most types, what was asked for or changed for EDS."""
    names = resources if watch.is_wildcard else sorted(watch.names)
    found = {name: resources.get(name) or _empty(watch.type_url, name) for name in names}
    held = {name: each for name, each in found.items() if each is not None}
    versions = {name: each.version for name, each in held.items()}
    changed = {name for name in names if versions.get(name) != watch.sent.get(name)}
    if watch.is_wildcard:
        changed |= watch.sent.keys() - versions.keys()
    if not (changed or watch.due or watch.answer_due):
        return None
    sent = list(held.values())
    news = [each for name, each in held.items() if name in changed]
    is_partial = watch.type_url in _BY_NAME and not changed - watch.due
    if is_partial or watch.type_url == LOAD_ASSIGNMENT:
        sent = [each for name, each in held.items() if name in changed | watch.due]
    watch.due, watch.answer_due, watch.sent = set(), False, versions
    return _Found(sent, news)


@lru_cache(maxsize=1024)
def _empty(type_url: str, name: str) -> Resource | None:
    name_field = _NAME_FIELD.get(type_url)
    return None if name_field is None else resource(type_url, name, {name_field: name})


def _rank(type_url: str) -> int:
    return _ORDER.index(type_url) if type_url in _ORDER else len(_ORDER)


def _references(type_url: str, name: str, data: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """A changed cluster wants its endpoints again, a changed listener its routes: a client may
    hold the new one back until they come, and istiod sends them too."""
    if type_url == CLUSTER and data.get("type") == "EDS":
        named = next(_strings_at("service_name", data.get("eds_cluster_config")), name)
        yield LOAD_ASSIGNMENT, named
    elif type_url == LISTENER:
        for found in _strings_at("route_config_name", data):
            yield ROUTE_CONFIGURATION, found


def _strings_at(field_name: str, data: object) -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, value in cast("Mapping[str, object]", data).items():
            if key == field_name and isinstance(value, str):
                yield value
            else:
                yield from _strings_at(field_name, value)
    elif isinstance(data, list | tuple):
        for value in cast("list[object]", data):
            yield from _strings_at(field_name, value)
