"""Request heads as they go on an HTTP/1.1 wire."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from meshsdk.call.headers import RawPair
from meshsdk.call.message import Request
from meshsdk.errors import UsageError

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110, 5.6.2
_TARGET: Final = re.compile(rb"[\x21-\x7e\x80-\xff]+")
# What belongs to one connection only (RFC 9110, 7.6.1), and the framing, which is ours to decide.
_HOP_BY_HOP: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"host")
)
_CONTENT_LENGTH: Final = b"\r\ncontent-length: "
_TE: Final = b"\r\nte: "
_MOST_DIGITS: Final = 19  # of 2**63 - 1
_CACHED: Final = 4096


class HeadError(UsageError):
    """A request that HTTP/1.1 cannot carry: a line break in a value, a space in a name."""


@dataclass(slots=True)
class Head:
    """A serialised head and how the body after it is framed."""

    data: bytes
    content_length: int | None = None
    """What the head declares; None with `is_chunked` False: no body may follow."""
    is_chunked: bool = False
    fields: Sequence[RawPair] = ()
    """The same for HTTP/2, pseudo fields first."""


def request_fields(request: Request, *, body_length: int | None) -> Head:
    """The head of a request of the mesh as HTTP/2 sends it. HeadError as `request_head`."""
    method, target = request.method.encode("latin-1"), request.path.encode("latin-1")
    authority = request.authority.encode("latin-1")
    fields = [
        (b":method", method),
        (b":scheme", request.scheme.encode("latin-1")),
        (b":authority", authority),
        (b":path", target),
    ]
    length: int | None = None
    for name, value in request.headers.raw():
        prefix = _prefixes.get(name)
        if prefix is None:
            prefix = _prefix(name)
        if not prefix:
            continue
        if prefix is _CONTENT_LENGTH:
            length = _declared(value, length)
        if prefix == _TE and value.strip().lower() != b"trailers":
            continue  # RFC 9113, 8.2.2
        fields.append((prefix[2:-2], value))
    is_open = length is None and body_length is None
    if length is None and body_length:
        length = body_length
        fields.append((b"content-length", b"%d" % body_length))
    for _, value in fields:
        if b"\r" in value or b"\n" in value or b"\0" in value:
            raise HeadError("illegal header value: a line break or NUL")
    _check_line(method, target)
    return Head(b"", length, is_open, fields)


_prefixes: dict[bytes, bytes] = {}
"""What stands before the value of a field, by name in any case; empty: the field is left out."""


def request_head(request: Request, *, body_length: int | None) -> Head:
    """The head of a request of the mesh. `body_length` None: a body of unknown length follows.

    Names go in lower case, as Envoy sends them. HeadError for what cannot be sent.
    """
    method, target = request.method.encode("latin-1"), request.path.encode("latin-1")
    parts = [method, b" ", target, b" HTTP/1.1\r\nhost: ", request.authority.encode("latin-1")]
    lines = 3  # request line, host, the empty one
    length: int | None = None
    for name, value in request.headers.raw():
        prefix = _prefixes.get(name)
        if prefix is None:
            prefix = _prefix(name)
        if not prefix:
            continue
        if prefix is _CONTENT_LENGTH:
            length = _declared(value, length)
        parts += (prefix, value)
        lines += 1
    chunked = False
    if length is None and body_length != 0:
        lines += 1
        if body_length is None:
            chunked = True
            parts.append(b"\r\ntransfer-encoding: chunked")
        else:
            length = body_length
            parts += (_CONTENT_LENGTH, b"%d" % body_length)
    parts.append(b"\r\n\r\n")
    data = b"".join(parts)
    _check(data, lines, method, target)
    return Head(data, length, chunked)


def verbatim_head(method: bytes, target: bytes, fields: Iterable[RawPair]) -> Head:
    """The head of a request that the mesh passes through: as the application made it."""
    parts = [method, b" ", target, b" HTTP/1.1"]
    host: list[bytes] = []
    lines = 2
    length: int | None = None
    chunked = False
    for name, value in fields:
        if name not in _prefixes:
            _prefix(name)
        lower = name.lower()
        if lower == b"content-length":
            length = _declared(value, length)
        elif lower == b"transfer-encoding":
            chunked = True
        into = host if lower == b"host" else parts
        into += (b"\r\n", name, b": ", value)
        lines += 1
    parts[4:4] = host  # first, as h11 does and RFC 9110 (7.2) advises
    parts.append(b"\r\n\r\n")
    data = b"".join(parts)
    _check(data, lines, method, target)
    return Head(data, None if chunked else length, chunked)


def _prefix(name: bytes) -> bytes:
    lower = name.lower()
    if _TOKEN.fullmatch(lower) is None:
        raise HeadError(f"illegal header name {name[:80]!r}")
    if lower == b"content-length":
        prefix = _CONTENT_LENGTH
    else:
        prefix = b"" if lower in _HOP_BY_HOP else b"\r\n%b: " % lower
    if len(_prefixes) < _CACHED:
        _prefixes[name] = prefix
    return prefix


def _declared(value: bytes, before: int | None) -> int:
    if not value.isdigit() or len(value) > _MOST_DIGITS:
        raise HeadError(f"illegal content-length {value[:80]!r}")
    found = int(value)
    if before not in (None, found):
        raise HeadError(f"two content-lengths, {before} and {found}")
    return found


def _check(data: bytes, lines: int, method: bytes, target: bytes) -> None:
    # Each line brought one CR and one LF: any other came out of a value (response splitting).
    if data.count(b"\n") != lines or data.count(b"\r") != lines or b"\0" in data:
        raise HeadError("illegal header value: a line break or NUL")
    _check_line(method, target)


def _check_line(method: bytes, target: bytes) -> None:
    if _TOKEN.fullmatch(method) is None:
        raise HeadError(f"illegal method {method[:80]!r}")
    if _TARGET.fullmatch(target) is None:
        raise HeadError(f"illegal request target {target[:80]!r}")
