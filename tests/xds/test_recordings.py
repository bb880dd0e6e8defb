"""Every recorded stream of a real istiod, replayed through the machine."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import cast

import pytest

from meshsdk.resources import RESOURCE_TYPES
from meshsdk.resources.hcm import HttpConnectionManager
from meshsdk.resources.listener import Listener
from meshsdk.wire.ads_codec import decode_request, decode_response
from meshsdk.wire.bootstrap_form import recorded_state
from meshsdk.xds.messages import Decoded, DiscoveryRequest, DiscoveryResponse, Received
from meshsdk.xds.store import digest
from tests import recordings
from tests.xds.pushes import LDS, Feed, finish

KNOWN = {kind.type_url for kind in RESOURCE_TYPES}
FOLDERS = sorted({folder for folder, _, _ in recordings.streams()})
STATES = {(folder, node) for folder, node, _ in recordings.states()}
# What has no code yet and is refused by name, with the place where it stands.
FILTER = r"listener\.filter_chains\[\d+\]\.filters\[\d+\]\.typed_config\.http_filters\[\d+\]"
EXPECTED = tuple(
    re.compile(text)
    for text in (
        rf"LDS \S+: {FILTER}\.typed_config: no HTTP filter takes type\.googleapis\.com/"
        r"envoy\.extensions\.filters\.http\.("
        r"ext_authz\.v3\.ExtAuthz|local_ratelimit\.v3\.LocalRateLimit|grpc_web\.v3\.GrpcWeb"
        r"|ext_proc\.v3\.ExternalProcessor|ratelimit\.v3\.RateLimit|lua\.v3\.Lua"
        r"|header_mutation\.v3\.HeaderMutation) \(filter '[\w.]+'\)",
        r"LDS \S+: listener\.filter_chains\[\d+\]\.filters\[\d+\]\.typed_config: no network filter"
        r" takes type\.googleapis\.com/envoy\.extensions\.filters\.network\."
        r"(mongo_proxy\.v3\.MongoProxy|ext_authz\.v3\.ExtAuthz) \(filter '[\w.]+'\)",
        r"CDS \S+: cluster\.transport_socket_matches\[0\]\.transport_socket\.typed_config: no"
        r" transport socket takes type\.googleapis\.com/envoy\.extensions\.transport_sockets\."
        r"proxy_protocol\.v3\.ProxyProtocolUpstreamTransport",
        # GENERATOR=grpc sends what Envoy would refuse too (virtual_hosts.name, min_len 1).
        r"LDS xds\.istio\.io/grpc/lds/inbound/\S+: listener\.filter_chains\[0\]\.filters\[0\]"
        r"\.typed_config\.route_config\.virtual_hosts\[0\]\.name: expected a string that is not"
        r" empty, found none",
    )
)


_DECODED: dict[tuple[str, bytes], Decoded] = {}


@dataclass(slots=True)
class Replayed:
    """What became of one stream."""

    feed: Feed
    answers: list[DiscoveryRequest] = field(default_factory=list[DiscoveryRequest])
    recorded: list[DiscoveryRequest] = field(default_factory=list[DiscoveryRequest])
    accepted: dict[tuple[str, str], Mapping[str, object]] = field(
        default_factory=dict[tuple[str, str], Mapping[str, object]]
    )
    """The data behind each newest accepted version."""
    sent: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Type and nonce of each response."""


@cache
def replay(folder: str, node: str, variant: recordings.Variant) -> Replayed:
    feed = Feed(variant, "proxyless" if node.startswith("grpc-") else "sidecar")
    made = Replayed(feed)
    for frame in recordings.stream(folder, node, variant):
        if frame.direction == "out":
            request = decode_request(frame.raw, variant).request
            made.recorded.append(request)
            if node.startswith("grpc-") and request.type_url == LDS:
                names = (*request.subscribe, *request.names)
                feed.take(feed.client.want(names, feed.clock.monotonic()))
        elif frame.direction == "in":
            response = decode_response(frame.raw, variant)
            made.sent.add((response.type_url, response.nonce))
            taking = feed.client.receive(shared(response), feed.clock.monotonic())
            feed.take(finish(taking))
            made.answers.extend(r for r in feed.update.requests if r.nonce == response.nonce)
            note_accepted(made, response)
    return made


