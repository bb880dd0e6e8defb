"""What the first bytes of a connection say: Envoy's tls_inspector and http_inspector in one."""

import re
from dataclasses import dataclass
from typing import Final, Literal

from meshsdk.downstream.client_hello import HANDSHAKE_RECORD, read_client_hello
from meshsdk.errors import PeerError

_H2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REQUEST_LINE: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\r\n]* (HTTP/1\.[01])\r?\n")
_BEGINS_METHOD: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: [^\r\n]*\r?)?\Z")


@dataclass(frozen=True, slots=True)
class Sniffed:
    """The facts that filter chains match on."""

    transport_protocol: Literal["raw_buffer", "tls"]
    server_name: str = ""
    application_protocols: tuple[str, ...] = ()


NOT_HTTP: Final = Sniffed("raw_buffer")
_H2C: Final = Sniffed("raw_buffer", "", ("h2c",))
_HTTP1: Final = {
    b"HTTP/1.1": Sniffed("raw_buffer", "", ("http/1.1",)),
    b"HTTP/1.0": Sniffed("raw_buffer", "", ("http/1.0",)),
}


def sniff(data: bytes, limit: int) -> Sniffed | None:
    """What a connection that begins like this is; None while more bytes must tell.

    PeerError for TLS that is none, and for a ClientHello over `limit` bytes.
    """
    if not data:
        return None
    found = _tls(data[:limit]) if data[0] == HANDSHAKE_RECORD else _plaintext(data)
    if found is not None or len(data) < limit:
        return found
    if data[0] == HANDSHAKE_RECORD:
        raise PeerError("no whole ClientHello", expected=f"at most {limit} bytes")
    return NOT_HTTP


def _tls(data: bytes) -> Sniffed | None:
    hello = read_client_hello(data)
    if hello is None:
        return None
    return Sniffed("tls", hello.server_name, hello.application_protocols)


def _plaintext(data: bytes) -> Sniffed | None:
    if data.startswith(_H2_PREFACE[: len(data)]):
        return _H2C if len(data) >= len(_H2_PREFACE) else None
    # RFC 9112, 2.2: empty lines before a request are skipped.
    line = data.lstrip(b"\r\n")
    found = _REQUEST_LINE.match(line)
    if found is not None:
        return _HTTP1[found[1]]
    return None if not line or _BEGINS_METHOD.match(line) else NOT_HTTP
