"""The fields that are set in a canonical message, one message at a time, types by descriptor."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from meshsdk.wire.paths import join
from meshsdk.wire.pool import find_message_class, full_name
from meshsdk.wire.well_known import ANY, BARE, TYPED_STRUCTS, is_map_entry, is_repeated


class Held(NamedTuple):
    """A message within a field."""

    path: str
    message: str
    """Full proto name; of an Any or a TypedStruct what it holds."""
    data: Mapping[str, object]
    is_typed: bool
    """Held by an Any: its type is an extension's."""


class SetField(NamedTuple):
    """A field that is set."""

    path: str
    message: str
    """The message that has it, full proto name."""
    name: str
    held: tuple[Held, ...]
    """The messages in it; none for scalars and for types that are written bare (Duration, Struct)."""


def set_fields(message: str, data: Mapping[str, object], path: str = "") -> Iterator[SetField]:
    """The fields of one message in the form of `json_form.to_json`; `held` leads further down.

    A message without a descriptor (an unknown Any, the inside of an unknown TypedStruct) gives its
    names, and holds nothing.
    """
    cls = find_message_class(message)
    descriptor: Any = None if cls is None else cls.DESCRIPTOR
    for name, value in data.items():
        if name == "@type" or value is None:
            continue
        at = join(path, name)
        field = None if descriptor is None else descriptor.fields_by_name.get(name)
        held = () if field is None else tuple(_held(field, value, at))
        yield SetField(at, message, name, held)


def _held(field: FieldDescriptor, value: Any, path: str) -> Iterator[Held]:
    kind = field.message_type
    if kind is None:
        return
    if is_map_entry(kind):
        item = kind.fields_by_name["value"].message_type
        if item is not None:
            for key, one in value.items():
                yield from _one(item, one, f"{path}[{key}]")
    elif is_repeated(field):
        for i, one in enumerate(value):
            yield from _one(kind, one, f"{path}[{i}]")
    else:
        yield from _one(kind, value, path)


def _one(kind: Descriptor, value: Any, path: str) -> Iterator[Held]:
    if kind.full_name == ANY:
        yield from _opened(cast("Mapping[str, Any]", value), path)
    elif kind.full_name not in BARE:
        yield Held(path, kind.full_name, value, is_typed=False)


def _opened(value: Mapping[str, Any], path: str) -> Iterator[Held]:
    name = full_name(str(value.get("@type", "")))
    if not name:
        return
    if name in TYPED_STRUCTS:  # what it wraps has no descriptor, or it would be open already
        inner = cast("Mapping[str, object]", value.get("value") or {})
        yield Held(f"{path}.value", full_name(str(value.get("type_url", ""))), inner, is_typed=True)
    elif name in BARE or "@raw" in value:
        yield Held(path, name, {}, is_typed=True)
    else:
        yield Held(path, name, value, is_typed=True)
