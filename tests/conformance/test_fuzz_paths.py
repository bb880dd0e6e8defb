"""Random request targets through the path pipeline: `--path-fuzz N` for more than these, and
`--envoy-cases N` for more that a real Envoy is asked about, 100 in each case."""

from pathlib import Path

import pytest

from meshsdk.call.message import LocalReply, Request
from meshsdk.config.reader import Reader
from meshsdk.downstream.app_path import decoded, decoded_octets
from meshsdk.resources.hcm_options import HcmOptions, parse_hcm_options
from meshsdk.routing.canonical import canonicalize
from tests.conformance.random_paths import MODES, case, target
from tests.conformance.random_routes import Dice
from tests.conformance.real_envoy import record
from tests.conformance.test_differential_authz import difference
from tests.filters.policy_case import STRICT
from tests.routing.calls import context

_AT_ONCE = 40
_CASES = 10


def _options(mode: dict[str, object]) -> HcmOptions:
    return parse_hcm_options(Reader({"generate_request_id": False, **mode}), STRICT)


@pytest.mark.slow
def test_what_passes_is_a_fixed_point_and_nothing_crashes(request: pytest.FixtureRequest) -> None:
    number: int = request.config.option.path_fuzz
    dice = Dice(request.config.option.envoy_seed)
    modes = [_options(mode) for mode in MODES]
    call = context()
    passed = 0

    for i in range(number):
        mode = modes[i % len(modes)]
        asked = target(dice)
        found = canonicalize(Request("GET", "a.test", asked), mode, call)
        if isinstance(found, LocalReply):
            assert found.status in (307, 400), asked
            continue
        passed += 1
        again = canonicalize(Request("GET", "a.test", found.path), mode, call)
        assert isinstance(again, Request), asked
        assert again.path == found.path, asked
        bare = found.path.partition("?")[0]
        if mode.normalize_path:
            segments = decoded(bare).split("/")
            assert not {".", ".."} & set(segments), asked
        assert decoded_octets(bare).count("/") == bare.count("/"), asked

    assert passed > number // 4


@pytest.mark.slow
def test_random_targets_are_forwarded_as_envoy_forwards_them(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options = request.config.option
    number = max(_CASES, options.envoy_cases // 6)
    found: dict[str, object] = {}

    for start in range(0, number, _AT_ONCE):
        cases = [case(options.envoy_seed, n) for n in range(start, min(start + _AT_ONCE, number))]
        for asked in record(cases, tmp_path / str(start)):
            differing = difference(asked)
            if differing:
                found[asked["name"]] = differing

    assert found == {}
