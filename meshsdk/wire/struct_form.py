"""google.protobuf.Struct, Value and ListValue from plain data and back."""

from collections.abc import Mapping
from typing import Any, cast

from meshsdk.config.kinds import kind_of
from meshsdk.errors import ConfigError
from meshsdk.wire.expect import check_depth, mapping, sequence
from meshsdk.wire.scalars import float64_json

# One object within another is three messages deep: map entry, Value, Struct.


def fill_struct(message: Any, data: object, path: str, depth: int) -> None:
    """An object into a Struct; `depth` counts the messages around it."""
    for key, value in mapping(data, path, "an object").items():
        if not isinstance(key, str):
            raise ConfigError(path, f"expected string keys, found {kind_of(key)}")
        fill_value(message.fields[key], value, f"{path}.{key}" if path else key, depth + 2)


def fill_list(message: Any, data: object, path: str, depth: int) -> None:
    """A list into a ListValue."""
    for i, item in enumerate(sequence(data, path)):
        fill_value(message.values.add(), item, f"{path}[{i}]", depth + 1)


def fill_value(message: Any, data: object, path: str, depth: int) -> None:
    """Anything that JSON can say into a Value."""
    check_depth(depth, path)
    match data:
        case None:
            message.null_value = 0
        case bool():
            message.bool_value = data
        case str():
            message.string_value = data
        case int() | float():
            message.number_value = _double(data, path)
        case Mapping():
            message.struct_value.SetInParent()
            fill_struct(message.struct_value, cast("object", data), path, depth + 1)
        case list() | tuple():
            message.list_value.SetInParent()
            fill_list(message.list_value, cast("object", data), path, depth + 1)
        case _:
            raise ConfigError(path, f"expected plain data, found {kind_of(data)}")


def _double(data: int | float, path: str) -> float:
    try:
        return float(data)
    except OverflowError:
        raise ConfigError(path, "expected a number that fits a double") from None


def plain_struct(message: Any) -> dict[str, object]:
    """A Struct as an object. Its numbers are doubles and stay floats."""
    fields = message.fields
    return {key: plain_value(fields[key]) for key in fields}


def plain_value(message: Any) -> object:
    """A Value as plain data."""
    match message.WhichOneof("kind"):
        case "string_value":
            return message.string_value
        case "struct_value":
            return plain_struct(message.struct_value)
        case "number_value":
            return float64_json(message.number_value)
        case "bool_value":
            return message.bool_value
        case "list_value":
            return [plain_value(item) for item in message.list_value.values]
        case _:
            return None
