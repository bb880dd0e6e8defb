import pytest

from meshsdk.downstream.sniff import NOT_HTTP, Sniffed, sniff
from meshsdk.errors import PeerError
from tests.downstream.test_client_hello import HELLO

LIMIT = 16384
HTTP1 = Sniffed("raw_buffer", "", ("http/1.1",))
HTTP10 = Sniffed("raw_buffer", "", ("http/1.0",))
H2C = Sniffed("raw_buffer", "", ("h2c",))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HELLO, Sniffed("tls", "reviews.default", ("istio-http/1.1", "istio"))),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", HTTP1),
        (b"GET /a%20b?c=d HTTP/1.0\n", HTTP10),
        (b"\r\n\r\nPOST / HTTP/1.1\r\n", HTTP1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", H2C),
        (b"PRI * HTTP/2.0\r\n\r\nXX", NOT_HTTP),
        (b"GET /\r\n", NOT_HTTP),
        (b"GET / HTTP/3.0\r\n", NOT_HTTP),
        (b"HELO there\r\n", NOT_HTTP),
        (b"\0\1\2\3", NOT_HTTP),
        (b"\x80\x2e\x01\x03\x01", NOT_HTTP),  # SSL 2
        (b"SSH-2.0-OpenSSH_9.6\r\n", NOT_HTTP),
    ],
)
def test_first_bytes_say_what_a_connection_is(data: bytes, expected: Sniffed) -> None:
    assert sniff(data, LIMIT) == expected


@pytest.mark.parametrize(
    "data",
    [b"", b"\r\n", b"G", b"P", b"PRI * HT", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r", HELLO[:-1]],
)
def test_incomplete_first_bytes_say_nothing_yet(data: bytes) -> None:
    assert sniff(data, LIMIT) is None


def test_a_hello_over_the_limit_is_refused() -> None:
    with pytest.raises(PeerError, match="no whole ClientHello: expected at most 100 bytes"):
        sniff(HELLO[:100], 100)
    with pytest.raises(PeerError, match="no whole ClientHello"):
        sniff(HELLO, 100)


def test_an_endless_request_line_is_not_waited_for() -> None:
    assert sniff(b"GET /" + b"a" * 200, 100) == NOT_HTTP
