"""Random route configurations and requests, held against a real Envoy; `--envoy-cases N` for more."""

from pathlib import Path

import pytest

from meshsdk.cli.check.checker import Checker
from meshsdk.errors import ConfigError
from tests.conformance.corpus import Case, differences, is_rejected
from tests.conformance.random_routes import case
from tests.conformance.real_envoy import record

_AT_ONCE = 100
"""Cases that one Envoy serves."""


@pytest.mark.slow
def test_random_routes_are_decided_as_envoy_decides_them(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options = request.config.option
    number: int = options.envoy_cases
    seed: str = options.envoy_seed
    found: dict[str, object] = {}
    for start in range(0, number, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, number))
        cases = [case(seed, n) for n in numbers]
        for asked in record(cases, tmp_path / str(start)):
            differs = difference(asked)
            if differs:
                found[asked["name"]] = differs

    assert found == {}


def difference(asked: Case) -> list[object]:
    """What is not as Envoy decided; a configuration that one side alone refuses is one."""
    try:
        outcomes = Checker(asked["config"]).run(asked["requests"])
    except ConfigError as error:
        return [] if is_rejected(asked) else [("refused", str(error))]
    if is_rejected(asked):
        return [("accepted", asked["expected"][0]["reason"])]
    return list(differences(asked, outcomes))
