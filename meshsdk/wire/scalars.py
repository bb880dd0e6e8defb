"""Scalars of proto-JSON: numbers, booleans, strings, bytes, enums."""

import base64
import binascii
import difflib
import math
import re
import struct
from typing import Final, TypeGuard

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from meshsdk.config.kinds import kind_of
from meshsdk.errors import ConfigError

_F = FieldDescriptor
_RANGES: Final = {
    _F.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    _F.CPPTYPE_UINT32: (0, 2**32 - 1),
    _F.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    _F.CPPTYPE_UINT64: (0, 2**64 - 1),
}
_DIGITS: Final = re.compile(r"-?[0-9]{1,20}")
_MAX_FLOAT32: Final = 3.4028235677973366e38  # beyond it rounds to infinity


def read_scalar(
    field: FieldDescriptor, value: object, path: str, *, is_key: bool = False
) -> object:
    """A value for a field that is no message. Map keys are always text in JSON."""
    if field.enum_type is not None:
        return _enum(field.enum_type, value, path)
    if field.cpp_type in _RANGES:
        return _integer(field, value, path)
    match field.type:
        case _F.TYPE_BOOL:
            if is_key and value in ("true", "false"):
                return value == "true"
            if isinstance(value, bool):
                return value
            raise ConfigError(path, f"expected true or false, found {kind_of(value)}")
        case _F.TYPE_DOUBLE | _F.TYPE_FLOAT:
            return _number(value, path, is_float32=field.type == _F.TYPE_FLOAT)
        case _F.TYPE_BYTES:
            return _octets(value, path)
        case _:
            return _string(value, path)


def _string(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(path, f"expected a string, found {kind_of(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(path, "expected a string of Unicode, found half a surrogate") from None
    return value


def _integer(field: FieldDescriptor, value: object, path: str) -> int:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)  # every number of a TypedStruct is a double
    elif isinstance(value, str) and _DIGITS.fullmatch(value):
        number = int(value)
    if number is None:
        raise ConfigError(path, f"expected an integer, found {kind_of(value)}")
    low, high = _RANGES[field.cpp_type]
    if not low <= number <= high:
        raise ConfigError(path, f"expected an integer from {low} to {high}, found {number}")
    return number


def _number(value: object, path: str, *, is_float32: bool) -> float:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise ConfigError(path, f"expected a number, found {kind_of(value)}") from None
    if is_float32 and math.isfinite(number) and abs(number) >= _MAX_FLOAT32:
        raise ConfigError(path, f"expected a 32-bit number, found {kind_of(value)}")
    return number


def _octets(value: object, path: str) -> bytes:
    try:
        if not isinstance(value, str):
            raise ValueError
        text = value.replace("-", "+").replace("_", "/").rstrip("=")
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError(path, f"expected base64, found {kind_of(value)}") from None


def _enum(enum: EnumDescriptor, value: object, path: str) -> int:
    if isinstance(value, str):
        found = enum.values_by_name.get(value)
        if found is not None:
            return found.number
    elif _is_int32(value):
        return int(value)  # enums are open: a newer value travels as its number
    names = list(enum.values_by_name)
    near = difflib.get_close_matches(str(value).upper(), names, 1)
    expected = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(names)}"
    raise ConfigError(path, f"unknown {enum.full_name} {kind_of(value)}; {expected}")


def _is_int32(value: object) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -(2**31) <= value < 2**31 and int(value) == value


def float64_json(value: float) -> object:
    """A double as JSON has it: what is not finite is a string."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def float32_json(value: float) -> object:
    """A 32-bit float as the shortest decimal that is the same one."""
    if not math.isfinite(value):
        return float64_json(value)
    for digits in range(6, 9):
        short = float(f"{value:.{digits}g}")
        if struct.pack("f", short) == struct.pack("f", value):
            return short
    return float(f"{value:.9g}")
