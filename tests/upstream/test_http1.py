"""The response parser: what is a response, what ends it, and what poisons a connection."""

from dataclasses import dataclass

import pytest

from meshsdk.call.message import ResetReason
from meshsdk.upstream.http1 import MAX_HEAD, Http1

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Whole:
    """Octets that are one response."""

    name: str
    data: bytes
    status: int = 200
    body: bytes = b"hi"
    can_reuse: bool = True
    method: str = "GET"
    ends_with_eof: bool = False
    trailers: list[tuple[bytes, bytes]] | None = None


WHOLE = (
    Whole("length", _OK),
    Whole("empty line first", b"\r\n" + _OK),
    Whole("no reason", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi"),
    Whole("chunked", _CHUNKED + b"2\r\nhi\r\n0\r\n\r\n"),
    Whole("chunk extension", _CHUNKED + b"2;a=b\r\nhi\r\n0\r\n\r\n"),
    Whole("trailers", _CHUNKED + b"2\r\nhi\r\n0\r\nX-T: v\r\n\r\n", trailers=[(b"X-T", b"v")]),
    Whole("100 and 103 first", b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nL: k\r\n\r\n" + _OK),
    Whole("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", body=b"", method="HEAD"),
    Whole("HEAD, no length", b"HTTP/1.1 200 OK\r\n\r\n", body=b"", method="HEAD"),
    Whole("204", b"HTTP/1.1 204 N\r\n\r\n", 204, b""),
    Whole("204 with length", b"HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n", 204, b""),
    Whole("304 with length", b"HTTP/1.1 304 N\r\nContent-Length: 5\r\n\r\n", 304, b""),
    Whole("close", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", can_reuse=False),
    Whole("HTTP/1.0", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", can_reuse=False),
    Whole("HTTP/1.0 alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"),
    Whole("until the end", b"HTTP/1.1 200 OK\r\n\r\nhi", can_reuse=False, ends_with_eof=True),
    Whole("octets behind it", _OK + b"junk", can_reuse=False),
    Whole("a second response behind it", _OK + _OK, can_reuse=False),
    Whole("HEAD with a body", _OK, body=b"", method="HEAD", can_reuse=False),
)  # fmt: skip

# (name, octets): response smuggling and nonsense, none of which may become a response.
VIOLATIONS = (
    ("length and chunked", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("chunked and length", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi"),
    ("the same length twice", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi"),
    ("a list of lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi"),
    ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi"),
    ("an empty length", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhi"),
    ("bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"),
    ("a space before the colon", b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi"),
    ("a folded line", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi"),
    ("no HTTP", b"SSH-2.0-x\r\n\r\n"),
)  # fmt: skip
BROKEN_BODIES = (
    ("a chunk size that is none", _CHUNKED + b"zz\r\nhi\r\n0\r\n\r\n"),
    ("a chunk size beyond 64 bits", _CHUNKED + b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n"),
)


def _fed(data: bytes, method: str = "GET", *, octets: bool = False) -> Http1:
    http = Http1()
    http.begin(method)
    for piece in (bytes([octet]) for octet in data) if octets else (data,):
        http.receive(piece)
    return http


@pytest.mark.parametrize("octets", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_a_response_is_found_however_it_is_cut(case: Whole, octets: bool) -> None:
    http = _fed(case.data, case.method, octets=octets)
    assert http.is_complete is not case.ends_with_eof
    if case.ends_with_eof:
        http.receive_eof()

    assert (http.status, http.take(), http.trailers) == (case.status, case.body, case.trailers)
    assert (http.is_complete, http.failure) == (True, None)
    assert http.can_reuse is case.can_reuse


@pytest.mark.parametrize("octets", [False, True], ids=["at once", "octet by octet"])
@pytest.mark.parametrize("data", [v[1] for v in VIOLATIONS], ids=[v[0] for v in VIOLATIONS])
def test_a_head_that_two_parsers_could_read_in_two_ways_is_refused(
    data: bytes, octets: bool
) -> None:
    http = _fed(data, octets=octets)

    assert not http.is_head
    assert http.failure is not None
    assert http.failure.reason is ResetReason.PROTOCOL_ERROR
    assert not http.can_reuse


@pytest.mark.parametrize("data", [v[1] for v in BROKEN_BODIES], ids=[v[0] for v in BROKEN_BODIES])
def test_a_broken_body_fails_behind_its_head(data: bytes) -> None:
    http = _fed(data)

    assert http.is_head
    assert not http.is_complete
    assert http.failure is not None
    assert http.failure.reason is ResetReason.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "Server disconnected without sending a response."),
        (b"HTTP/1.1 200 OK\r\nX", "incomplete head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "expected 5 octets"),
        (_CHUNKED + b"5\r\nhi", "incomplete chunked read"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhi", "incomplete chunked read"),
    ],
)
def test_an_end_too_early_says_what_was_missing(data: bytes, detail: str) -> None:
    http = _fed(data) if data else Http1()
    if not data:
        http.begin("GET")

    http.receive_eof()

    assert http.failure is not None
    assert http.failure.reason is ResetReason.CONNECTION_TERMINATION
    assert detail in http.failure.detail


def test_a_head_without_end_is_bounded() -> None:
    http = _fed(b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD + 1))

    assert http.failure is not None
    assert "above" in http.failure.detail


def test_informational_responses_without_end_are_bounded() -> None:
    http = Http1()
    http.begin("GET")
    for _ in range(MAX_HEAD // 20):
        http.receive(b"HTTP/1.1 100 Continue\r\n\r\n")

    assert http.failure is not None


def test_trailers_without_end_are_bounded() -> None:
    http = _fed(_CHUNKED + b"0\r\n" + b"X: %b\r\n" % (b"a" * 1000) * 110)

    assert http.failure is not None
    assert "trailers" in http.failure.detail


def test_octets_between_exchanges_poison_the_connection() -> None:
    http = _fed(_OK)
    http.take()
    http.end()

    http.receive(_OK)

    assert not http.can_reuse


def test_one_parser_reads_one_response_after_the_other() -> None:
    http = Http1()
    seen: list[tuple[int, bytes]] = []

    for method, data in (
        ("GET", _OK),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n"),
        ("GET", _CHUNKED + b"2\r\nho\r\n0\r\n\r\n"),
        ("GET", b"HTTP/1.1 404 N\r\nContent-Length: 1\r\n\r\n!"),
    ):
        http.begin(method)
        http.receive(data)
        assert http.can_reuse
        seen.append((http.status, http.take()))
        http.end()

    assert seen == [(200, b"hi"), (200, b""), (304, b""), (200, b"ho"), (404, b"!")]


def test_101_hands_on_what_came_behind_the_head() -> None:
    http = _fed(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw")
    http.receive(b"er")

    assert (http.status, http.switched) == (101, b"rawer")
    assert not http.can_reuse
