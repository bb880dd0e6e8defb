"""Reading a TLS ClientHello without consuming it: what filter chains match on before a handshake.

Source: RFC 8446 (sections 4.1.2, 5.1), RFC 6066 (3), RFC 7301 (3.1).
"""

from dataclasses import dataclass
from typing import Final

from meshsdk.errors import PeerError

HANDSHAKE_RECORD: Final = 0x16
_CLIENT_HELLO: Final = 1
_MAX_RECORD: Final = 1 << 14
_MAX_RECORDS: Final = 32  # hellos come in one to three; more would only cost us time
_SERVER_NAME: Final = 0
_ALPN: Final = 16


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says before anything is agreed."""

    server_name: str = ""
    """SNI in lower case; empty when none was sent."""
    application_protocols: tuple[str, ...] = ()
    """The ALPN names that it offers, in its order."""


def read_client_hello(data: bytes) -> ClientHello | None:
    """The hello that these first bytes of a connection are; None while it is not complete.

    PeerError as soon as they cannot become one. The caller bounds the size.
    """
    message = _message(data)
    return None if message is None else _hello(message)


def _message(data: bytes) -> bytes | None:
    """The handshake message, put together from its records, without its header."""
    parts: list[bytes] = []
    held, at, wanted = 0, 0, -1
    for _ in range(_MAX_RECORDS):
        head = data[at : at + 5]
        _check_record(head)
        if len(head) < 5:
            return None
        length = int.from_bytes(head[3:5])
        part = data[at + 5 : at + 5 + length]
        parts.append(part)
        held += len(part)
        if wanted < 0 and held >= 4:
            wanted = _length_of(b"".join(parts))
        if wanted >= 0 and held >= wanted + 4:
            if length != len(part) or held > wanted + 4:
                raise PeerError("bytes after the ClientHello in its record")
            return b"".join(parts)[4:]
        if len(part) < length:
            return None
        at += 5 + length
    raise PeerError("ClientHello in too many records", expected=f"at most {_MAX_RECORDS}")


def _check_record(head: bytes) -> None:
    """Refuse a record header, whole or not, that no ClientHello has."""
    if head[:1] not in (b"", b"\x16"):
        raise PeerError("no TLS handshake record", expected="type 22", found=f"type {head[0]}")
    if head[1:2] not in (b"", b"\x03"):
        raise PeerError("no TLS record", expected="version 3.x", found=f"version {head[1]}.x")
    if len(head) == 5 and not 0 < int.from_bytes(head[3:5]) <= _MAX_RECORD:
        raise PeerError(
            "record of a forbidden size",
            expected=f"1 to {_MAX_RECORD} bytes",
            found=str(int.from_bytes(head[3:5])),
        )


def _length_of(start: bytes) -> int:
    if start[0] != _CLIENT_HELLO:
        raise PeerError("no ClientHello", expected="message 1", found=f"message {start[0]}")
    return int.from_bytes(start[1:4])


class _Cursor:
    """Takes bytes off the front; a length that points behind the end is refused."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise PeerError("malformed ClientHello: a field is longer than what holds it")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def vector(self, size: int, *, at_least: int = 0) -> bytes:
        """A field with its length, of `size` bytes, in front."""
        length = int.from_bytes(self.take(size))
        if length < at_least:
            raise PeerError("malformed ClientHello: an empty field that must not be empty")
        return self.take(length)


def _hello(message: bytes) -> ClientHello:
    cursor = _Cursor(message)
    cursor.take(2 + 32)  # legacy_version, random
    if len(cursor.vector(1)) > 32:
        raise PeerError("malformed ClientHello: session ID over 32 bytes")
    if len(cursor.vector(2, at_least=2)) % 2:
        raise PeerError("malformed ClientHello: half a cipher suite")
    cursor.vector(1, at_least=1)  # compression methods
    if cursor.is_at_end:  # TLS 1.2 allows a hello without extensions
        return ClientHello()
    extensions = _extensions(cursor.vector(2))
    if not cursor.is_at_end:
        raise PeerError("malformed ClientHello: bytes after its extensions")
    return ClientHello(
        _server_name(extensions.get(_SERVER_NAME)), _protocols(extensions.get(_ALPN))
    )


def _extensions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    cursor = _Cursor(data)
    while not cursor.is_at_end:
        kind = int.from_bytes(cursor.take(2))
        if kind in found:  # RFC 8446, 4.2: or else two readers may see two different names
            raise PeerError(f"malformed ClientHello: extension {kind} twice")
        found[kind] = cursor.vector(2)
    return found


def _server_name(extension: bytes | None) -> str:
    if extension is None:
        return ""
    outer = _Cursor(extension)
    names = _Cursor(outer.vector(2, at_least=1))
    kind, name = names.take(1), names.vector(2, at_least=1)
    # RFC 6066: one name of a type, and host_name is the only type there is.
    if kind != b"\0" or not names.is_at_end or not outer.is_at_end:
        raise PeerError("malformed ClientHello: server_name is not one host name")
    if not all(0x21 <= octet <= 0x7E for octet in name):
        raise PeerError("malformed ClientHello: server_name is not ASCII")
    return name.decode("ascii").lower()


def _protocols(extension: bytes | None) -> tuple[str, ...]:
    if extension is None:
        return ()
    outer = _Cursor(extension)
    names = _Cursor(outer.vector(2, at_least=2))
    if not outer.is_at_end:
        raise PeerError("malformed ClientHello: bytes after the ALPN list")
    found: list[str] = []
    while not names.is_at_end:
        found.append(names.vector(1, at_least=1).decode("latin-1"))
    return tuple(found)
