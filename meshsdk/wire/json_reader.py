"""Proto-JSON to messages: what people write, camelCase or snake_case, and what we wrote ourselves.

Every error names the whole field path and what was expected.
"""

import base64
import binascii
import difflib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from meshsdk.config.kinds import kind_of
from meshsdk.errors import ConfigError
from meshsdk.wire.expect import check_depth, listed, mapping
from meshsdk.wire.paths import join
from meshsdk.wire.pool import TYPE_URL_PREFIX, find_message_class, full_name, message_class
from meshsdk.wire.scalars import read_scalar
from meshsdk.wire.struct_form import fill_list, fill_struct, fill_value
from meshsdk.wire.well_known import (
    ANY,
    BARE,
    DURATION,
    FIELD_MASK,
    LIST_VALUE,
    STRUCT,
    TIMESTAMP,
    VALUE,
    WRAPPERS,
    XDS_TYPED_STRUCT,
    is_map_entry,
    is_repeated,
)
from meshsdk.xds.messages import UnknownField

_Unknown: TypeAlias = list[UnknownField] | None
_names: dict[Descriptor, dict[str, FieldDescriptor]] = {}


def from_json(name: str, data: object, path: str = "") -> Message:
    """A message from its JSON form; `name` is a full name or a type URL.

    Both spellings of field names are taken. An Any whose "@type" is not known becomes an
    `xds.type.v3.TypedStruct` of that type, which is how xDS says the same on the wire; our own
    "@raw" becomes the bytes again. ConfigError names the path of the first thing that is wrong.
    """
    message = message_class(full_name(name))()
    try:
        fill(message, data, path, None)
    except RecursionError:
        raise ConfigError(path, "nested too deeply") from None
    return message


def fill(message: Message, data: object, path: str, unknown: _Unknown, depth: int = 0) -> None:
    """Read JSON into an empty message. `unknown` collects the names that the message does not
    have; None: they are errors."""
    check_depth(depth, path)
    name = message.DESCRIPTOR.full_name
    if name in BARE:
        _fill_well_known(name, message, data, path, unknown, depth)
        return
    taken: dict[str, str] = {}
    for key, value in mapping(data, path, "a message").items():
        if key == "@type":
            _check_type(name, value, path)
            continue
        field = _field_names(message.DESCRIPTOR).get(key) if isinstance(key, str) else None
        if field is None:
            _refuse(message.DESCRIPTOR, key, path, unknown)
        elif value is not None or _takes_null(field):
            _check_single(field, taken, path)
            _set(message, field, value, join(path, field.name), unknown, depth)


def _check_type(name: str, url: object, path: str) -> None:
    """A resource may say its own type where none is needed; it must be the right one."""
    if not isinstance(url, str) or full_name(url) != name:
        raise ConfigError(path, f"expected a {name}, found {url!r}")


def _refuse(descriptor: Any, key: object, path: str, unknown: _Unknown) -> None:
    if not isinstance(key, str):
        raise ConfigError(path, f"expected field names, found {kind_of(key)}")
    if unknown is not None:
        unknown.append(UnknownField(path, descriptor.full_name, 0, key))
        return
    names = list(descriptor.fields_by_name)
    near = difflib.get_close_matches(key, names, 1) or difflib.get_close_matches(
        key, [field.json_name for field in descriptor.fields], 1
    )
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise ConfigError(path, f"unknown field '{key}' of {descriptor.full_name}{hint}")


def _check_single(field: FieldDescriptor, taken: dict[str, str], path: str) -> None:
    """A field once, in either spelling, and one field of a oneof."""
    place = field.containing_oneof.name if field.containing_oneof else field.name
    other = taken.get(place)
    if other == field.name:
        raise ConfigError(path, f"expected {field.name} once, found both spellings")
    if other is not None:
        raise ConfigError(path, f"expected only one of {other}, {field.name}, found both")
    taken[place] = field.name


def _takes_null(field: FieldDescriptor) -> bool:
    """null is no value, but in a google.protobuf.Value it is one."""
    return (
        field.message_type is not None
        and field.message_type.full_name == VALUE
        and not is_repeated(field)
    )


