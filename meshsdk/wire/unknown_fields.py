"""Where the fields are that our descriptors do not have. Slow, and nearly never needed:
`json_writer` says whether there are any."""

from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from meshsdk.wire.paths import join
from meshsdk.wire.pool import find_message_class, full_name, parse_message
from meshsdk.wire.typed_struct import open_typed_struct
from meshsdk.wire.well_known import ANY, TYPED_STRUCTS, is_map_entry, is_repeated
from meshsdk.xds.messages import UnknownField


def find_unknown(message: Any, path: str, unknown: list[UnknownField]) -> None:
    """Append every unknown field of a message and of what is in it, also inside Any."""
    descriptor = message.DESCRIPTOR
    fields: Any = UnknownFieldSet(message)
    unknown.extend(
        UnknownField(path, descriptor.full_name, number)
        for number in dict.fromkeys(field.field_number for field in fields)
    )
    if descriptor.full_name == ANY:
        _find_in_any(message, path, unknown)
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        at = join(path, field.name)
        if is_map_entry(field.message_type):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    find_unknown(value[key], f"{at}[{key}]", unknown)
        elif is_repeated(field):
            for i, item in enumerate(value):
                find_unknown(item, f"{at}[{i}]", unknown)
        else:
            find_unknown(value, at, unknown)


def _find_in_any(message: Any, path: str, unknown: list[UnknownField]) -> None:
    name = full_name(message.type_url)
    if find_message_class(name) is None:
        return
    inner: Any = parse_message(name, message.value)
    if name in TYPED_STRUCTS:
        typed, names = open_typed_struct(inner, strict=False)
        if typed is not None:
            unknown.extend(
                UnknownField(join(path, found.path), found.message, 0, found.name)
                for found in names
            )
            inner = typed
    find_unknown(inner, path, unknown)
