"""One HTTP/1.1 exchange written by hand: exactly the octets of a case, from the address it names."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_LIMIT = 15.0


class Closed(Exception):
    """The server closed the connection without a whole response. `port`: the client's."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port


class TlsFailed(Exception):
    """There was no connection."""


@dataclass(slots=True)
class Exchange:
    """A response as it came."""

    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes = b""
    port: int = 0
    """The client's, as the server sees it."""


def exchange(
    port: int, request: Mapping[str, Any], certificate: tuple[str, str] | None = None
) -> Exchange:
    """Send a case's request on a connection of its own, behind a PROXY preamble."""
    direct = request.get("direct_source_ip", "127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), _LIMIT, (direct, 0)) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = int(plain.getsockname()[1])
        plain.sendall(_preamble(request))
        if certificate is None and not request.get("tls"):
            return _talk(plain, request, own)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            context.load_cert_chain(*certificate)
        try:
            sock = context.wrap_socket(plain, server_hostname=request.get("sni"))
        except OSError as error:
            raise TlsFailed from error
        with sock:
            return _talk(sock, request, own)


def _preamble(request: Mapping[str, Any]) -> bytes:
    source = request.get("source_ip", "127.0.0.1")
    is_v6 = ":" in source
    local = request.get("dest_ip", "::1" if is_v6 else "127.0.0.1")
    kind = "TCP6" if is_v6 else "TCP4"
    ports = f"{request.get('source_port', 40000)} {request.get('dest_port', 8080)}"
    return f"PROXY {kind} {source} {local} {ports}\r\n".encode()


def _talk(sock: socket.socket, request: Mapping[str, Any], own: int) -> Exchange:
    method = request.get("method", "GET")
    lines = [f"{method} {request.get('path', '/')} HTTP/1.1"]
    if request.get("authority") is not None:
        lines.append(f"Host: {request['authority']}")
    lines += [f"{name}: {value}" for name, value in request.get("headers") or ()]
    body = request.get("body")
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    data = "\r\n".join((*lines, "", "")) + (body or "")
    try:
        sock.sendall(data.encode("latin-1"))
        return _answer(_Reader(sock), method, own)
    except OSError as error:
        raise Closed(own) from error


class _Reader:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._rest = b""

    def until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self.more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def exactly(self, count: int) -> bytes:
        while len(self._rest) < count:
            self.more()
        found, self._rest = self._rest[:count], self._rest[count:]
        return found

    def everything(self) -> bytes:
        try:
            while True:
                self.more()
        except OSError:
            return self._rest

    def more(self) -> None:
        data = self._sock.recv(1 << 16)
        if not data:
            raise ConnectionError("the server closed")
        self._rest += data


def _answer(reader: _Reader, method: str, own: int) -> Exchange:
    status, headers = 100, list[tuple[str, str]]()
    while 100 <= status < 200 and status != 101:
        first, *lines = reader.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        pairs = (line.partition(":") for line in lines)
        headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    fields = dict(headers)
    if method == "HEAD" or status in (204, 304):
        body = b""
    elif fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(reader.until(b"\r\n"), 16):
            body += reader.exactly(size)
            reader.exactly(2)
    elif "content-length" in fields:
        body = reader.exactly(int(fields["content-length"]))
    else:
        body = reader.everything()
    return Exchange(status, headers, body, own)
