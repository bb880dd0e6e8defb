"""Fractions and their runtime keys."""

import random
from collections.abc import Mapping

import pytest

from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.matching.fraction import Fraction, parse_fraction, parse_runtime_fraction


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Fraction(0, 100)),
        ({"numerator": 7}, Fraction(7, 100)),
        ({"numerator": 7, "denominator": "TEN_THOUSAND"}, Fraction(7, 10_000)),
        ({"numerator": 7, "denominator": "MILLION"}, Fraction(7, 1_000_000)),
    ],
)
def test_a_fraction_has_one_of_three_denominators(
    config: Mapping[str, object], expected: Fraction
) -> None:
    assert parse_fraction(Reader(config)) == expected


def test_a_fraction_samples_its_share() -> None:
    chance = random.Random(1)

    hits = sum(Fraction(30).samples(chance) for _ in range(2000))
    assert 540 <= hits <= 660
    assert not any(Fraction(0).samples(chance) for _ in range(100))
    assert all(Fraction(100).samples(chance) for _ in range(100))


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [
        (None, Fraction(5)),
        ({}, Fraction(5)),
        ({"key": 20}, Fraction(20)),
        ({"key": {"numerator": 2, "denominator": "MILLION"}}, Fraction(2, 1_000_000)),
        ({"key": "words"}, Fraction(5)),
    ],
)
def test_the_runtime_layer_overrides_the_default(
    runtime: Mapping[str, object] | None, expected: Fraction
) -> None:
    config = {"runtime_key": "key", "default_value": {"numerator": 5}}

    assert parse_runtime_fraction(Reader(config), runtime) == expected


def test_an_unknown_denominator_is_refused() -> None:
    with pytest.raises(ConfigError, match="denominator"):
        parse_fraction(Reader({"numerator": 1, "denominator": 9}))
