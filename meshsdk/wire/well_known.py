"""The messages whose JSON form is not an object of their fields."""

from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

ANY: Final = "google.protobuf.Any"
DURATION: Final = "google.protobuf.Duration"
TIMESTAMP: Final = "google.protobuf.Timestamp"
FIELD_MASK: Final = "google.protobuf.FieldMask"
STRUCT: Final = "google.protobuf.Struct"
VALUE: Final = "google.protobuf.Value"
LIST_VALUE: Final = "google.protobuf.ListValue"
WRAPPERS: Final = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
# In an Any these stand under "value" beside "@type".
BARE: Final = frozenset(
    {ANY, DURATION, TIMESTAMP, FIELD_MASK, STRUCT, VALUE, LIST_VALUE, *WRAPPERS}
)

XDS_TYPED_STRUCT: Final = "xds.type.v3.TypedStruct"
TYPED_STRUCTS: Final = frozenset({XDS_TYPED_STRUCT, "udpa.type.v1.TypedStruct"})


_LABEL_REPEATED: Final = 3


def is_repeated(field: FieldDescriptor) -> bool:
    """Repeated fields and maps."""
    # `label` is deprecated since protobuf 6.31, `is_repeated` is unknown to 4.25.
    found = getattr(field, "is_repeated", None)
    return bool(getattr(field, "label", 0) == _LABEL_REPEATED if found is None else found)


def is_map_entry(descriptor: Descriptor) -> bool:
    """The hidden message of a map field's entries."""
    return bool(descriptor.has_options and descriptor.GetOptions().map_entry)


def duration_text(message: Any) -> str:
    """`1.5s`: as few digits as the value needs."""
    seconds, nanos = message.seconds, message.nanos
    if not nanos:
        return f"{seconds}s"
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}.{abs(nanos):09d}".rstrip("0") + "s"
