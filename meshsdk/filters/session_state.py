"""How a sticky session is told: in a cookie, or in a header.

Source: Envoy, CookieBasedSessionState and HeaderBasedSessionState: the address of the host, in
base64; in a cookie inside a message with the time at which it ends.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final, Protocol

from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.matching.cookie import cookies
from meshsdk.matching.octets import lower, octets

COOKIE_STATE: Final = MessageTable(
    "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState", honoured("cookie")
)
HEADER_STATE: Final = MessageTable(
    "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState", honoured("name")
)
COOKIE: Final = MessageTable(
    "envoy.type.http.v3.Cookie", honoured("name", "ttl", "path", "attributes")
)
ATTRIBUTE: Final = MessageTable("envoy.type.http.v3.CookieAttribute", honoured("name", "value"))
EXTENSION_CONFIG: Final = MessageTable(
    "envoy.config.core.v3.TypedExtensionConfig", honoured("name", "typed_config")
)
TABLES: Final = (COOKIE_STATE, HEADER_STATE, COOKIE, ATTRIBUTE, EXTENSION_CONFIG)
_PREFIX: Final = "type.googleapis.com/envoy.extensions.http.stateful_session."
_COOKIE_URL: Final = f"{_PREFIX}cookie.v3.CookieBasedSessionState"
_HEADER_URL: Final = f"{_PREFIX}header.v3.HeaderBasedSessionState"
# Wire keys of the message in the cookie: `address` (1, a string), `expires` (2, a varint).
_ADDRESS: Final = 0x0A
_EXPIRES: Final = 0x10


class SessionState(Protocol):
    """Where a session's host is told."""

    def concerns(self, request: Request) -> bool:
        """Whether a request can be of a session."""
        ...

    def address(self, request: Request, now: float) -> str:
        """`ip:port` of the host; empty: no session, or one that is over. `now`: epoch seconds."""
        ...

    def tell(self, headers: Headers, address: str, now: float) -> Headers:
        """An answer's fields that tell of a new host."""
        ...


@dataclass(frozen=True, slots=True)
class CookieSession:
    """A session in a cookie."""

    name: str
    path: str = ""
    ttl: float = 0.0
    """Seconds; 0: as long as the browser keeps it."""
    attributes: str = ""

    def concerns(self, request: Request) -> bool:
        """Whether the cookie's path has the request's (RFC 6265, 5.1.4)."""
        wanted, path = self.path, request.path.partition("?")[0]
        if not wanted or wanted == "/" or path == wanted:
            return True
        return path.startswith(wanted) and (wanted.endswith("/") or path[len(wanted)] == "/")

    def address(self, request: Request, now: float) -> str:
        """The host in the request's cookie."""
        raw = _decoded(cookies(request).get(self.name, ""))
        message = _read(raw)
        if message is None:
            return raw.decode("latin-1")
        address, expires = message
        return "" if expires and now > expires else address

    def tell(self, headers: Headers, address: str, now: float) -> Headers:
        """A Set-Cookie."""
        message = bytes((_ADDRESS, len(address))) + address.encode("latin-1")
        if self.ttl:
            message += bytes((_EXPIRES,)) + _varint(int(now + self.ttl))
        parts = [f'{self.name}="{base64.b64encode(message).decode()}"']
        if self.ttl:
            parts.append(f"Max-Age={int(self.ttl)}")
        if self.path:
            parts.append(f"Path={self.path}")
        if self.attributes:
            parts.append(self.attributes)
        return headers.add("set-cookie", "; ".join((*parts, "HttpOnly")))


@dataclass(frozen=True, slots=True)
class HeaderSession:
    """A session in a header."""

    name: str

    def concerns(self, request: Request) -> bool:
        """Every request may be of one."""
        del request
        return True

    def address(self, request: Request, now: float) -> str:
        """The host in the request's header."""
        del now
        return _decoded(request.headers.get(self.name) or "").decode("latin-1")

    def tell(self, headers: Headers, address: str, now: float) -> Headers:
        """The header with the host."""
        del now
        return headers.set(self.name, base64.b64encode(address.encode("latin-1")).decode())


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _read(raw: bytes) -> tuple[str, int] | None:
    """Address and end of a cookie's message; None: these octets are none."""
    if len(raw) < 2 or raw[0] != _ADDRESS or len(raw) < 2 + raw[1]:
        return None
    address, rest = raw[2 : 2 + raw[1]], raw[2 + raw[1] :]
    if not rest:
        return address.decode("latin-1"), 0
    if rest[0] != _EXPIRES:
        return None
    expires = 0
    for i, octet in enumerate(rest[1:]):
        expires |= (octet & 0x7F) << (7 * i)
    return address.decode("latin-1"), expires


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def parse_session_state(reader: Reader) -> SessionState:
    """The session state of a TypedExtensionConfig."""
    check(reader, EXTENSION_CONFIG)
    found = reader.typed("typed_config")
    if found is None:
        raise reader.error_at("typed_config", "expected a typed message, found none")
    if found.type_url == _COOKIE_URL:
        check(found, COOKIE_STATE)
        return _cookie(found.required_message("cookie"))
    if found.type_url == _HEADER_URL:
        check(found, HEADER_STATE)
        return HeaderSession(lower(octets(found.required_string("name"))))
    raise UnknownExtensionError(
        found.path, f"no session state takes {found.type_url}", found.type_url
    )


def _cookie(reader: Reader) -> CookieSession:
    check(reader, COOKIE)
    ttl = reader.duration("ttl")
    if ttl < 0:
        raise reader.error_at("ttl", f"expected at least 0s, found {ttl:g}s")
    attributes: list[str] = []
    for attribute in reader.messages("attributes"):
        check(attribute, ATTRIBUTE)
        name, value = attribute.required_string("name"), attribute.string("value")
        attributes.append(octets(f"{name}={value}" if value else name))
    return CookieSession(
        octets(reader.required_string("name")),
        octets(reader.string("path")),
        ttl,
        "; ".join(attributes),
    )
