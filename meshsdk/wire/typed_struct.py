"""TypedStructs: a message of a named type, written as JSON within an Any."""

from typing import Any

from google.protobuf.message import Message

from meshsdk.wire.json_reader import fill
from meshsdk.wire.pool import find_message_class, full_name
from meshsdk.wire.struct_form import plain_struct
from meshsdk.xds.messages import UnknownField


def open_typed_struct(message: Any, *, strict: bool) -> tuple[Message | None, list[UnknownField]]:
    """The message that a TypedStruct describes, None when its type is not known.

    With it the names that the type does not have; `strict` makes those a ConfigError.
    """
    cls = find_message_class(full_name(message.type_url))
    if cls is None:
        return None, []
    names: list[UnknownField] = []
    typed = cls()
    fill(typed, plain_struct(message.value), "", None if strict else names)
    return typed, names
