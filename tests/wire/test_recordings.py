"""Every frame that a real istiod sent, and the states that they add up to."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from meshsdk.wire.ads_codec import decode_request, decode_response
from meshsdk.wire.bootstrap_form import SHORT_NAMES, recorded_state
from meshsdk.wire.pool import full_name
from meshsdk.xds.messages import Decoded, DiscoveryResponse, Received
from tests import recordings

SHORT = {message: short for short, message in SHORT_NAMES.items()}
FOLDERS = sorted({folder.partition("/")[0] for folder, _, _ in recordings.streams()})
Read = Callable[[Received], Decoded]


@pytest.fixture(scope="module")
def read() -> Read:
    known: dict[tuple[str, bytes], Decoded] = {}

    def once(resource: Received) -> Decoded:
        key = (resource.type_url, resource.raw)
        if key not in known:
            known[key] = resource.decode()
        return known[key]

    return once


def pushes(folder: str, node: str, variant: recordings.Variant) -> list[DiscoveryResponse]:
    frames = recordings.stream(folder, node, variant)
    return [decode_response(f.raw, variant) for f in frames if f.direction == "in"]


@pytest.mark.slow
@pytest.mark.parametrize("group", FOLDERS)
def test_every_resource_decodes_without_unknown_fields(group: str, read: Read) -> None:
    for folder, node, variant in recordings.streams():
        if folder.partition("/")[0] != group:
            continue
        for response in pushes(folder, node, variant):
            for resource in response.resources:
                if not resource.type_url:
                    continue  # istio.io/debug answers without a resource
                found = read(resource)
                assert found.unknown == ()
                own = found.data.get("name", found.data.get("cluster_name", ""))
                assert resource.name == own


@pytest.mark.slow
@pytest.mark.parametrize("group", FOLDERS)
def test_the_frames_of_a_delta_stream_add_up_to_the_recorded_state(group: str, read: Read) -> None:
    for folder, node, state in recordings.states():
        if folder.partition("/")[0] != group:
            continue
        held: dict[str, dict[str | None, Any]] = {short: {} for short in state}

        for response in pushes(folder, node, "delta"):
            named = held.setdefault(SHORT.get(full_name(response.type_url), "other"), {})
            named.update((r.name, read(r).data) for r in response.resources if r.type_url)
            for name in response.removed:
                named.pop(name, None)

        for type_url, wanted in recorded_state(state).items():
            assert sets(held[SHORT[full_name(type_url)]]) == sets(wanted)


def sets(state: object) -> object:
    """The order of virtual hosts and filter chains is not stable between two recordings."""
    if isinstance(state, list):
        return [sets(item) for item in cast("list[object]", state)]
    if not isinstance(state, dict):
        return state
    out: dict[str, object] = {}
    for key, value in sorted(cast("dict[str, object]", state).items()):
        out[key] = sets(value)
        if key in ("virtual_hosts", "filter_chains"):
            out[key] = sorted(cast("list[object]", out[key]), key=repr)
    return out


def test_the_requests_of_a_real_client_are_read() -> None:
    frames = recordings.stream("01-seed-mesh", "frontend", "delta")

    requests = [decode_request(f.raw, "delta") for f in frames if f.direction == "out"]

    assert requests[0].request.first
    assert requests[0].node == recordings.node("01-seed-mesh", "frontend")
    assert requests[0].request.type_url == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    assert not any(r.request.first for r in requests[1:])
    acks = [r.request for r in requests if r.request.nonce]
    assert acks
    assert all(ack.error is None for ack in acks)


def test_a_recorded_nack_has_its_error() -> None:
    errors = [
        request.error
        for folder, node, variant in recordings.streams()
        if folder.startswith("11-updates")
        for frame in recordings.stream(folder, node, variant)
        if frame.direction == "out"
        and (request := decode_request(frame.raw, variant).request).error is not None
    ]

    assert errors
