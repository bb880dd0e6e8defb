"""The ADS protocol of a client as a machine: responses in, requests out, no I/O.

Both variants, as FEED.md 1.7 to 1.12 saw a real control plane behave. One bad resource costs
neither its good neighbours nor its own last good version; a stream that ends changes nothing.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, TypeAlias

from meshsdk.config.extension import Extensions
from meshsdk.resources.resource_type import ResourceType
from meshsdk.telemetry import ConfigReported, Event, ResourceRejected
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, Received, Variant
from meshsdk.xds.store import Outcome, TypeStore
from meshsdk.xds.subscription import NOTHING, Subscription, TypeStream

MAX_NACK: Final = 4096  # octets of an error_detail, THREATS X10


class Key(NamedTuple):
    """A resource."""

    type_url: str
    name: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a response led to."""

    request: DiscoveryRequest | None = None
    """The ACK or NACK; None where there is nothing to answer."""
    events: tuple[Event, ...] = ()


Receiving: TypeAlias = Generator[None, None, Answer]


class AdsMachine:
    """The subscriptions and the resources of one control plane, over any number of streams."""

    def __init__(
        self, types: Iterable[ResourceType], extensions: Extensions, variant: Variant = "delta"
    ) -> None:
        """`types` in the order in which a new stream asks for them."""
        self.stores: Mapping[str, TypeStore] = {kind.type_url: TypeStore(kind) for kind in types}
        self.variant: Variant = variant
        self._extensions = extensions
        self._wanted: dict[str, Subscription] = dict.fromkeys(self.stores, NOTHING)
        self._streams: dict[str, TypeStream] | None = None
        self._versions: dict[str, str] = {}
        self._is_first = True
        self._changed: dict[Key, None] = {}

    # -- streams ----------------------------------------------------------------------------

    def connect(self) -> tuple[DiscoveryRequest, ...]:
        """A new stream is open: every subscription anew, with empty nonces."""
        self._streams = {
            url: TypeStream(url, self.variant, self._versions.get(url, "")) for url in self.stores
        }
        self._is_first = True
        return self._ask()

    def disconnect(self, code: str = "") -> None:
        """The stream is over; all that was accepted stays (fail static).

        `code`: its gRPC status. A server without delta says UNIMPLEMENTED: the next stream is SotW.
        """
        if code == "UNIMPLEMENTED" and self.variant == "delta" and not self._has_answers():
            self.variant = "sotw"
        self._streams = None

    def _has_answers(self) -> bool:
        return any(store.answered for store in self.stores.values())

    def subscribe(self, wanted: Mapping[str, Subscription]) -> tuple[DiscoveryRequest, ...]:
        """Want this from now on, by type URL; types that are not named want nothing more.

        What nobody wants any more is forgotten. The requests are for the stream, if there is one.
        """
        for url, store in self.stores.items():
            now = wanted.get(url, NOTHING)
            before = self._wanted[url]
            if now == before:
                continue
            self._wanted[url] = now
            if not now.wildcard:
                gone = set(store.entries) - now.names
                store.forget(gone)
                self._changed.update(dict.fromkeys(Key(url, name) for name in gone))
        return self._ask()

    def _ask(self) -> tuple[DiscoveryRequest, ...]:
        if self._streams is None:
            return ()
        requests: list[DiscoveryRequest] = []
        for url, stream in self._streams.items():
            store = self.stores[url]
            held = {} if stream.has_asked else _held(store)
            request = stream.ask(self._wanted[url], held, is_full=store.kind.is_full)
            if request is not None:
                requests.append(self._first(request))
        return tuple(requests)

    def _first(self, request: DiscoveryRequest) -> DiscoveryRequest:
        if not self._is_first:
            return request
        self._is_first = False
        return replace(request, first=True)

    @property
    def has_changes(self) -> bool:
        """Whether `take_changes` would give something."""
        return bool(self._changed)

    def take_changes(self) -> tuple[Key, ...]:
        """What changed since the last call: new, newly refused, or gone."""
        changed = tuple(self._changed)
        self._changed.clear()
        return changed

    # -- responses --------------------------------------------------------------------------

    def receive(self, response: DiscoveryResponse) -> Receiving:
        """Take one response; yields between pieces, so that its driver may let others run.

        To be exhausted before the next one. What was taken stays taken if it is not.
        """
        url = response.type_url
        store = self.stores.get(url)
        stream = None if self._streams is None else self._streams.get(url)
        if store is None or stream is None or not stream.has_asked:
            # Also istio.io/debug, whose ACK ends the stream or loops for ever (FEED.md 1.15).
            why = "an answer that nobody asked for is ignored"
            return Answer(events=(ConfigReported(url, "", why),))
        taking = _Taking(store, self._wanted[url], self._extensions, self._changed)
        yield from taking.take(response)
        store.answered = True
        error = taking.nack()
        answer = stream.answer(response.nonce, response.version, error)
        self._versions[url] = stream.version
        return Answer(self._first(answer), tuple(taking.events))


