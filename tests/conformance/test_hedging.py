"""Hedged calls against recordings of a real Envoy 1.40, times included."""

import json
from pathlib import Path

import pytest

from meshsdk.cli.check.checker import Checker
from tests.conformance.corpus import Case, differences

_CASES = json.loads(
    (Path(__file__).parent.parent / "data" / "conformance" / "hedging.json").read_text()
)
_NOISE = 40
"""Milliseconds by which two recordings differ."""


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case["name"])
def test_a_hedged_call_ends_as_envoys_does(case: Case) -> None:
    outcomes = Checker(case["config"]).run(case["requests"])

    assert list(differences(case, outcomes)) == []
    for expected, ours in zip(case["expected"], outcomes, strict=True):
        assert ours["elapsed_ms"] == pytest.approx(expected["elapsed_ms"], abs=_NOISE)