def shared(response: DiscoveryResponse) -> DiscoveryResponse:
    """The response, with resources that are decoded once however many streams carry them."""

    def once(one: Received) -> Received:
        return replace(one, decode=lambda: decoded(one))

    return replace(response, resources=tuple(once(one) for one in response.resources))


def decoded(one: Received) -> Decoded:
    key = (one.type_url, one.raw)
    if key not in _DECODED:
        _DECODED[key] = one.decode()
    return _DECODED[key]


def note_accepted(made: Replayed, response: DiscoveryResponse) -> None:
    store = made.feed.client.stores.get(response.type_url)
    for one in response.resources:
        good = None if store is None or one.name is None else store.good(one.name)
        if good is not None and good.digest == digest(one.raw):
            made.accepted[response.type_url, one.name or ""] = decoded(one).data


def errors(made: Replayed) -> Iterator[str]:
    for answer in made.answers:
        if answer.error is not None:
            yield from answer.error.split("; ")


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_only_what_is_not_built_is_refused_and_by_its_name(folder: str) -> None:
    for where, node, variant in recordings.streams():
        if where != folder:
            continue
        made = replay(folder, node, variant)

        surprises = [e for e in errors(made) if not any(p.fullmatch(e) for p in EXPECTED)]

        assert surprises == [], (node, variant)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [f for f in FOLDERS if f != "11-updates/races"])
def test_every_answer_to_a_known_type_is_acked_with_the_recorded_nonce(folder: str) -> None:
    for where, node, variant in recordings.streams():
        if where != folder:
            continue
        made = replay(folder, node, variant)

        ours = {(r.type_url, r.nonce) for r in made.answers}
        theirs = {(r.type_url, r.nonce) for r in made.recorded if r.nonce}

        asked = {url for url, _ in ours}
        wanted = {one for one in theirs & made.sent if one[0] in asked}
        assert wanted - ours == set(), (node, variant)
        assert ours <= made.sent
        assert asked <= KNOWN


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_the_accepted_state_is_the_recorded_one(folder: str) -> None:
    for where, node, variant in recordings.streams():
        if where != folder or (folder, node) not in STATES:
            continue
        made = replay(folder, node, variant)

        state = {
            url.rpartition("/")[2]: named
            for url, named in recorded_state(recordings.state(folder, node)).items()
        }

        for kind in RESOURCE_TYPES:
            entries = made.feed.client.stores[kind.type_url].entries
            held = {name: e for name, e in entries.items() if e.good or e.refused}
            recorded = state.get(kind.type_url.rpartition("/")[2], {})
            place = (node, variant, kind.short_name)
            if kind.short_name in ("CDS", "LDS", "NDS") and not node.startswith("grpc-"):
                assert set(held) == set(recorded), place
            for name, entry in held.items():
                assert name in recorded, place
                if entry.refused is None:
                    ours = made.accepted[kind.type_url, name]
                    assert as_sets(ours) == as_sets(recorded[name]), place


def as_sets(state: object) -> object:
    """Virtual hosts and filter chains have no stable order between two recordings."""
    if isinstance(state, list):
        return [as_sets(item) for item in cast("list[object]", state)]
    if not isinstance(state, dict):
        return state
    found = {key: as_sets(value) for key, value in cast("dict[str, object]", state).items()}
    for key in found.keys() & {"virtual_hosts", "filter_chains"}:
        items = cast("list[object]", found[key])
        found[key] = sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return found


@pytest.mark.slow
def test_a_listener_that_asks_for_tokens_is_in_the_snapshot() -> None:
    made = replay("04-jwt", "sidecar-many", "delta")

    snapshot = made.feed.snapshots[-1]

    listener = snapshot.listeners["virtualInbound"]
    assert isinstance(listener, Listener)
    filters = {
        http_filter.name
        for chain in listener.filter_chains
        if isinstance(chain.terminal, HttpConnectionManager)
        for http_filter in chain.terminal.http_filters
    }
    assert "envoy.filters.http.jwt_authn" in filters
