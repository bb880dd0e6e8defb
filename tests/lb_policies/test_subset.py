"""Subsets."""

import pytest

from tests.lb_policies.clusters import Balanced, group, labelled

HOSTS = group(
    labelled(1, version="v1", stage="prod"),
    labelled(2, version="v2", stage="prod"),
    labelled(3, version="v2", stage="test"),
    labelled(4, stage="prod"),
)


def balanced(**subset: object) -> Balanced:
    return Balanced(HOSTS, lb_subset_config=subset)


# (config, criteria) -> ports that may be picked; 0: none.
CASES: list[tuple[dict[str, object], dict[str, object], set[int]]] = [
    ({"subset_selectors": [{"keys": ["version"]}]}, {"version": "v2"}, {2, 3}),
    ({"subset_selectors": [{"keys": ["version"]}]}, {"version": "v3"}, {0}),
    ({"subset_selectors": [{"keys": ["version"]}]}, {}, {0}),
    ({"subset_selectors": [{"keys": ["version"]}]}, {"version": "v2", "stage": "test"}, {0}),
    (
        {"subset_selectors": [{"keys": ["version", "stage"]}]},
        {"stage": "test", "version": "v2"},
        {3},
    ),
    (
        {"subset_selectors": [{"keys": ["version"]}], "fallback_policy": "ANY_ENDPOINT"},
        {"version": "v3"},
        {1, 2, 3, 4},
    ),
    (
        {
            "subset_selectors": [{"keys": ["version"]}],
            "fallback_policy": "DEFAULT_SUBSET",
            "default_subset": {"stage": "test"},
        },
        {"version": "v3"},
        {3},
    ),
    (
        {
            "subset_selectors": [{"keys": ["version"]}],
            "fallback_policy": "DEFAULT_SUBSET",
            "default_subset": {"stage": "gone"},
            "panic_mode_any": True,
        },
        {"version": "v3"},
        {1, 2, 3, 4},
    ),
    (
        {
            "subset_selectors": [
                {
                    "keys": ["version", "stage"],
                    "fallback_policy": "KEYS_SUBSET",
                    "fallback_keys_subset": ["stage"],
                },
                {"keys": ["stage"]},
            ]
        },
        {"version": "v9", "stage": "test"},
        {3},
    ),
    (
        {
            "subset_selectors": [{"keys": ["version"], "fallback_policy": "NO_FALLBACK"}],
            "fallback_policy": "ANY_ENDPOINT",
        },
        {"version": "v3"},
        {0},
    ),
    (
        {"subset_selectors": [{"keys": ["version"]}], "allow_redundant_keys": True},
        {"version": "v1", "stage": "test"},
        {1},
    ),
    (
        {
            "subset_selectors": [{"keys": ["version"]}],
            "metadata_fallback_policy": "FALLBACK_LIST",
        },
        {"fallback_list": [{"version": "v3"}, {"version": "v1"}]},
        {1},
    ),
    (
        {"subset_selectors": [{"keys": ["stage"], "single_host_per_subset": True}]},
        {"stage": "prod"},
        {1},
    ),
]


@pytest.mark.parametrize(("config", "criteria", "expected"), CASES)
def test_criteria_find_their_subset_or_its_fallback(
    config: dict[str, object], criteria: dict[str, object], expected: set[int]
) -> None:
    picks = balanced(**config).picks(40, metadata_match=criteria)

    assert set(picks) == expected


def test_a_list_value_puts_a_host_into_several_subsets() -> None:
    listed = group(labelled(1, version=["v1", "v2"]), labelled(2, version="v2"))
    config = {"subset_selectors": [{"keys": ["version"]}], "list_as_any": True}

    both = Balanced(listed, lb_subset_config=config)

    assert set(both.picks(20, metadata_match={"version": "v2"})) == {1, 2}
    assert set(both.picks(20, metadata_match={"version": "v1"})) == {1}


def test_true_and_one_are_different_values() -> None:
    flags = group(labelled(1, on=True), labelled(2, on=1))
    both = Balanced(flags, lb_subset_config={"subset_selectors": [{"keys": ["on"]}]})

    assert set(both.picks(10, metadata_match={"on": True})) == {1}
    assert set(both.picks(10, metadata_match={"on": 1.0})) == {2}


def test_a_subset_config_without_selectors_is_switched_off() -> None:
    assert set(balanced().picks(40)) == {1, 2, 3, 4}
