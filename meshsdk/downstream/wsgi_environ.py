"""WSGI environs as requests, and back: the application sees the very request that was judged."""

import os
import ssl
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import replace
from typing import Final, TypeAlias, cast
from urllib.parse import quote, unquote_to_bytes

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.connection import Connection
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.address import address_of
from meshsdk.downstream.app_path import decoded_octets
from meshsdk.errors import PeerError

Environ: TypeAlias = MutableMapping[str, object]
ExcInfo: TypeAlias = object
StartResponse: TypeAlias = Callable[..., Callable[[bytes], object]]
WsgiApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]

JUDGED: Final = "meshsdk.judged"
_SOCKETS: Final = ("gunicorn.socket", "werkzeug.socket")
_TARGETS: Final = ("RAW_URI", "REQUEST_URI")
"""Where servers keep the octets of the request line."""
_CLAIMS: Final = "HTTP_X_FORWARDED_CLIENT_CERT"
_MOVERS: Final = ("HTTP_SCRIPT_NAME", "HTTP_PATH_INFO")
_PERSISTENCE: Final = ("keep-alive", "close")
_UNPREFIXED: Final = {"CONTENT_TYPE": "content-type", "CONTENT_LENGTH": "content-length"}
_PLAIN: Final = "/-._~!$&'()*+,;=:@"


def connection_of(environ: Environ, acceptor: Acceptor) -> Connection:
    """What is known of the connection: who the peer is only where our own TLS has served it.

    The server's own socket is asked first: what an environ calls the client may come from a header.
    """
    sock = next((environ[key] for key in _SOCKETS if key in environ), None)
    known = getattr(sock, "mesh_connection", None)
    if isinstance(known, Connection):
        return replace(known, joins_fields=True, state=known.state)
    names = getattr(sock, "getsockname", None), getattr(sock, "getpeername", None)
    if sock is not None and all(map(callable, names)):
        local, peer = (address_of(cast("Callable[[], object]", name)()) for name in names)
    else:
        local = _address(environ, "SERVER_NAME", "SERVER_PORT")
        peer = _address(environ, "REMOTE_ADDR", "REMOTE_PORT")
    found = acceptor.facts(local, peer)
    if isinstance(sock, ssl.SSLSocket):
        # TLS of the server's own: nobody that the mesh knows, and never plaintext either.
        found = replace(found, transport_protocol="tls")
    return replace(found, joins_fields=True)


def _address(environ: Environ, host: str, port: str) -> Address:
    found, number = environ.get(host), str(environ.get(port) or "")
    if not isinstance(found, str) or not found:
        return UNKNOWN
    return address_of((found, int(number) if number.isascii() and number.isdigit() else 0))


def request_of(environ: Environ, connection: Connection) -> Request:
    """The request as it came on the wire, as far as the server kept it. PeerError where it does not
    tell how it came, or something has moved its path."""
    if any(key in environ for key in _MOVERS) or _is_moved(environ):
        # From a header, where a server trusts its peer (THREATS H5).
        raise PeerError("SCRIPT_NAME and PATH_INFO are the server's to set, not the caller's")
    pairs = list(_fields(environ))
    protocol = str(environ.get("SERVER_PROTOCOL") or "")
    return Request(
        str(environ["REQUEST_METHOD"]),
        str(environ.get("HTTP_HOST") or "").strip(" \t"),
        _target(environ),
        Headers.of(pairs),
        "https" if connection.transport_protocol == "tls" else "http",
        "h2" if protocol.startswith("HTTP/2") else "http1",
        any(
            name == "transfer-encoding" or (name == "content-length" and value not in ("", "0"))
            for name, value in pairs
        ),
    )


def _is_moved(environ: Environ) -> bool:
    return str(environ.get("SCRIPT_NAME") or "") not in ("", os.environ.get("SCRIPT_NAME", ""))


def _fields(environ: Environ) -> Iterable[tuple[str, str]]:
    for key, value in environ.items():
        if key in _UNPREFIXED:
            if value:
                yield _UNPREFIXED[key], str(value)
        elif key.startswith("HTTP_") and key not in ("HTTP_HOST", _CLAIMS):
            name = key[5:].replace("_", "-").lower()
            if name != "connection" or str(value).lower() not in _PERSISTENCE:
                yield name, str(value)


def _target(environ: Environ) -> str:
    for key in _TARGETS:
        found = environ.get(key)
        if isinstance(found, str) and found:
            return found
    octets = str(environ.get("SCRIPT_NAME") or "") + str(environ.get("PATH_INFO") or "")
    raw = octets.encode("latin-1")
    quoted = quote(raw, safe=_PLAIN)
    if b"%" in raw or unquote_to_bytes(quoted) != raw:
        raise PeerError("the server did not keep the path's octets, and they are ambiguous")
    query = str(environ.get("QUERY_STRING") or "")
    return f"{quoted}?{query}" if query else quoted


def app_environ(
    environ: Environ, request: Request, connection: Connection, mesh: object
) -> Environ:
    """An environ of the application's own: the request that was judged, and nothing of another."""
    new = {
        key: value
        for key, value in environ.items()
        if not key.startswith("HTTP_") and key not in _UNPREFIXED
    }
    new[JUDGED] = mesh
    joined: dict[str, str] = {}
    for name, value in request.headers.pairs:
        key = name.replace("-", "_").upper()
        key = key if key in _UNPREFIXED else f"HTTP_{key}"
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    new.update(joined)
    if request.authority:
        new["HTTP_HOST"] = request.authority
    path, _, query = request.path.partition("?")
    prefix = str(environ.get("SCRIPT_NAME") or "")
    inside = path[len(prefix) :] if prefix and path.startswith(prefix) else path
    new["PATH_INFO"] = decoded_octets(inside)
    new["QUERY_STRING"] = query
    new["REQUEST_METHOD"] = request.method
    for key in _TARGETS:
        if key in environ:
            new[key] = request.path
    is_tls = connection.transport_protocol == "tls"
    new["wsgi.url_scheme"] = "https" if is_tls else "http"
    peer = connection.peer.physical
    if peer is not UNKNOWN and peer.host:
        new["REMOTE_ADDR"], new["REMOTE_PORT"] = peer.host, str(peer.port)
    return new
