"""Messages to canonical proto-JSON, with what was not understood.

One walker per descriptor, compiled on first use: istiod sends thousands of resources at a time,
and `json_format` is several times slower and refuses an unknown Any.
"""

import base64
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from meshsdk.errors import ConfigError
from meshsdk.wire.paths import at_field, at_index, at_key
from meshsdk.wire.pool import TYPE_URL_PREFIX, find_message_class, full_name, parse_message
from meshsdk.wire.scalars import float32_json, float64_json
from meshsdk.wire.struct_form import plain_struct, plain_value
from meshsdk.wire.typed_struct import open_typed_struct
from meshsdk.wire.well_known import (
    ANY,
    BARE,
    DURATION,
    FIELD_MASK,
    LIST_VALUE,
    STRUCT,
    TIMESTAMP,
    TYPED_STRUCTS,
    VALUE,
    WRAPPERS,
    duration_text,
    is_map_entry,
    is_repeated,
)

# The list is None when nobody asks for unknown fields; else it gets one item per message that has
# any. Their paths are worked out afterwards: nearly always there are none.
Seen: TypeAlias = list[None] | None
_Convert: TypeAlias = Callable[[Any, Seen], object]
_F = FieldDescriptor

_walkers: dict[Descriptor, _Convert] = {}


def write(message: Message, seen: Seen) -> dict[str, object]:
    """A message that is a JSON object, canonical; see `json_form.to_json`."""
    data = _walker(message.DESCRIPTOR)(message, seen)
    if not isinstance(data, dict):
        raise TypeError(f"{message.DESCRIPTOR.full_name} is no JSON object")
    return cast("dict[str, object]", data)


def _walker(descriptor: Any) -> _Convert:
    found = _walkers.get(descriptor)
    if found is None:
        found = _well_known(descriptor.full_name) or _message_walker()
        _walkers[descriptor] = found
    return found


def _message_walker() -> _Convert:
    # Filled with the fields that occur, so that a first message costs what it has and not what
    # its type could have.
    fields: dict[FieldDescriptor, tuple[str, _Convert | None]] = {}

    def walk(message: Any, seen: Seen) -> object:
        if seen is not None and UnknownFieldSet(message):
            seen.append(None)
        out: dict[str, object] = {}
        for field, value in message.ListFields():
            entry = fields.get(field)
            if entry is None:
                entry = fields[field] = (field.name, _field(field))
            name, convert = entry
            if convert is None:
                out[name] = value
                continue
            try:
                out[name] = convert(value, seen)
            except ConfigError as error:
                raise at_field(name, error) from error
        return out

    return walk


def _field(field: FieldDescriptor) -> _Convert | None:
    """How a field's value is written; None: as it is."""
    if field.message_type is not None and is_map_entry(field.message_type):
        return _map(field.message_type)
    convert = _single(field)
    return _repeated(convert) if is_repeated(field) else convert


def _single(field: FieldDescriptor) -> _Convert | None:
    if field.message_type is not None:
        return _walker(field.message_type)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    match field.type:
        case _F.TYPE_BYTES:
            return lambda value, _: base64.b64encode(value).decode()
        case _F.TYPE_FLOAT:
            return lambda value, _: float32_json(value)
        case _F.TYPE_DOUBLE:
            return lambda value, _: float64_json(value)
        case _:
            return None


def _repeated(convert: _Convert | None) -> _Convert:
    if convert is None:
        return lambda values, _: list(values)

    def walk(values: Any, seen: Seen) -> object:
        out: list[object] = []
        try:
            for value in values:
                out.append(convert(value, seen))  # its length names the bad item
        except ConfigError as error:
            raise at_index(len(out), error) from error
        return out

    return walk


def _map(entry: Descriptor) -> _Convert:
    is_bool = entry.fields_by_name["key"].type == _F.TYPE_BOOL
    convert = _single(entry.fields_by_name["value"])

    def walk(values: Any, seen: Seen) -> object:
        out: dict[str, object] = {}
        for key in values:
            name = str(key).lower() if is_bool else str(key)
            try:
                out[name] = convert(values[key], seen) if convert else values[key]
            except ConfigError as error:
                raise at_key(name, error) from error
        return out

    return walk


def _enum(enum: EnumDescriptor) -> _Convert:
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda value, _: names.get(value, value)


# -- well-known types --------------------------------------------------------------------------


def _well_known(name: str) -> _Convert | None:
    if name in WRAPPERS:
        return _wrapper(name)
    match name:
        case _ if name == ANY:
            return _any
        case _ if name == DURATION:
            return lambda message, _: duration_text(message)
        case _ if name in (TIMESTAMP, FIELD_MASK):
            return lambda message, _: message.ToJsonString()
        case _ if name == STRUCT:
            return lambda message, _: plain_struct(message)
        case _ if name == VALUE:
            return lambda message, _: plain_value(message)
        case _ if name == LIST_VALUE:
            return lambda message, _: [plain_value(item) for item in message.values]
        case _:
            return None


def _wrapper(name: str) -> _Convert:
    match name:
        case "google.protobuf.BytesValue":
            return lambda message, _: base64.b64encode(message.value).decode()
        case "google.protobuf.FloatValue":
            return lambda message, _: float32_json(message.value)
        case "google.protobuf.DoubleValue":
            return lambda message, _: float64_json(message.value)
        case _:
            return lambda message, _: message.value


def _any(message: Any, seen: Seen) -> object:
    url, raw = message.type_url, message.value
    name = full_name(url)
    if not name:
        return {}
    if find_message_class(name) is None:
        return {"@type": TYPE_URL_PREFIX + name, "@raw": base64.b64encode(raw).decode()}
    inner: Any = parse_message(name, raw)
    if name in TYPED_STRUCTS:
        typed, names = open_typed_struct(inner, strict=seen is None)
        if typed is not None:
            if seen is not None and names:
                seen.append(None)
            inner, name = typed, typed.DESCRIPTOR.full_name
    return _opened(name, _walker(inner.DESCRIPTOR)(inner, seen))


def _opened(name: str, body: Any) -> dict[str, object]:
    out: dict[str, object] = {"@type": TYPE_URL_PREFIX + name}
    if name in BARE:
        out["value"] = body
    else:
        out.update(body)
    return out