def _set(
    message: Any, field: FieldDescriptor, value: object, path: str, unknown: _Unknown, depth: int
) -> None:
    if field.message_type is not None and is_map_entry(field.message_type):
        _set_map(getattr(message, field.name), field.message_type, value, path, unknown, depth)
    elif is_repeated(field):
        _set_list(getattr(message, field.name), field, value, path, unknown, depth)
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        fill(inner, value, path, unknown, depth + 1)
    else:
        setattr(message, field.name, read_scalar(field, value, path))


def _set_list(
    items: Any, field: FieldDescriptor, value: object, path: str, unknown: _Unknown, depth: int
) -> None:
    for i, item in enumerate(listed(value)):
        at = f"{path}[{i}]"
        if field.message_type is not None:
            fill(items.add(), item, at, unknown, depth + 1)
        else:
            items.append(read_scalar(field, item, at))


def _set_map(
    entries: Any, entry: Descriptor, value: object, path: str, unknown: _Unknown, depth: int
) -> None:
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for name, item in mapping(value, path, "a map").items():
        at = f"{path}[{name}]"
        key = read_scalar(key_field, name, at, is_key=True)
        if value_field.message_type is not None:
            # The entry is a message too.
            fill(entries[key], item, at, unknown, depth + 2)
        else:
            entries[key] = read_scalar(value_field, item, at)


def _field_names(descriptor: Any) -> dict[str, FieldDescriptor]:
    found = _names.get(descriptor)
    if found is None:
        found = {field.json_name: field for field in descriptor.fields}
        found.update((field.name, field) for field in descriptor.fields)
        _names[descriptor] = found
    return found


# -- well-known types --------------------------------------------------------------------------


def _fill_well_known(
    name: str, message: Any, data: object, path: str, unknown: _Unknown, depth: int
) -> None:
    if name in WRAPPERS:
        field = message.DESCRIPTOR.fields_by_name["value"]
        message.value = read_scalar(field, data, path)
        return
    match name:
        case _ if name == ANY:
            _fill_any(message, data, path, unknown)
        case _ if name == STRUCT:
            fill_struct(message, data, path, depth)
        case _ if name == VALUE:
            fill_value(message, data, path, depth)
        case _ if name == LIST_VALUE:
            fill_list(message, data, path, depth)
        case _:
            _fill_text(name, message, data, path)


_EXAMPLES: Final = {
    DURATION: 'a duration such as "1.5s"',
    TIMESTAMP: 'a time such as "2026-01-31T12:00:00Z"',
    FIELD_MASK: 'a field mask such as "user.name,size"',
}


def _fill_text(name: str, message: Any, data: object, path: str) -> None:
    try:
        if not isinstance(data, str):
            raise ValueError
        message.FromJsonString(data)
    except (ValueError, OverflowError):
        raise ConfigError(path, f"expected {_EXAMPLES[name]}, found {kind_of(data)}") from None


def _fill_any(message: Any, data: object, path: str, unknown: _Unknown) -> None:
    fields = mapping(data, path, 'a message with "@type"')
    if not fields:
        return
    url = fields.get("@type")
    if not isinstance(url, str) or not full_name(url):
        raise ConfigError(path, f'expected a typed message with "@type", found {kind_of(url)}')
    name = full_name(url)
    body: object = {key: value for key, value in fields.items() if key != "@type"}
    if find_message_class(name) is None:
        if "@raw" in fields:
            message.type_url, message.value = TYPE_URL_PREFIX + name, _raw(fields["@raw"], path)
            return
        name, body = XDS_TYPED_STRUCT, {"type_url": TYPE_URL_PREFIX + name, "value": body}
    elif name in BARE:
        body = _bare(fields, path)
    inner = message_class(name)()
    fill(inner, body, path, unknown)
    message.type_url = TYPE_URL_PREFIX + name
    message.value = inner.SerializeToString(deterministic=True)


def _bare(data: Mapping[object, object], path: str) -> object:
    if set(data) != {"@type", "value"}:
        raise ConfigError(path, f'expected "@type" and "value" for {data["@type"]}')
    return data["value"]


def _raw(data: object, path: str) -> bytes:
    try:
        return base64.b64decode(data if isinstance(data, str) else "?", validate=True)
    except binascii.Error:
        raise ConfigError(join(path, "@raw"), f"expected base64, found {kind_of(data)}") from None
