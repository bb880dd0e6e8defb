"""ASGI scopes as requests, and back: the application sees the very request that was judged."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TypeAlias, cast
from urllib.parse import quote, unquote

from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import Request
from meshsdk.downstream.app_path import decoded, hides_separators
from meshsdk.downstream.capture import Captured
from meshsdk.downstream.tls_extension import tls_extension
from meshsdk.errors import PeerError

Scope: TypeAlias = MutableMapping[str, object]
Message: TypeAlias = MutableMapping[str, object]
AsgiReceive: TypeAlias = Callable[[], Awaitable[Message]]
AsgiSend: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, AsgiReceive, AsgiSend], Awaitable[None]]

_CLAIMS = frozenset({b"x-forwarded-client-cert", b"x_forwarded_client_cert"})
_PERSISTENCE = frozenset({b"keep-alive", b"close"})
_BINARY = frozenset({"2", "2.0", "3"})
_JUDGED = "meshsdk.judged"
_JUDGED_BY = ("method", "path", "raw_path", "query_string", "headers")
_PLAIN = "/-._~!$&'()*+,;=:@"


def request_of(scope: Scope, captured: Captured) -> Request:
    """The request as it came on the wire. PeerError where the scope does not tell how it came."""
    raw = list(cast("Iterable[RawPair]", scope["headers"]))
    names = [pair[0] for pair in raw]
    together = b"\n".join(names)
    if (
        together != together.lower()
        or b"client" in together
        # Some servers give lists, which they could change.
        or (raw and type(raw[0]) is not tuple)
    ):
        raw, names = _without_claims(raw)
    if b"connection" in names:
        at = names.index(b"connection")
        if raw[at][1].lower() in _PERSISTENCE:  # between the client and the server alone
            del raw[at], names[at]
    # Several hosts are joined, as Envoy does; whether that may pass is the connection manager's
    # affair. A field of the request itself, `host` is none of its headers.
    if names.count(b"host") == 1:
        at = names.index(b"host")
        host = raw.pop(at)[1]
    else:
        host = b",".join([value for name, value in raw if name == b"host"])
        raw = [pair for pair in raw if pair[0] != b"host"]
    is_h2 = scope["http_version"] in _BINARY
    method = cast("str", scope.get("method", "GET"))  # a websocket's handshake has none
    has_body = (
        (b"content-length" in names and (b"content-length", b"0") not in raw)
        or b"transfer-encoding" in names
        or (is_h2 and method not in ("GET", "HEAD"))
    )
    return Request(
        method,
        host.decode("latin-1").strip(" \t"),
        _path_of(scope, captured.root_path),
        Headers.from_raw(raw),
        "https" if captured.connection.transport_protocol == "tls" else "http",
        "h2" if is_h2 else "http1",
        has_body,
    )


def _without_claims(raw: list[RawPair]) -> tuple[list[RawPair], list[bytes]]:
    """Fields with names in lower case, as servers owe them, less what a client says of its own
    certificate: that is nobody's identity (THREATS H11)."""
    lowered = [(name.lower(), value) for name, value in raw]
    kept = [pair for pair in lowered if pair[0] not in _CLAIMS]
    return kept, [name for name, _ in kept]


def _path_of(scope: Scope, prefix: str) -> str:
    raw = scope.get("raw_path")
    path = _requoted(scope) if raw is None else cast("bytes", raw).decode("latin-1")
    if prefix and path.startswith(prefix):
        path = path[len(prefix) :]
    query = cast("bytes", scope.get("query_string") or b"")
    return f"{path}?{query.decode('latin-1')}" if query else path


def _requoted(scope: Scope) -> str:
    """A path whose octets the server did not keep, where they can be told from the decoded one."""
    path = cast("str", scope["path"])
    quoted = quote(path, safe=_PLAIN)
    if "%" in path or unquote(quoted) != path:
        raise PeerError("the server did not keep the path's octets, and they are ambiguous")
    return quoted


def is_judged(scope: Scope, mesh: object) -> bool:
    """Whether this mesh has judged the request already, further out."""
    return scope.get(_JUDGED) is mesh


def is_rewritten(scope: Scope, receive: object) -> bool:
    """Whether something between the server and us has changed what we judge, as far as it shows."""
    own = getattr(getattr(receive, "__self__", None), "scope", None)
    if own is None or own is scope or not isinstance(own, dict):
        return "path_params" in scope  # a framework has routed it
    theirs = cast("Scope", own)
    return any(theirs.get(key) != scope.get(key) for key in _JUDGED_BY)


def app_scope(
    scope: Scope, asked: Request, request: Request, captured: Captured, mesh: object
) -> Scope:
    """A scope of the application's own: nothing in it is the server's to change later.

    `asked` is what `request_of` made of `scope`, `request` what became of it. Servers promote
    trailers to headers in place and share `extensions` between requests (THREATS H27; HTTP.md 2.3).
    """
    new = dict(scope)
    new[_JUDGED] = mesh
    fields = request.headers.raw()
    if request.authority:
        new["headers"] = [(b"host", request.authority.encode("latin-1")), *fields]
    else:
        new["headers"] = list(fields)
    path = request.path
    if (path is not asked.path and path != asked.path) or hides_separators(path):
        _set_path(new, path, captured.root_path)
    if request.method != asked.method:
        new["method"] = request.method
    is_tls = captured.connection.transport_protocol == "tls"
    if scope["type"] == "websocket":
        new["scheme"] = "wss" if is_tls else "ws"
    else:
        new["scheme"] = "https" if is_tls else "http"
    if captured.client is not None:
        new["client"] = captured.client
    if captured.server is not None:
        new["server"] = captured.server
    extensions = cast("MutableMapping[str, object]", scope.get("extensions") or {})
    new["extensions"] = extensions = {k: v for k, v in extensions.items() if k != "tls"}
    if is_tls:
        extensions["tls"] = _tls(captured)
    return new


def _tls(captured: Captured) -> dict[str, object]:
    """A copy for each request of what is worked out once for a connection."""
    known = captured.notes.get("tls")
    if known is None:
        known = captured.notes["tls"] = tls_extension(captured.connection, captured.tls)
    return dict(cast("dict[str, object]", known))


def _set_path(scope: Scope, path: str, prefix: str) -> None:
    bare, _, query = path.partition("?")
    raw = (prefix + bare).encode("latin-1")
    scope["raw_path"] = raw
    scope["path"] = prefix + decoded(bare)
    scope["query_string"] = query.encode("latin-1")
