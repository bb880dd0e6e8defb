"""Typed configs: an Any, also where a TypedStruct wraps a type that has no descriptor."""

from typing import Final

from meshsdk.config.reader import Reader
from meshsdk.resources.skipped_filters import TYPED_STRUCTS

_VALUE: Final = "value"


def open_typed(reader: Reader) -> Reader:
    """The config inside a TypedStruct; any other config as it is.

    `wire/` opens those whose type has a descriptor; what is left is of types of the user's own.
    """
    if reader.type_url not in TYPED_STRUCTS:
        return reader
    inner = dict(reader.struct(_VALUE))
    inner["@type"] = reader.required_string("type_url")
    return Reader(inner, f"{reader.path}.{_VALUE}")
