"""envoy.filters.http.buffer: the whole request body before the call goes on, or 413.

Source: Envoy, BufferFilter.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.effects import Flow, read_body
from meshsdk.call.filter import Continue, HttpFilter, Step, Verdict
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.filters.not_built import INERT

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.buffer.v3.Buffer", honoured("max_request_bytes")
)
PER_ROUTE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.buffer.v3.BufferPerRoute", honoured("disabled", "buffer")
)
TABLES: Final = (TABLE, PER_ROUTE_TABLE)
_TOO_LARGE: Final = LocalReply(413, b"Payload Too Large", details="request_payload_too_large")


@dataclass(frozen=True, slots=True)
class Buffer:
    """How much is kept."""

    max_request_bytes: int

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Read the body first, where there may be one."""
        del context
        return self._read(request) if request.has_body else Continue(request)

    def _read(self, request: Request) -> Flow[Verdict]:
        body = yield from read_body(self.max_request_bytes)
        return Continue(request) if body.complete else _TOO_LARGE


def parse(reader: Reader, extensions: Extensions) -> Buffer:
    """The filter of a Buffer."""
    del extensions
    check(reader, TABLE)
    if not reader.has("max_request_bytes"):
        raise reader.error_at("max_request_bytes", "expected more than 0, found none")
    return Buffer(reader.integer("max_request_bytes", at_least=1))


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's own limit, or none."""
    check(reader, PER_ROUTE_TABLE)
    instead: HttpFilter = INERT
    if reader.required("disabled", "buffer") == "buffer":
        instead = parse(reader.required_message("buffer"), extensions)
    elif not reader.boolean("disabled"):
        raise reader.error_at("disabled", "expected true")

    def override(_: HttpFilter) -> HttpFilter:
        return instead

    return override


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.buffer",
    type_urls=("type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
    ),
)
