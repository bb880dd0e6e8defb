"""Our decisions against those of a real Envoy 1.40, case by case, in everything that it recorded."""

import pytest

from meshsdk.cli.check.checker import Checker
from meshsdk.errors import ConfigError
from tests.conformance.corpus import Case, cases, differences, is_rejected

_CASES = cases()
EQUAL = [
    "cors",
    "csrf",
    "fault",
    "fuzz_jwt",
    "fuzz_lb",
    "fuzz_mesh",
    "fuzz_rbac",
    "fuzz_retry",
    "fuzz_routes",
    "header_mutation",
    "jwt_authn",
    "lb",
    "local_ratelimit",
    "rbac",
    "retry",
    "routes",
    "timeout",
    "tls",
]
"""Areas whose every outcome is Envoy's, flags, details and metadata included."""
NOT_EQUAL = {
    # A formatter that evaluates CEL is not built: such a call is answered by that name.
    ("routes", "headers-format-34"),
}
REFUSED = {
    "rbac_cel": "condition",
}
"""Areas whose filter is not built, and the word that its refusal names."""


def _of(area: str) -> list[Case]:
    return [case for case in _CASES[area] if (area, case["name"]) not in NOT_EQUAL]


def _run(case: Case) -> list[object]:
    """The differences; a configuration refused by one side alone is one."""
    try:
        outcomes = Checker(case["config"]).run(case["requests"])
    except ConfigError as error:
        return [] if is_rejected(case) else [("refused", str(error))]
    if is_rejected(case):
        return [("accepted", case["expected"][0].get("reason"))]
    return list(differences(case, outcomes))


@pytest.mark.slow
@pytest.mark.parametrize("area", EQUAL)
def test_every_outcome_of_an_area_is_envoys(area: str) -> None:
    found = {case["name"]: diffs for case in _of(area) if (diffs := _run(case))}

    assert found == {}


@pytest.mark.parametrize(("area", "name"), sorted(NOT_EQUAL))
def test_a_format_that_is_not_built_is_named_to_its_caller(area: str, name: str) -> None:
    case = next(c for c in _CASES[area] if c["name"] == name)

    outcomes = Checker(case["config"]).run(case["requests"])

    assert all("meshsdk_not_built" in str(o["details"]) for o in outcomes)


@pytest.mark.parametrize(("area", "word"), sorted(REFUSED.items()))
def test_a_filter_that_is_not_built_is_refused_by_name(area: str, word: str) -> None:
    for case in _CASES[area]:
        with pytest.raises(ConfigError) as refusal:
            Checker(case["config"])

        assert refusal.value.path.startswith("listener[check].filter_chains[0].filters")
        assert word in str(refusal.value)
