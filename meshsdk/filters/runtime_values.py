"""Values that a runtime layer may replace: RuntimeDouble, RuntimePercent and their kin.

Source: envoy.config.core.v3.
"""

from collections.abc import Mapping
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader

_FIELDS: Final = honoured("default_value", "runtime_key")
FLAG: Final = MessageTable("envoy.config.core.v3.RuntimeFeatureFlag", _FIELDS)
DOUBLE: Final = MessageTable("envoy.config.core.v3.RuntimeDouble", _FIELDS)
PERCENT: Final = MessageTable("envoy.config.core.v3.RuntimePercent", _FIELDS)
UINT32: Final = MessageTable("envoy.config.core.v3.RuntimeUInt32", _FIELDS)
PLAIN_PERCENT: Final = MessageTable("envoy.type.v3.Percent", honoured("value"))
TABLES: Final = (FLAG, DOUBLE, PERCENT, UINT32, PLAIN_PERCENT)
Runtime = Mapping[str, object] | None


def _found(reader: Reader, runtime: Runtime) -> object:
    return None if runtime is None else runtime.get(reader.string("runtime_key"))


def _number(reader: Reader, runtime: Runtime, default: float) -> float:
    found = _found(reader, runtime)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return default
    return float(found)


def runtime_flag(reader: Reader, field: str, runtime: Runtime, default: bool) -> bool:
    """A RuntimeFeatureFlag field."""
    flag = reader.message(field)
    if flag is None:
        return default
    check(flag, FLAG)
    found = _found(flag, runtime)
    return found if isinstance(found, bool) else flag.boolean("default_value", default)


def runtime_double(reader: Reader, field: str, runtime: Runtime, default: float) -> float:
    """A RuntimeDouble field."""
    value = reader.message(field)
    if value is None:
        return default
    check(value, DOUBLE)
    return _number(value, runtime, value.number("default_value"))


def runtime_uint32(reader: Reader, field: str, runtime: Runtime, default: int) -> int:
    """A RuntimeUInt32 field."""
    value = reader.message(field)
    if value is None:
        return default
    check(value, UINT32)
    return int(_number(value, runtime, value.integer("default_value", at_least=0)))


def runtime_percent(reader: Reader, field: str, runtime: Runtime, default: float) -> float:
    """A RuntimePercent field, in percent."""
    value = reader.message(field)
    if value is None:
        return default
    check(value, PERCENT)
    return _number(value, runtime, percent(value, "default_value", 0.0))


def percent(reader: Reader, field: str, default: float) -> float:
    """A Percent field."""
    value = reader.message(field)
    if value is None:
        return default
    check(value, PLAIN_PERCENT)
    found = value.number("value")
    if not 0 <= found <= 100:
        raise value.error_at("value", f"expected 0 to 100, found {found:g}")
    return found
