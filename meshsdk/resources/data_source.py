"""envoy.config.core.v3.DataSource: bytes that are here, in a file or in the environment."""

from dataclasses import dataclass, field
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader

DATA_SOURCE: Final = MessageTable(
    "envoy.config.core.v3.DataSource",
    {
        **honoured("filename", "inline_bytes", "inline_string", "environment_variable"),
        "watched_directory": ignored("files are watched by their own path"),
    },
    security=True,
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where to find some bytes. Exactly one is set; who needs the bytes reads them."""

    inline: bytes | None = field(default=None, repr=False)
    """Never shown: it may be a private key."""
    filename: str = ""
    environment_variable: str = ""


def parse_data_source(reader: Reader) -> DataSource:
    """The source in a message; empty ones are errors, as in Envoy."""
    check(reader, DATA_SOURCE)
    match reader.required("filename", "inline_bytes", "inline_string", "environment_variable"):
        case "filename":
            return DataSource(filename=reader.required_string("filename"))
        case "environment_variable":
            return DataSource(environment_variable=reader.required_string("environment_variable"))
        case "inline_bytes":
            return DataSource(_not_empty(reader, "inline_bytes", reader.octets("inline_bytes")))
        case _:
            text = reader.string("inline_string").encode()
            return DataSource(_not_empty(reader, "inline_string", text))


def _not_empty(reader: Reader, name: str, found: bytes) -> bytes:
    if not found:
        raise reader.error_at(name, "expected bytes, found none")
    return found


def optional_data_source(reader: Reader, name: str) -> DataSource | None:
    """A DataSource field, None when unset."""
    found = reader.message(name)
    return None if found is None else parse_data_source(found)
