"""envoy.filters.http.stateful_session: a caller stays at the host that it was sent to.

Source: Envoy, StatefulSession. How a session is told is parsed in `session_state`.
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import Continue, HttpFilter, OnResponse, Verdict
from meshsdk.call.message import Request, Response
from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.filters import session_state
from meshsdk.filters.not_built import INERT
from meshsdk.filters.session_state import SessionState, parse_session_state

TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    {
        **honoured("session_state", "strict", "status_on_strict_destination_not_found"),
        "stat_prefix": ignored("statistics"),
    },
)
PER_ROUTE_TABLE: Final = MessageTable(
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
    honoured("disabled", "stateful_session"),
)
TABLES: Final = (TABLE, PER_ROUTE_TABLE, *session_state.TABLES)
_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class StatefulSession:
    """How sessions are told, and whether another host may stand in."""

    state: SessionState
    strict: bool = False
    not_found_status: int = _UNAVAILABLE

    def on_request(self, request: Request, context: CallContext) -> Verdict:
        """Ask for the session's host."""
        if not self.state.concerns(request):
            return Continue(request)
        address = self.state.address(request, context.clock.time())
        if address:
            context.override_host = address
            context.override_is_strict = self.strict
            context.override_missing_status = self.not_found_status
        return Continue(request, self._telling(address))

    def _telling(self, before: str) -> OnResponse:
        def on_response(response: Response, context: CallContext) -> Response:
            host = context.host
            if host is None or response.attempt is None:
                return response
            address = str(host.endpoint.address)
            if address == before:
                return response
            headers = self.state.tell(response.headers, address, context.clock.time())
            return response.with_headers(headers)

        return on_response


def parse(reader: Reader, extensions: Extensions) -> HttpFilter:
    """The filter of a StatefulSession; without a session state it has no effect."""
    del extensions
    check(reader, TABLE)
    found = reader.message("session_state")
    if found is None:
        return INERT
    status = reader.integer("status_on_strict_destination_not_found", 0)
    return StatefulSession(
        parse_session_state(found), reader.boolean("strict"), status or _UNAVAILABLE
    )


def parse_override(reader: Reader, extensions: Extensions) -> Override:
    """A level's own sessions, or none."""
    check(reader, PER_ROUTE_TABLE)
    instead: HttpFilter = INERT
    if reader.required("disabled", "stateful_session") == "stateful_session":
        instead = parse(reader.required_message("stateful_session"), extensions)
    elif not reader.boolean("disabled"):
        raise reader.error_at("disabled", "expected true")

    def override(_: HttpFilter) -> HttpFilter:
        return instead

    return override


EXTENSION: Final = HttpFilterExtension(
    name="envoy.filters.http.stateful_session",
    type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    ),
    parse=parse,
    parse_override=parse_override,
    override_type_urls=(
        "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
    ),
)