class _Taking:
    """One response on its way into the store."""

    def __init__(
        self,
        store: TypeStore,
        wanted: Subscription,
        extensions: Extensions,
        changed: dict[Key, None],
    ) -> None:
        self.store = store
        self.wanted = wanted
        self.extensions = extensions
        self.changed = changed
        self.errors: list[str] = []
        self.events: list[Event] = []

    def take(self, response: DiscoveryResponse) -> Generator[None]:
        counts = _count(response.resources)
        was_answered = self.store.answered
        for i, received in enumerate(response.resources):
            self._one(i, received, counts)
            yield
        if response.delta:
            for name in response.removed:
                self._removed(name)
        elif self.store.kind.is_full:
            self._absent(response.resources, counts)
        if not was_answered:
            # Whoever waits for the first answer of a wildcard type may go on.
            self.changed[Key(self.store.kind.type_url, "*")] = None

    def _one(self, i: int, received: Received, counts: Mapping[str, int]) -> None:
        name = received.name
        kind = self.store.kind
        if name is not None and not self._is_wanted(name):
            return
        is_other = received.type_url != kind.type_url
        if name is not None and is_other and not received.raw:
            # Delta: a name without a resource is a resource that is not there.
            self._removed(name)
            return
        if name is None or (is_other and name not in self.wanted.names):
            self.errors.append(
                f"{kind.short_name} resources[{i}]: expected {kind.type_url},"
                f" found {received.type_url}"
            )
            return
        if counts[name] > 1:
            problem = f"expected each name once in an answer, found {name!r} {counts[name]} times"
            outcome = self.store.refuse(name, problem)
        else:
            outcome = self.store.receive(name, received, self.extensions)
        self._note(name, outcome)

    def _is_wanted(self, name: str) -> bool:
        return self.wanted.wildcard or name in self.wanted.names

    def _note(self, name: str, outcome: Outcome) -> None:
        url = self.store.kind.type_url
        if outcome.changed:
            self.changed[Key(url, name)] = None
        if outcome.error is not None and outcome.error not in self.errors:
            self.errors.append(outcome.error)
            if outcome.is_new_error:
                self.events.append(ResourceRejected(url, name, outcome.error))
        resource = f"{self.store.kind.short_name} {name}"
        self.events.extend(ConfigReported(resource, path, why) for path, why in outcome.reports)

    def _removed(self, name: str) -> None:
        if self.store.remove(name, keep_name=name in self.wanted.names):
            self.changed[Key(self.store.kind.type_url, name)] = None

    def _absent(self, resources: Sequence[Received], counts: Mapping[str, int]) -> None:
        """SotW, LDS and CDS: what an answer does not name is gone."""
        held = [name for name, entry in self.store.entries.items() if entry.good is not None]
        if any(r.name is None or r.type_url != self.store.kind.type_url for r in resources):
            return  # Which one it stands for is not known: nothing is known to be absent.
        if not resources and held and self.extensions.compat == "strict":
            # THREATS X6 (xds-empty-wipe): an empty answer is a broken server, not a wish.
            why = f"an empty answer is ignored: {len(held)} resources stay"
            self.events.append(ConfigReported(self.store.kind.short_name, "", why))
            return
        for name in [*self.store.entries, *self.wanted.names]:
            if name not in counts:
                self._removed(name)

    def nack(self) -> str | None:
        """Every error of the response in one text, or None."""
        return nack_text(self.errors) if self.errors else None


def nack_text(errors: Sequence[str]) -> str:
    """Errors joined, at most 4 KiB; those that do not fit are counted."""
    text = ""
    for i, error in enumerate(errors):
        more = f"; and {len(errors) - i} more"
        candidate = f"{text}; {error}" if text else error
        if len(candidate.encode()) + len(more) > MAX_NACK:
            return (
                (text + more) if text else error.encode()[: MAX_NACK - 32].decode(errors="ignore")
            )
        text = candidate
    return text


def _count(resources: Sequence[Received]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for received in resources:
        if received.name is not None:
            counts[received.name] = counts.get(received.name, 0) + 1
    return counts


def _held(store: TypeStore) -> dict[str, str]:
    return {name: good.version for name, good in store.goods().items()}
