"""envoy.type.v3.FractionalPercent and envoy.config.core.v3.RuntimeFractionalPercent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from meshsdk.clock import Random
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader

TABLE: Final = MessageTable(
    "envoy.type.v3.FractionalPercent", honoured("numerator", "denominator"), security=True
)
RUNTIME_TABLE: Final = MessageTable(
    "envoy.config.core.v3.RuntimeFractionalPercent",
    honoured("default_value", "runtime_key"),
    security=True,
)
_DENOMINATORS: Final = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


@dataclass(frozen=True, slots=True)
class Fraction:
    """A share of calls."""

    numerator: int
    denominator: int = 100

    def samples(self, random: Random) -> bool:
        """Whether this call is in the share."""
        if self.numerator <= 0:
            return False
        return self.numerator >= self.denominator or (
            random.randrange(self.denominator) < self.numerator
        )


ALWAYS: Final = Fraction(100)
NEVER: Final = Fraction(0)


def parse_fraction(reader: Reader) -> Fraction:
    """A FractionalPercent."""
    check(reader, TABLE)
    return Fraction(
        reader.integer("numerator", at_least=0),
        reader.enum("denominator", _DENOMINATORS, "HUNDRED"),
    )


def parse_runtime_fraction(reader: Reader, runtime: Mapping[str, object] | None = None) -> Fraction:
    """A RuntimeFractionalPercent: what the runtime layer says, else the default value.

    A number in the layer is a percentage (Envoy, Snapshot::featureEnabled).
    """
    check(reader, RUNTIME_TABLE)
    default = parse_fraction(reader.required_message("default_value"))
    return runtime_fraction(runtime, reader.string("runtime_key"), default)


def runtime_fraction(runtime: Mapping[str, object] | None, key: str, default: Fraction) -> Fraction:
    """What the runtime layer says of a key, else the default (Envoy, Snapshot::featureEnabled)."""
    found = None if runtime is None else runtime.get(key)
    match found:
        case bool() | None:
            return default
        case int() | float():
            return Fraction(int(found))
        case Mapping():
            return parse_fraction(Reader(cast("Mapping[str, object]", found), f"runtime[{key}]"))
        case _:
            return default


def runtime_integer(runtime: Mapping[str, object] | None, key: str, default: int) -> int:
    """A whole number of the runtime layer, else the default (Envoy, Snapshot::getInteger)."""
    found = None if runtime is None else runtime.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return default
    return int(found)
