"""What is left of broken YAML is translated, whatever was lost."""

import random

import pytest

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.translate import translate
from tests import recorded_inputs, recordings

_NODES = (
    ("01-seed-mesh", "router-istio-ingressgateway"),
    ("05-virtual-service", "client-http-proxy"),
    ("06-destination-rule", "client"),
    ("07-service-entry-egress/allow-any", "client"),
    ("08-sidecar", "listeners"),
    ("08-sidecar", "none-mode"),
    ("09-telemetry-filters", "log-als"),
    ("10-grpc", "server"),
)
_VALUES = ("[]", "{}", "null", "7", "true", '""', "[null]", "[{}]", "{a: b}", "'*'", "0s", "a.b")


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "node"), _NODES)
def test_whatever_can_be_read_can_be_translated(folder: str, node: str) -> None:
    chance = random.Random(folder + node)
    whole = recorded_inputs.inputs(folder)
    for _ in range(30):
        texts = {name: _broken(text, chance) for name, text in whole.items()}
        loaded = load(texts)
        config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))

        state = translate(config, parse_proxy(recordings.node(folder, node)))

        assert "BlackHoleCluster" in state.clusters


def _broken(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(2):
        at = chance.randrange(len(lines))
        key, colon, _ = lines[at].partition(":")
        lines[at] = f"{key}{colon or ':'} {chance.choice(_VALUES)}"
    if chance.random() < 0.3:
        del lines[chance.randrange(len(lines))]
    return "\n".join(lines)
