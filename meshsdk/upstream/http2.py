"""HTTP/2 on one client connection, without its socket: one request at a time.

It is fed and asked as `Http1` is, so pools and exchanges need not know which of the two they have.
"""

import re
from collections.abc import Sequence
from typing import Final

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from meshsdk.call.headers import RawPair
from meshsdk.call.message import ResetReason
from meshsdk.upstream.head import Head
from meshsdk.upstream.http1 import MAX_HEAD, Failure

WINDOW: Final = 1 << 20
"""Octets that a peer may send before we have taken them: Envoy's default is larger, as there many
streams share a connection."""
_DEFAULT_WINDOW: Final = 65535
_LAST_STREAM: Final = 2**31 - 3
_SETTINGS: Final = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
}
_SETTINGS_FRAME: Final = 4
"""The type of the frame with which every HTTP/2 peer begins, behind three octets of length."""
_GREETING_OCTETS: Final = 4
_STATUS: Final = re.compile(rb"[2-9][0-9]{2}")  # RFC 9110, 15; h2 tells 1xx apart
_CONFIG: Final = H2Configuration(client_side=True, header_encoding=None)


class Http2:
    """As `Http1`: `begin` before each request, complete before the next."""

    __slots__ = (
        "_backlog",
        "_connection",
        "_gone",
        "_greeting",
        "_has_ended",
        "_interim",
        "_stream",
        "_taken",
        "can_reuse",
        "chunks",
        "failure",
        "headers",
        "http_version",
        "is_complete",
        "is_head",
        "is_idle",
        "reason",
        "received",
        "size",
        "status",
        "switched",
        "trailers",
    )

    keeps_talking = True
    """There may be octets to send though no request is under way, or while one is answered."""

    def __init__(self) -> None:
        self._connection = connection = H2Connection(_CONFIG)
        connection.local_settings = Settings(client=True, initial_values=_SETTINGS)
        connection.initiate_connection()
        connection.increment_flow_control_window(WINDOW - _DEFAULT_WINDOW)
        connection.decoder.max_header_list_size = MAX_HEAD
        self._greeting = b""
        """The first octets of the peer."""
        self.is_idle = True
        self.can_reuse = True
        self.failure: Failure | None = None
        self._stream = 0
        self._reset()

    def _reset(self) -> None:
        self._backlog = b""
        """Of the request body: what the peer's windows did not let out, from `_gone` on."""
        self._gone = 0
        self._has_ended = False
        """The request's end was given in; with a backlog it goes out behind that."""
        self._taken = 0
        self._interim = 0
        """Octets in the fields of 1xx responses."""
        self.received = False
        self.is_head = False
        self.is_complete = False
        self.status = 0
        self.reason = b""
        self.http_version = b"HTTP/2"
        self.headers: list[RawPair] = []
        self.trailers: list[RawPair] | None = None
        self.chunks: list[bytes] = []
        self.size = 0
        self.switched: bytes | None = None

    def begin(self, method: str) -> None:
        """A request with this method goes out next."""
        del method  # frames say themselves where a response ends
        self._reset()
        self._stream = self._connection.get_next_available_stream_id()
        self.is_idle = False

    def end(self) -> None:
        """The exchange is over."""
        self._acknowledge()
        self.is_idle = True
        if self._stream >= _LAST_STREAM:
            self.can_reuse = False

    def close(self) -> None:
        """Nothing keeps the peer's state: it is garbage with this object."""

    # -- to the socket ----------------------------------------------------------------------

    def whole(self, head: Head, data: bytes) -> bytes:
        """The octets of a request whose body is known."""
        self._send_head(head, ends=not data)
        if data:
            self._send(data, ends=True)
        return self.outgoing()

    def first(self, head: Head) -> bytes:
        """The octets of a head that a body in pieces follows."""
        self._send_head(head, ends=False)
        return self.outgoing()

    def piece(self, head: Head, data: bytes) -> bytes:
        """The octets of a piece of the body."""
        self._send(data, ends=False)
        return self.outgoing()

    def last(self, head: Head) -> bytes:
        """The octets that end a body in pieces."""
        self._send(b"", ends=True)
        return self.outgoing()

    @property
    def has_backlog(self) -> bool:
        """Some of the body waits for the peer."""
        return self._gone < len(self._backlog)

    def outgoing(self) -> bytes:
        """Octets that the protocol has for the socket now."""
        self._acknowledge()
        return self._connection.data_to_send()

    def _send_head(self, head: Head, *, ends: bool) -> None:
        self._has_ended = ends
        try:
            self._connection.send_headers(self._stream, head.fields, end_stream=ends)
        except H2Error as error:
            self._violates(str(error), error)

    def _send(self, data: bytes, *, ends: bool) -> None:
        self._backlog = self._backlog[self._gone :] + data
        self._gone = 0
        self._has_ended = ends
        self._let_out()

    def _let_out(self) -> None:
        """As much of the body as the windows allow."""
        connection, stream = self._connection, self._stream
        try:
            while self.has_backlog:
                room = min(
                    connection.local_flow_control_window(stream), connection.max_outbound_frame_size
                )
                if room <= 0:
                    return
                piece = self._backlog[self._gone : self._gone + room]
                self._gone += len(piece)
                ends = self._has_ended and not self.has_backlog
                connection.send_data(stream, piece, end_stream=ends)
                if ends:
                    return
            if self._has_ended:
                connection.end_stream(stream)
        except H2Error as error:
            self._violates(str(error), error)

    def _acknowledge(self) -> None:
        """Let the peer send as much again as was taken."""
        taken, self._taken = self._taken, 0
        if taken:
            try:
                self._connection.acknowledge_received_data(taken, self._stream)
            except H2Error as error:
                self._violates(str(error), error)

    # -- from the socket --------------------------------------------------------------------

    def take(self) -> bytes:
        """All body octets that have come and nobody took."""
        data = b"".join(self.chunks)
        self.chunks = []
        self._taken += self.size
        self.size = 0
        return data

    def receive(self, data: bytes) -> None:
        """What the peer sent."""
        if len(self._greeting) < _GREETING_OCTETS and not self._is_greeted(data):
            return
        try:
            events = self._connection.receive_data(data)
        except H2Error as error:
            self._violates(str(error) or type(error).__name__, error)
            return
        for event in events:
            self._see(event)
        if self.has_backlog and self.failure is None and not self.is_complete:
            self._let_out()

    def _is_greeted(self, data: bytes) -> bool:
        """h2 would wait for the whole of the frame that other protocols seem to announce."""
        self._greeting += data[: _GREETING_OCTETS - len(self._greeting)]
        greeting = self._greeting
        if greeting[:1] > b"\0" or (len(greeting) > 3 and greeting[3] != _SETTINGS_FRAME):
            self._violates("the peer speaks no HTTP/2")
            return False
        return True

    def _see(self, event: Event) -> None:
        match event:
            case ConnectionTerminated():
                self._terminated(event)
            case _ if getattr(event, "stream_id", None) != self._stream or self.is_idle:
                if isinstance(event, DataReceived):
                    # Of a stream that we gave up: its octets still count in the window.
                    self._taken += event.flow_controlled_length
            case InformationalResponseReceived():
                self.received = True
                self._pass_over(event.headers)
            case ResponseReceived():
                self.received = True
                self._head(event.headers)
            case DataReceived():
                if event.data:  # an empty frame costs the peer nothing, so it must cost us nothing
                    self.chunks.append(event.data)
                    self.size += len(event.data)
                self._taken += event.flow_controlled_length - len(event.data)
            case TrailersReceived():
                self.trailers = [(bytes(n), bytes(v)) for n, v in event.headers]
            case StreamEnded():
                self.is_complete = True
                self.can_reuse = self.can_reuse and self._is_out
            case StreamReset():
                self._was_reset(event)
            case _:
                pass

    @property
    def _is_out(self) -> bool:
        """All of the request was sent."""
        return self._has_ended and not self.has_backlog

    def _pass_over(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        """A 1xx is dropped (RFC 9110, 15.2), but counts, as with HTTP/1.1, as part of the head."""
        self._interim += sum(len(name) + len(value) for name, value in fields)
        if self._interim > MAX_HEAD:
            self._violates(f"response head above {MAX_HEAD} octets")

    def _head(self, fields: Sequence[tuple[bytes, bytes]]) -> None:
        for name, value in fields:
            if name == b":status":
                if _STATUS.fullmatch(value) is None:
                    self._violates(f"illegal status {value[:80]!r}")
                    return
                self.status = int(value)
            elif not name.startswith(b":"):
                self.headers.append((bytes(name), bytes(value)))
        self.is_head = True

    def _was_reset(self, event: StreamReset) -> None:
        if self.is_complete:
            return
        code = event.error_code
        name = code.name if isinstance(code, ErrorCodes) else f"code {code}"
        refused = code == ErrorCodes.REFUSED_STREAM
        reason = ResetReason.REFUSED_STREAM if refused else ResetReason.REMOTE_RESET
        self.failure = self.failure or Failure(reason, f"stream reset: {name}")

    def _terminated(self, event: ConnectionTerminated) -> None:
        """GOAWAY: a request that the peer has taken is still answered."""
        self.can_reuse = False
        if self.is_idle or self.is_complete or self.failure is not None:
            return
        last = event.last_stream_id
        if last is not None and self._stream > last:
            # RFC 9113, 6.8: nothing of it was processed.
            self.failure = Failure(ResetReason.REFUSED_STREAM, "GOAWAY before the request")

    def receive_eof(self, error: BaseException | None = None) -> None:
        """The peer closed the connection, or it broke."""
        self.can_reuse = False
        if self.is_idle or self.is_complete or self.failure is not None:
            return
        if error is not None:
            detail = str(error) or type(error).__name__
        elif not self.received:
            detail = "Server disconnected without sending a response."
        else:
            detail = "peer closed connection without sending complete message body"
        self.failure = Failure(ResetReason.CONNECTION_TERMINATION, detail, error)

    def _violates(self, detail: str, error: BaseException | None = None) -> None:
        self.can_reuse = False
        if self.failure is None and not self.is_idle and not self.is_complete:
            self.failure = Failure(ResetReason.PROTOCOL_ERROR, detail, error)
