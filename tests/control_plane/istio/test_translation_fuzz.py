"""Odd documents that are good enough to load: translating and encoding them never fails, since
one resource that cannot be encoded would keep all others from a node."""

import json
import random
import re
from collections.abc import Mapping
from typing import Final

import pytest

from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    ROUTE_CONFIGURATION,
    resource,
)
from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.translate import translate
from tests import recorded_inputs, recordings

_FOLDERS: Final = (
    "01-seed-mesh", "05-virtual-service", "06-destination-rule", "08-sidecar", "10-grpc",
    "07-service-entry-egress/allow-any", "02-peer-authentication/mesh-strict",
)  # fmt: skip
_VALUES: Final = (
    "[]", "{}", "null", "7", "true", "1.5", '""', "[null]", "[{}]", "-1", "0", "'*'", "a.b",
    "10.0.0.0/8", "999999", "'::1'", "unix:///x", "'*.x'", "SIMPLE", "NONE", "DNS", "STATIC",
    "0.0.0.0", "65535", "'~'", "1h", "4294967296", "9999999h",
)  # fmt: skip
_FIELD: Final = re.compile(r"(\s*(?:- )?[\w.-]+:)( .*)?")
_KEY_SETS: Final = KeySets(lambda _: None, '{"keys":[{"kty":"oct","k":"AA"}]}')


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_what_loads_can_be_translated(seed: int) -> None:
    chance = random.Random(seed)
    folder = chance.choice(_FOLDERS)
    nodes = [
        node
        for each, node, _ in recordings.states()
        if each == folder and not node.startswith("grpc-")
    ]
    texts = _mutated(recorded_inputs.inputs(folder), chance)

    loaded = load(texts)
    registry = build_registry(loaded, ip_autoallocate=bool(seed % 2))
    config = Config(loaded, registry, _KEY_SETS)
    node = recordings.node(folder, chance.choice(nodes))

    state = translate(config, parse_proxy(node))

    assert json.dumps(state.dump())
    for type_url, named in (
        (CLUSTER, state.clusters),
        (LOAD_ASSIGNMENT, state.endpoints),
        (LISTENER, state.listeners),
        (ROUTE_CONFIGURATION, state.routes),
    ):
        for name, data in named.items():
            resource(type_url, name, data)


def _mutated(texts: Mapping[str, str], chance: random.Random) -> dict[str, str]:
    lines = {name: text.split("\n") for name, text in texts.items()}
    for _ in range(chance.randint(1, 12)):
        _mutate(lines[chance.choice(sorted(lines))], chance)
    return {name: "\n".join(each) for name, each in lines.items()}


def _mutate(lines: list[str], chance: random.Random) -> None:
    i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
    found = _FIELD.fullmatch(lines[i])
    match chance.randrange(5):
        case 0 | 1 | 2 if found is not None:
            lines[i] = f"{found[1]} {chance.choice(_VALUES)}"
        case 3:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            lines.insert(i, lines[j])
