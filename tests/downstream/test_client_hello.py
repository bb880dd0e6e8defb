import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshsdk.downstream.client_hello import ClientHello, read_client_hello
from meshsdk.errors import PeerError


def hello_of(sni: str | None = "reviews.default", alpn: tuple[str, ...] = ()) -> bytes:
    """The bytes with which OpenSSL begins."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    out = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=sni)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


HELLO = hello_of(alpn=("istio-http/1.1", "istio"))


def in_records(hello: bytes, size: int) -> bytes:
    """The same message in records of at most `size` bytes."""
    body = hello[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(hello[:3] + len(part).to_bytes(2) + part for part in parts)


def message(*extensions: tuple[int, bytes], tail: bytes = b"") -> bytes:
    """A hello with exactly these extensions."""
    packed = b"".join(kind.to_bytes(2) + len(e).to_bytes(2) + e for kind, e in extensions)
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\2\x13\x01" + b"\1\0"
    body += len(packed).to_bytes(2) + packed + tail
    handshake = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake


def sni_of(name: bytes, kind: int = 0) -> tuple[int, bytes]:
    entry = bytes([kind]) + len(name).to_bytes(2) + name
    return 0, len(entry).to_bytes(2) + entry


def alpn_of(*names: bytes) -> tuple[int, bytes]:
    entries = b"".join(bytes([len(name)]) + name for name in names)
    return 16, len(entries).to_bytes(2) + entries


def test_the_server_name_and_the_offered_protocols_of_openssl_are_read() -> None:
    assert read_client_hello(HELLO) == ClientHello("reviews.default", ("istio-http/1.1", "istio"))
    assert read_client_hello(hello_of(None)) == ClientHello()


def test_istios_long_server_name_with_underscores_is_read_in_lower_case() -> None:
    hello = message(sni_of(b"outbound_.8080_._.Payment.Shop.svc.cluster.local"))

    found = read_client_hello(hello)

    assert found == ClientHello("outbound_.8080_._.payment.shop.svc.cluster.local")


def test_every_proper_prefix_is_incomplete_and_nothing_more() -> None:
    assert {read_client_hello(HELLO[:end]) for end in range(len(HELLO))} == {None}


@pytest.mark.parametrize("size", [64, 100, 255, 16384])
def test_a_hello_may_be_split_over_records(size: int) -> None:
    assert read_client_hello(in_records(HELLO, size)) == read_client_hello(HELLO)


def test_one_byte_records_are_too_many() -> None:
    with pytest.raises(PeerError, match="too many records"):
        read_client_hello(in_records(HELLO, 1))


def _name(value: object) -> str:
    return value if isinstance(value, str) else "hello"  # its bytes are random


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x15\x03\x01\0\2\1\0", "no TLS handshake record"),
        (b"\x16\x02", "no TLS record"),
        (b"\x16GET / HTTP/1.1\r\n", "no TLS record"),
        (b"\x16\x03\x01\0\0", "forbidden size"),
        (b"\x16\x03\x01\xff\xff", "forbidden size"),
        (b"\x16\x03\x01\0\4\2\0\0\0", "no ClientHello"),
        (HELLO[:5] + b"\2" + HELLO[6:], "no ClientHello"),
        (in_records(HELLO, 64)[:69] + b"\x17\x03\x03\0\1\0", "no TLS handshake record"),
        (message(sni_of(b"a"), tail=b"x"), "bytes after its extensions"),
        (message(sni_of(b"a"), sni_of(b"b")), "extension 0 twice"),
        (message(alpn_of(b"h2"), alpn_of(b"istio")), "extension 16 twice"),
        (message(sni_of(b"")), "empty field"),
        (message(sni_of(b"a", kind=1)), "not one host name"),
        (message((0, b"\0\0")), "empty field"),
        (message((0, sni_of(b"a")[1] + b"x")), "not one host name"),
        (message(sni_of(b"a\0b")), "not ASCII"),
        (message(sni_of("ä".encode())), "not ASCII"),
        (message(alpn_of(b"")), "empty field"),
        (message(alpn_of()), "empty field"),
        (message((16, b"\0\3\5h2")), "longer than what holds it"),
        (message((16, alpn_of(b"h2")[1] + b"x")), "after the ALPN list"),
    ],
    ids=_name,
)
def test_a_malformed_hello_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(PeerError, match=problem):
        read_client_hello(data)


def test_bytes_after_the_hello_in_its_record_are_refused() -> None:
    longer = HELLO[:3] + (len(HELLO) - 4).to_bytes(2) + HELLO[5:] + b"x"

    with pytest.raises(PeerError, match="bytes after the ClientHello"):
        read_client_hello(longer)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_no_changed_byte_raises_anything_but_a_refusal(at: int, octet: int) -> None:
    changed = HELLO[:at] + bytes([octet]) + HELLO[at + 1 :]
    with suppress(PeerError):
        read_client_hello(changed)


@given(st.binary(max_size=80))
def test_no_extensions_raise_anything_but_a_refusal(noise: bytes) -> None:
    with suppress(PeerError):
        read_client_hello(message((0, noise), (16, noise)))
    with suppress(PeerError):
        read_client_hello(b"\x16\x03\x01" + noise)
