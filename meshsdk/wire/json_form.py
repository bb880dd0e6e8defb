"""Canonical proto-JSON: the one form in which the rest of the library reads configuration."""

from google.protobuf.message import Message

from meshsdk.errors import ConfigError
from meshsdk.wire.json_reader import from_json
from meshsdk.wire.json_writer import Seen, write
from meshsdk.wire.paths import join
from meshsdk.wire.pool import full_name, parse_message
from meshsdk.wire.unknown_fields import find_unknown
from meshsdk.xds.messages import Decoded, UnknownField

__all__ = ["decode", "from_json", "normalize", "to_json"]


def to_json(message: Message, unknown: list[UnknownField] | None = None) -> dict[str, object]:
    """A message in the form that `config/reader.py` reads.

    snake_case names; a field is there when it is set (or, without presence, not its default);
    enums by name, unknown numbers as they are; 64-bit integers as int; durations as "1.5s"; bytes
    as base64; wrappers bare; Struct as plain data (numbers stay floats). An Any is opened, "@type"
    always `type.googleapis.com/<name>`; one of an unknown type is `{"@type", "@raw": base64}`. A
    TypedStruct of a known type becomes that type; else it stays as data.

    `unknown` gets the fields that our descriptors do not have; without it wire fields that are not
    known are left out silently, and a TypedStruct with an unknown name is an error.
    ConfigError: bytes inside an Any that are no such message, a TypedStruct that does not fit its
    type, nesting that is too deep.
    """
    seen: Seen = None if unknown is None else []
    try:
        data = write(message, seen)
        if unknown is not None and seen:
            find_unknown(message, "", unknown)
    except RecursionError:
        raise ConfigError("", "nested too deeply") from None
    return data


def normalize(name: str, data: object, path: str = "") -> dict[str, object]:
    """Configuration that people wrote, in canonical form; `name` is a full name or a type URL.

    Explicit presence is kept: `{}` stays an empty message, an explicit zero of an optional field
    stays. Unknown fields, also inside a TypedStruct, are ConfigErrors with their path.
    """
    message = from_json(name, data, path)
    try:
        return to_json(message)
    except ConfigError as error:
        raise ConfigError(join(path, error.path), error.problem) from error


def decode(type_url: str, raw: bytes) -> Decoded:
    """A resource's bytes in canonical form, with the fields that were not understood.

    ConfigError: unknown type, or bytes that are no such message (100 levels of nesting at most).
    """
    unknown: list[UnknownField] = []
    data = to_json(parse_message(full_name(type_url), raw), unknown)
    return Decoded(data, tuple(unknown))
