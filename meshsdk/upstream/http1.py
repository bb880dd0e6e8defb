"""The response side of one HTTP/1.1 client connection, without its socket."""

from typing import Final

import httptools

from meshsdk.call.headers import RawPair
from meshsdk.call.message import ResetReason
from meshsdk.upstream.head import Head

MAX_HEAD: Final = 100 * 1024
"""Octets of a response head or of trailers: h11's limit, so what plain httpx takes, we take."""
HIGH_WATER: Final = 64 * 1024
"""Octets of unread body at which a connection stops reading."""
_NO_BODY: Final = frozenset((204, 304))  # RFC 9112, 6.3


class Failure:
    """Why an exchange will not get any further."""

    __slots__ = ("detail", "error", "reason")

    def __init__(
        self, reason: ResetReason, detail: str, error: BaseException | None = None
    ) -> None:
        self.reason = reason
        self.detail = detail
        """For people."""
        self.error = error
        """What the I/O raised."""


class _Violation(Exception):
    """Raised inside a parser callback to stop parsing."""


class Http1:
    """Fed with what the peer sent; gives one response after the other.

    `begin` before each request. A response is complete before `begin` is called again, and only
    where `can_reuse` is true.
    """

    __slots__ = (
        "_current",
        "_expects_body",
        "_head_octets",
        "_parser",
        "_parser_done",
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

    keeps_talking = False
    """HTTP/1.1 has nothing to send but requests, and hears nothing between them."""
    has_backlog = False
    """The socket alone says how much of a request it takes."""

    def __init__(self) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self._parser_done = False
        self.is_idle = True
        """No exchange is under way: whatever comes poisons the connection."""
        self.can_reuse = True
        self.failure: Failure | None = None
        self._reset(True)

    def _reset(self, expects_body: bool) -> None:
        self._expects_body = expects_body
        self._head_octets = 0
        self.received = False
        """Whether any octet of the response came."""
        self.is_head = False
        """The head is complete: `status`, `reason`, `headers`, `http_version` are set."""
        self.is_complete = False
        self.status = 0
        self.reason = b""
        self.http_version = b"HTTP/1.1"
        self.headers: list[RawPair] = []
        self.trailers: list[RawPair] | None = None
        self.chunks: list[bytes] = []
        """Body that nobody has taken yet."""
        self.size = 0
        """Octets in `chunks`."""
        self.switched: bytes | None = None
        """After 101: what came behind the head."""

    def begin(self, method: str) -> None:
        """A request with this method goes out next."""
        self._reset(method != "HEAD")
        if self._parser is None or not self._parser_done:
            self._parser = httptools.HttpResponseParser(self)
        self._parser_done = False
        self.is_idle = False

    def end(self) -> None:
        """The exchange is over; nothing may come until the next `begin`."""
        self.is_idle = True

    def close(self) -> None:
        """Break the cycle with the parser."""
        self._parser = None

    def take(self) -> bytes:
        """All body octets that have come and nobody took."""
        chunks = self.chunks
        self.size = 0
        if len(chunks) == 1:
            self.chunks = []
            return chunks[0]
        self.chunks = []
        return b"".join(chunks)

    # -- to the socket ----------------------------------------------------------------------

    def whole(self, head: Head, data: bytes) -> bytes:
        """The octets of a request whose body is known."""
        if not head.is_chunked:
            return head.data + data if data else head.data
        if not data:
            return head.data + b"0\r\n\r\n"
        return b"%b%x\r\n%b\r\n0\r\n\r\n" % (head.data, len(data), data)

    def first(self, head: Head) -> bytes:
        """The octets of a head that a body in pieces follows."""
        return head.data

    def piece(self, head: Head, data: bytes) -> bytes:
        """The octets of a piece of the body."""
        return b"%x\r\n%b\r\n" % (len(data), data) if head.is_chunked else data

    def last(self, head: Head) -> bytes:
        """The octets that end a body in pieces."""
        return b"0\r\n\r\n" if head.is_chunked else b""

    def outgoing(self) -> bytes:
        """Octets that the protocol has for the socket now: none."""
        return b""

    # -- from the socket --------------------------------------------------------------------

    def receive(self, data: bytes) -> None:
        """What the peer sent."""
        parser = self._parser
        if self.is_idle or self.is_complete or parser is None:
            # Response smuggling: octets that belong to no request of ours.
            self.can_reuse = False
            return
        if self.switched is not None:
            self.switched += data
            return
        self.received = True
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The only argument is the offset behind the head.
            self._switch(data[int(str(upgrade)) :])
        except httptools.HttpParserError as error:
            self.can_reuse = False
            if not self.is_complete:
                self._violates(_cause(error), error)
        if not self.is_head:
            self._head_octets += len(data)
            if self._head_octets > MAX_HEAD:
                self._violates(f"response head above {MAX_HEAD} octets")

    def receive_eof(self, error: BaseException | None = None) -> None:
        """The peer closed the connection, or it broke."""
        self.can_reuse = False
        if self.is_complete or self.failure is not None:
            return
        if error is None and self.is_head and not self._is_framed():
            self.is_complete = True
            return
        if error is not None:
            detail = str(error) or type(error).__name__
        elif not self.received:
            detail = "Server disconnected without sending a response."
        else:
            detail = "peer closed connection without sending complete message body" + (
                self._how_incomplete()
            )
        self.failure = Failure(ResetReason.CONNECTION_TERMINATION, detail, error)

    def _how_incomplete(self) -> str:
        if not self.is_head:
            return " (incomplete head)"
        expected = self._content_length()
        return (
            " (incomplete chunked read)" if expected is None else f" (expected {expected} octets)"
        )

    def _is_framed(self) -> bool:
        return any(
            name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )

    def _content_length(self) -> str | None:
        for name, value in self.headers:
            if name.lower() == b"content-length":
                return value.decode("latin-1")
        return None

    def _violates(self, detail: str, error: BaseException | None = None) -> None:
        self.can_reuse = False
        if self.failure is None:
            self.failure = Failure(ResetReason.PROTOCOL_ERROR, detail, error)

    def _switch(self, rest: bytes) -> None:
        """101: from here on the octets are not HTTP."""
        self.can_reuse = False
        self.switched = rest

    # -- from the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A response begins; one too many poisons the connection."""
        if self.is_complete:
            raise _Violation("a second response to one request")

    def on_status(self, reason: bytes) -> None:
        """The reason phrase, or a piece of it."""
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head or of the trailers."""
        if not self.is_head:
            self.headers.append((name, value))
            return
        if self.trailers is None:
            self.trailers = []
            self._head_octets = 0
        self._head_octets += len(name) + len(value)
        if self._head_octets > MAX_HEAD:
            raise _Violation(f"trailers above {MAX_HEAD} octets")
        self.trailers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there; a 1xx is dropped (RFC 9110, 15.2)."""
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self.headers = []
            self.reason = b""
            return
        self.status = status
        self.is_head = True
        if parser.get_http_version() != "1.1":
            self.http_version = b"HTTP/1.0"
        if status == 101:
            self.switched = b""
        elif not self._expects_body or status in _NO_BODY:
            # llhttp does not know the request's method, and waits for what 304 declares.
            self.is_complete = True
            self.can_reuse = self.can_reuse and self._says_keep_alive()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self.is_complete:
            raise _Violation("a body where none may be")
        self.chunks.append(data)
        self.size += len(data)

    def on_message_complete(self) -> None:
        """The end of a response, or of a 1xx."""
        if not self.is_head or self.switched is not None:
            return
        parser = self._parser
        assert parser is not None
        self._parser_done = True
        if not self.is_complete:
            self.is_complete = True
            self.can_reuse = self.can_reuse and parser.should_keep_alive()

    def _says_keep_alive(self) -> bool:
        tokens = b",".join(v for n, v in self.headers if n.lower() == b"connection").lower()
        if self.http_version == b"HTTP/1.0":
            return b"keep-alive" in tokens
        return b"close" not in tokens


def _cause(error: BaseException) -> str:
    context = error.__context__
    return str(context if isinstance(context, _Violation) else error)
