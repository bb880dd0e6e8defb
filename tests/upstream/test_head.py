"""Request heads: framing, and nothing that a value could add to them."""

import pytest

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.upstream.head import HeadError, request_fields, request_head, verbatim_head


def _request(*fields: tuple[str, str], method: str = "GET", path: str = "/") -> Request:
    return Request(method, "shop", path, Headers(fields))


def test_a_head_without_a_body_declares_none() -> None:
    head = request_head(_request(("accept", "*/*")), body_length=0)

    assert head.data == b"GET / HTTP/1.1\r\nhost: shop\r\naccept: */*\r\n\r\n"
    assert (head.content_length, head.is_chunked) == (None, False)


@pytest.mark.parametrize(
    ("fields", "length", "line"),
    [
        ((), 3, b"content-length: 3"),
        ((), None, b"transfer-encoding: chunked"),
        ((("content-length", "3"),), None, b"content-length: 3"),
    ],
)
def test_a_body_is_framed_once(
    fields: tuple[tuple[str, str], ...], length: int | None, line: bytes
) -> None:
    head = request_head(_request(*fields, method="POST"), body_length=length)

    assert head.data.split(b"\r\n")[2:] == [line, b"", b""]
    assert head.is_chunked is line.startswith(b"transfer")
    assert head.content_length == (None if head.is_chunked else 3)


@pytest.mark.parametrize(
    "name",
    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "host"],
)
def test_what_belongs_to_one_connection_is_not_passed_on(name: str) -> None:
    head = request_head(_request((name, "x")), body_length=0)

    assert head.data == b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        _request(("x-a", "b\r\nx-c: d")),
        _request(("x-a", "b\nx-c: d")),
        _request(("x-a", "b\rc")),
        _request(("x-a", "b\0c")),
        _request(("x a", "b")),
        _request(("x-a:", "b")),
        _request(("x-a\r\nx-b", "c")),
        _request(("", "c")),
        _request(path="/a b"),
        _request(path="/ HTTP/1.1\r\nx: y"),
        _request(path=""),
        _request(method="GET /"),
        _request(method=""),
        _request(("content-length", "1e1")),
        _request(("content-length", "9" * 5000)),
        _request(("content-length", "1"), ("content-length", "2")),
        Request("GET", "shop\r\nx: y", "/"),
    ],
    ids=lambda request: repr((request.method, request.path, request.headers.pairs))[:80],
)
def test_what_could_split_a_request_is_refused(request_: Request) -> None:
    with pytest.raises(HeadError):
        request_head(request_, body_length=0)
    with pytest.raises(HeadError):
        request_fields(request_, body_length=0)


def test_a_verbatim_head_keeps_case_and_order_but_for_the_host() -> None:
    head = verbatim_head(
        b"GET", b"/", [(b"X-MiXed", b"1"), (b"Connection", b"close"), (b"HOST", b"shop")]
    )

    assert head.data == b"GET / HTTP/1.1\r\nHOST: shop\r\nX-MiXed: 1\r\nConnection: close\r\n\r\n"


def test_a_verbatim_head_is_checked_too() -> None:
    with pytest.raises(HeadError):
        verbatim_head(b"GET", b"/", [(b"X", b"a\r\nY: b")])
    with pytest.raises(HeadError):
        verbatim_head(b"GET", b"/", [(b"Content-Length", b"1"), (b"content-length", b"2")])
