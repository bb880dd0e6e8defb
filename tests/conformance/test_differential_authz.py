"""Random RBAC and JWT filters, held against a real Envoy with real mTLS identities;
`--envoy-cases N` for more: each case is ten requests."""

from pathlib import Path

import pytest

from meshsdk.cli.check.checker import Checker
from meshsdk.errors import ConfigError
from tests.conformance.corpus import Case, differences, is_rejected
from tests.conformance.random_policies import case
from tests.conformance.real_envoy import record

_AT_ONCE = 100
"""Cases that one Envoy serves."""


@pytest.mark.slow
def test_random_policies_are_decided_as_envoy_decides_them(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options = request.config.option
    number: int = options.envoy_cases
    seed: str = options.envoy_seed
    found: dict[str, object] = {}
    decided = 0
    for start in range(0, number, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, number))
        for asked in record([case(seed, n) for n in numbers], tmp_path / str(start)):
            decided += 0 if is_rejected(asked) else len(asked["requests"])
            differing = difference(asked)
            if differing:
                found[asked["name"]] = differing

    assert found == {}
    assert decided > number * 8, "Envoy refused most configurations: nothing was compared"


def difference(asked: Case) -> list[object]:
    """Where our outcomes are not those that Envoy gave."""
    try:
        outcomes = Checker(asked["config"]).run(asked["requests"])
    except ConfigError as error:
        return [] if is_rejected(asked) else [("refused", str(error))]
    if is_rejected(asked):
        return [("accepted", asked["expected"][0]["reason"])]
    return list(differences(asked, outcomes))
