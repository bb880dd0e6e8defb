"""What an authorization service said, whichever protocol it spoke; and what a request becomes then.

Source: Envoy, Filters::Common::ExtAuthz::Response; observed with Envoy 1.40.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from meshsdk.call.headers import Headers, Pair
from meshsdk.call.message import Request
from meshsdk.resources.header_mutations import append

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")  # RFC 9110, 5.6.2
_LINE_END: Final = re.compile(r"[\r\n\0]")
_PSEUDO: Final = frozenset({":path", ":method", ":authority", ":scheme", "host"})
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
FRAMING: Final = HOP_BY_HOP | {"content-length"}
"""Fields of one connection and one body: no service changes those of another."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The call may go on, changed like this."""

    set: tuple[Pair, ...] = ()
    """Request fields, one after the other; pseudo fields by their names."""
    append: tuple[Pair, ...] = ()
    """Joined to a field that is there, and dropped where none is."""
    add: tuple[Pair, ...] = ()
    """As lines of their own."""
    remove: tuple[str, ...] = ()
    response_add: tuple[Pair, ...] = ()
    response_set: tuple[Pair, ...] = ()
    response_add_if_absent: tuple[Pair, ...] = ()
    response_overwrite: tuple[Pair, ...] = ()
    """Only where the field is there."""
    query_set: tuple[Pair, ...] = ()
    query_remove: tuple[str, ...] = ()
    metadata: Mapping[str, object] | None = None

    @property
    def changes_request(self) -> bool:
        """Whether another route may match now."""
        found = self.set or self.append or self.add or self.remove
        return bool(found or self.query_set or self.query_remove)

    @property
    def is_valid(self) -> bool:
        """Whether every field can be sent."""
        request = (*self.set, *self.append, *self.add)
        response = (
            *self.response_add,
            *self.response_set,
            *self.response_add_if_absent,
            *self.response_overwrite,
        )
        query = all(_is_query(k) and _is_query(v) for k, v in self.query_set)
        pseudo = all(_is_pseudo(name, value) for name, value in self.set)
        return query and pseudo and are_valid(response) and are_valid(request, _PSEUDO)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The service said no, or could not say; then `status` None is the filter's own."""

    status: int | None
    body: bytes = b""
    headers: tuple[Pair, ...] = ()
    is_error: bool = False
    metadata: Mapping[str, object] | None = None


Answer: TypeAlias = Allowed | Refusal
ERROR: Final = Refusal(None, is_error=True)


def are_valid(pairs: Iterable[Pair], also: frozenset[str] = frozenset()) -> bool:
    """Whether fields can be sent: names are tokens in lower case (or in `also`), values no lines."""
    return all(
        (_NAME.fullmatch(name) or name in also) and not _LINE_END.search(value)
        for name, value in pairs
    )


def _is_pseudo(name: str, value: str) -> bool:
    match name:
        case ":path":
            return value.startswith("/") and _is_query(value)
        case ":method":
            return _TOKEN.fullmatch(value) is not None
        case _:
            return True


def sendable_status(status: int) -> bool:
    """Whether an answer can have this status."""
    return 200 <= status <= 599


def _is_query(text: str) -> bool:
    return text.isprintable() and not set(text) & {" ", "#"}


def changed(request: Request, allowed: Allowed) -> Request:
    """The request as the service wants it."""
    headers = request.headers
    pseudo: dict[str, str] = {}
    for name, value in allowed.set:
        if name in _PSEUDO:
            pseudo[name] = value
        elif name not in FRAMING:
            headers = headers.set(name, value)
    for name, value in _unframed(allowed.add):
        headers = append(headers, name, value)
    for name, value in _unframed(allowed.append):
        before = headers.values(name)
        if before:
            headers = headers.set(name, ",".join((*before, value)))
    # Neither pseudo fields nor host can be removed (Envoy, isRemovableHeader).
    gone = [n for n in allowed.remove if not n.startswith(":") and n != "host" and n not in FRAMING]
    if gone:
        headers = headers.without(*gone)
    if headers is not request.headers:
        request = request.with_headers(headers)
    if pseudo:
        request = _with_pseudo(request, pseudo)
    if allowed.query_set or allowed.query_remove:
        request = replace(request, path=_with_query(request.path, allowed))
    return request


def _unframed(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(pair for pair in pairs if pair[0] not in FRAMING)


def _with_pseudo(request: Request, pseudo: Mapping[str, str]) -> Request:
    authority = pseudo.get("host", pseudo.get(":authority", request.authority))
    return replace(
        request,
        method=pseudo.get(":method", request.method),
        path=pseudo.get(":path", request.path),
        scheme=pseudo.get(":scheme", request.scheme),
        authority=authority,
    )


def _with_query(path: str, allowed: Allowed) -> str:
    """Parameters come out sorted by name, none of them decoded."""
    bare, _, query = path.partition("?")
    found: dict[str, list[str]] = {}
    for parameter in query.split("&") if query else ():
        name, _, value = parameter.partition("=")
        found.setdefault(name, []).append(value)
    for name, value in allowed.query_set:
        found[name] = [value]
    for name in allowed.query_remove:
        found.pop(name, None)
    written = "&".join(f"{name}={value}" for name in sorted(found) for value in found[name])
    return f"{bare}?{written}" if written else bare


def response_change(allowed: Allowed) -> Callable[[Headers], Headers] | None:
    """What the answer's fields become; None: nothing."""
    conditional = allowed.response_add_if_absent or allowed.response_overwrite
    if not (allowed.response_add or allowed.response_set or conditional):
        return None

    def change(headers: Headers) -> Headers:
        headers = headers.plus(_unframed(allowed.response_add))
        for name, value in _unframed(allowed.response_set):
            headers = headers.set(name, value)
        for name, value in _unframed(allowed.response_add_if_absent):
            if name not in headers:
                headers = headers.add(name, value)
        for name, value in _unframed(allowed.response_overwrite):
            if name in headers:
                headers = headers.set(name, value)
        return headers

    return change


def refusal_change(pairs: tuple[Pair, ...]) -> Callable[[Headers], Headers] | None:
    """The service's fields on the answer: they replace what is there, and may repeat."""
    pairs = _unframed(pairs)
    if not pairs:
        return None

    def change(headers: Headers) -> Headers:
        return headers.without(*(name for name, _ in pairs)).plus(pairs)

    return change
