"""The recorded-feed server itself: what it plays, and what it does not forgive."""

from collections.abc import Mapping, Sequence

import pytest

from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    NAME_TABLE,
    ROUTE_CONFIGURATION,
)
from meshsdk.wire.ads_codec import decode_request
from meshsdk.wire.ads_stream import AdsTransport
from meshsdk.wire.channel import open_channel
from meshsdk.wire.json_form import normalize
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, StreamEnded, Variant
from tests.recorded_feed import Playback, RecordedFeed
from tests.recordings import Frame, node, state, stream, streams

SHORT = {
    CLUSTER: "CDS",
    LOAD_ASSIGNMENT: "EDS",
    LISTENER: "LDS",
    ROUTE_CONFIGURATION: "RDS",
    NAME_TABLE: "NDS",
}


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


def recorded_state() -> Mapping[str, Mapping[str, object]]:
    """The frontend's, in the form that the transport gives."""
    long = {short: type_url for type_url, short in SHORT.items()}
    return {
        short: {name: normalize(long[short], data) for name, data in named.items()}
        for short, named in state("01-seed-mesh", "frontend").items()
    }


def request(variant: Variant, type_url: str, *names: str, first: bool = False) -> DiscoveryRequest:
    delta = variant == "delta"
    return DiscoveryRequest(
        type_url, subscribe=names if delta else (), names=() if delta else names, first=first
    )


def ack(variant: Variant, response: DiscoveryResponse, names: Sequence[str]) -> DiscoveryRequest:
    sent = () if variant == "delta" else tuple(names)
    return DiscoveryRequest(
        response.type_url, nonce=response.nonce, version=response.version, names=sent
    )


def play(feed: RecordedFeed, wildcards: Sequence[str]) -> Mapping[str, Mapping[str, object]]:
    """A client as simple as can be: what it holds at the end, in the words of the recordings."""
    variant, held = feed.variant, dict[str, dict[str, object]]()
    asked = {type_url: tuple[str, ...]() for type_url in wildcards}
    with open_channel(feed.address, None) as channel:
        ads = AdsTransport(channel, variant, node("01-seed-mesh", "frontend")).open()
        for type_url in wildcards:
            names = ("*",) if variant == "delta" else ()
            ads.send(request(variant, type_url, *names, first=type_url == wildcards[0]))
        for event in ads:
            if isinstance(event, StreamEnded):
                break
            resources = {str(each.name): each.decode().data for each in event.resources}
            held.setdefault(SHORT[event.type_url], {}).update(resources)
            ads.send(ack(variant, event, asked[event.type_url]))
            if event.type_url == CLUSTER:
                eds = sorted(name for name, data in resources.items() if data.get("type") == "EDS")
                asked[LOAD_ASSIGNMENT] = tuple(eds)
                ads.send(request(variant, LOAD_ASSIGNMENT, *eds))
            if event.type_url == LISTENER:
                asked[ROUTE_CONFIGURATION] = ("80",)
                ads.send(request(variant, ROUTE_CONFIGURATION, "80"))
            if set(held) == set(state("01-seed-mesh", "frontend")):
                assert feed.wait_played()
                ads.close()
    return held


def test_a_client_ends_in_the_recorded_state(variant: Variant) -> None:
    with RecordedFeed.of("01-seed-mesh", "frontend", variant) as feed:
        held = play(feed, [CLUSTER, LISTENER, NAME_TABLE])

    assert held == recorded_state()
    assert feed.wait_played(0)
    assert feed.received[0].node == node("01-seed-mesh", "frontend")
    assert feed.streams == 1


def test_the_order_between_types_is_free(variant: Variant) -> None:
    with RecordedFeed.of("01-seed-mesh", "frontend", variant) as feed:
        held = play(feed, [NAME_TABLE, LISTENER, CLUSTER])

    assert held == recorded_state()


def test_a_request_that_was_not_recorded_ends_the_stream_and_is_kept(variant: Variant) -> None:
    feed = RecordedFeed.of("01-seed-mesh", "frontend", variant)
    with feed, open_channel(feed.address, None) as channel:
        ads = AdsTransport(channel, variant, {"id": "x"}).open()
        ads.send(request(variant, ROUTE_CONFIGURATION, "8080"))
        (ended,) = ads

    assert isinstance(ended, StreamEnded)
    assert ended.code == "INVALID_ARGUMENT"
    assert "'8080'" in feed.mismatches[0]
    assert not feed.wait_played(0)


def test_a_client_of_the_other_variant_is_told_unimplemented(variant: Variant) -> None:
    other: Variant = "sotw" if variant == "delta" else "delta"
    feed = RecordedFeed.of("01-seed-mesh", "frontend", variant)
    with feed, open_channel(feed.address, None) as channel:
        ads = AdsTransport(channel, other, {"id": "x"}).open()
        (ended,) = ads

    assert isinstance(ended, StreamEnded)
    assert ended.code == "UNIMPLEMENTED"


@pytest.mark.parametrize(("folder", "name", "recorded"), list(streams()))
def test_the_recorded_client_gets_the_recorded_bytes_in_order(
    folder: str, name: str, recorded: Variant
) -> None:
    frames = stream(folder, name, recorded)
    playback = Playback(frames, recorded)

    played: list[Frame] = []
    for frame in frames:
        if frame.direction == "out":
            assert playback.take(decode_request(frame.raw, recorded).request) is None
            played.extend(playback.due())

    assert playback.is_over
    received = [frame.raw for frame in frames if frame.direction == "in"]
    assert sorted(frame.raw for frame in played) == sorted(received)
    if folder == "01-seed-mesh":
        assert [frame.raw for frame in played] == received
