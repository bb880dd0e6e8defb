"""Our translation against the states that a real istiod 1.29.6 sent for the same documents.

What differs, and why: docs/reference/control-plane-translation.md.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

import pytest

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.request_authentication import JwtRule
from meshsdk.control_plane.istio.translate import translate
from meshsdk.wire.ads_codec import decode_response
from tests import recorded_inputs, recordings
from tests.feed_comparison import compare

_FETCHED_URI: Final = "http://127.0.0.1:15199/app/jwks.json"


@dataclass(frozen=True, slots=True)
class _Expected:
    """Percent of fields, at least."""

    security: float = 100.0
    traffic: float = 100.0


_FOLDERS: Final[Mapping[str, _Expected]] = {
    "01-seed-mesh": _Expected(),
    "02-peer-authentication/mesh-permissive": _Expected(),
    "02-peer-authentication/mesh-strict": _Expected(),
    "03-authorization": _Expected(),
    "04-jwt": _Expected(),
    "05-virtual-service": _Expected(),
    "06-destination-rule": _Expected(),
    "07-service-entry-egress/allow-any": _Expected(),
    "07-service-entry-egress/registry-only": _Expected(),
    "07-service-entry-egress/no-ip-autoallocate": _Expected(),
    "08-sidecar": _Expected(),
    "09-telemetry-filters": _Expected(),
    "10-grpc": _Expected(),
    "11-updates": _Expected(),
}
_NOT_BUILT: Final = ("sidecar-ef-", "sidecar-wasm")  # EnvoyFilter and WasmPlugin, refused by name
_ALSO: Final = ("81", "9999", "nope.example:77")  # what the client of 11 asked for besides
_ALSO_EDS: Final = ("outbound|80||nope.shop.svc.cluster.local",)


def _nodes() -> list[tuple[str, str]]:
    return [
        (folder, node)
        for folder, node, _ in recordings.states()
        if folder in _FOLDERS and node.startswith("sidecar-") and not node.startswith(_NOT_BUILT)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "node"), _nodes())
def test_a_node_gets_what_istiod_sent(folder: str, node: str) -> None:
    recorded: Any = recordings.state(folder, node)
    config = _config(folder)
    if "remote-jwks" in node:
        config = replace(config, key_sets=replace(config.key_sets, is_remote=True))
    is_updated = folder == "11-updates"

    state = translate(
        config,
        parse_proxy(recordings.node(folder, node)),
        _ALSO if is_updated else (),
        _ALSO_EDS if is_updated else (),
    )

    found = compare(_with_stand_in(recorded), _as_json(state.dump()))
    expected = _FOLDERS[folder]
    assert found.share("security") >= expected.security, found.different[:20]
    assert found.share("traffic") >= expected.traffic, found.different[:20]
    assert _hosts(recorded) == _hosts(state.dump())


@pytest.mark.slow
def test_a_thousand_services_are_as_istiod_sent_them() -> None:
    recorded = _final_state("13-scale", "sidecar-client")
    node = recordings.node("13-scale", "sidecar-client")

    state = translate(_config("13-scale"), parse_proxy(node))

    found = compare(recorded, _as_json(state.dump()))
    assert found.share("security") == 100.0, found.different[:20]
    assert found.share("traffic") == 100.0, found.different[:20]


@cache
def _config(folder: str) -> Config:
    texts = recorded_inputs.inputs(folder)
    for name, text in recorded_inputs.steps(folder).items():
        texts[name.partition("-")[2]] = text
    loaded = load(texts)
    registry = build_registry(loaded, ip_autoallocate="no-ip-autoallocate" in folder)
    return Config(loaded, registry, KeySets(_fetched, _STAND_IN))


def _fetched(rule: JwtRule) -> str | None:
    return _key_set() if rule.jwks_uri == _FETCHED_URI else None


@cache
def _key_set() -> str:
    """The one that istiod had fetched."""
    text = json.dumps(recordings.state("04-jwt", "sidecar-uri"))
    found: str = json.loads(_KEY_SET.findall(text)[0])
    return found


_STAND_IN: Final = '{"keys":[{"kty":"RSA","e":"AQAB","n":"sXch"}]}'
_KEY_SET: Final = re.compile(r'"inline_string": ("\{(?:[^"\\]|\\.)*")')
_NOBODYS: Final = "0xObjM0UvS_oaazjpEYl"  # istiod's own, of a key set that could not be fetched


def _with_stand_in(recorded: object) -> Any:
    """Key sets that could not be fetched are the same whoever made them up."""
    text = json.dumps(recorded)
    for each in _KEY_SET.findall(text):
        if _NOBODYS in each:
            text = text.replace(each, json.dumps(_STAND_IN))
    return json.loads(text)


def _as_json(state: object) -> Any:
    return json.loads(json.dumps(state))


def _hosts(state: Mapping[str, Any]) -> set[str]:
    return set(state["NDS"][""]["table"])


def _final_state(folder: str, node: str) -> dict[str, dict[str, Any]]:
    """The resources at the first moment that has them all: before the recorded changes."""
    found: dict[str, dict[str, Any]] = {"CDS": {}, "LDS": {}, "EDS": {}, "RDS": {}, "NDS": {}}
    kinds = {
        "Cluster": "CDS",
        "Listener": "LDS",
        "ClusterLoadAssignment": "EDS",
        "RouteConfiguration": "RDS",
        "NameTable": "NDS",
    }
    for frame in recordings.stream(folder, node, "delta"):
        kind = kinds.get(frame.type_url.rpartition(".")[2])
        if frame.direction != "in" or kind is None or found[kind]:
            continue
        for resource in decode_response(frame.raw, "delta").resources:
            found[kind][resource.name or ""] = _as_json(resource.decode().data)
    return found
