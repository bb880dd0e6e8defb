"""LocalReplyConfig: what becomes of the answers that the mesh makes itself.

Source: envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.resources.format_string import FormatString, parse_format_string
from meshsdk.resources.header_mutations import HeaderMutations, parse_header_addition
from meshsdk.resources.log_filters import LogFilter, parse_log_filter
from meshsdk.resources.route_reply import DATA_SOURCE

_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3"
LOCAL_REPLY_CONFIG: Final = MessageTable(
    f"{_HCM}.LocalReplyConfig", honoured("mappers", "body_format")
)
MAPPER: Final = MessageTable(
    f"{_HCM}.ResponseMapper",
    honoured("filter", "status_code", "body", "body_format_override", "headers_to_add"),
)
TABLES: Final = (LOCAL_REPLY_CONFIG, MAPPER)


@dataclass(frozen=True, slots=True)
class Mapper:
    """What one kind of answer becomes. None: as it is."""

    filter: LogFilter
    status: int | None
    body: bytes | None
    headers: HeaderMutations
    body_format: FormatString | None


@dataclass(frozen=True, slots=True)
class LocalReplies:
    """The first mapper whose filter takes an answer, then the format of its body."""

    mappers: tuple[Mapper, ...] = ()
    body_format: FormatString | None = None
    not_built: tuple[str, ...] = ()


def parse_local_replies(reader: Reader, extensions: Extensions) -> LocalReplies:
    """A LocalReplyConfig; ConfigError where Envoy refuses it."""
    missing = list(check(reader, LOCAL_REPLY_CONFIG))
    mappers = tuple(_mapper(one, extensions, missing) for one in reader.messages("mappers"))
    return LocalReplies(mappers, _format(reader, "body_format", missing), tuple(missing))


def _mapper(reader: Reader, extensions: Extensions, missing: list[str]) -> Mapper:
    missing.extend(check(reader, MAPPER))
    status = reader.optional_integer("status_code")
    if status is not None and not 200 <= status < 600:
        raise reader.error_at("status_code", f"expected at least 200 and below 600, found {status}")
    source = reader.message("body")
    body: bytes | None = None
    if source is not None:
        missing.extend(check(source, DATA_SOURCE))
        source.required("inline_bytes", "inline_string", "filename", "environment_variable")
        body = source.octets("inline_bytes") or source.string("inline_string").encode()
    headers = HeaderMutations(add=reader.each("headers_to_add", parse_header_addition))
    missing.extend(headers.not_built)
    return Mapper(
        parse_log_filter(reader.required_message("filter"), extensions),
        status,
        body,
        headers,
        _format(reader, "body_format_override", missing),
    )


def _format(reader: Reader, name: str, missing: list[str]) -> FormatString | None:
    found = reader.message(name)
    if found is None:
        return None
    body_format = parse_format_string(found)
    missing.extend(body_format.not_built)
    return body_format
