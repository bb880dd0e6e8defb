"""ASGI scopes as requests, and back: the application sees the very request that was judged."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TypeAlias, cast
from urllib.parse import quote, unquote

from meshsdk.call.headers import Headers, RawPair
from meshsdk.call.message import Request
from meshsdk.downstream.capture import Captured
from meshsdk.downstream.tls_extension import tls_extension
from meshsdk.errors import PeerError

Scope: TypeAlias = MutableMapping[str, object]
Message: TypeAlias = MutableMapping[str, object]
AsgiReceive: TypeAlias = Callable[[], Awaitable[Message]]
AsgiSend: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, AsgiReceive, AsgiSend], Awaitable[None]]

# What a client says of its own certificate is nobody's identity (THREATS H11); `host` is a field
# of the request itself.
_NOT_FIELDS = frozenset({b"host", b"x-forwarded-client-cert", b"x_forwarded_client_cert"})
_JUDGED = "meshsdk.judged"
_JUDGED_BY = ("method", "path", "raw_path", "query_string", "headers")
_PLAIN = "/-._~!$&'()*+,;=:@"


def request_of(scope: Scope, captured: Captured) -> Request:
    """The request as it came on the wire. PeerError where the scope does not tell how it came."""
    raw: list[RawPair] = []
    hosts: list[bytes] = []
    has_length = has_coding = False
    for name, value in cast("Iterable[RawPair]", scope["headers"]):
        name = name.lower()
        if name in _NOT_FIELDS:
            if name == b"host":
                hosts.append(value)
            continue
        if name == b"content-length":
            has_length = value != b"0"
        elif name == b"transfer-encoding":
            has_coding = True
        raw.append((name, value))
    # Several are joined, as Envoy does; whether that may pass is the connection manager's affair.
    authority = hosts[0] if len(hosts) == 1 else b",".join(hosts)
    is_h2 = scope.get("http_version") in ("2", "2.0", "3")
    method = scope.get("method", "GET")  # a websocket's handshake has none
    return Request(
        cast("str", method),
        authority.decode("latin-1").strip(" \t"),
        _path_of(scope, captured.root_path),
        Headers.from_raw(raw),
        "https" if captured.connection.transport_protocol == "tls" else "http",
        "h2" if is_h2 else "http1",
        has_length or has_coding or (is_h2 and method not in ("GET", "HEAD")),
    )


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
    headers = list(request.headers.raw())
    if request.authority:
        headers.insert(0, (b"host", request.authority.encode("latin-1")))
    new["headers"] = headers
    if request.path is not asked.path and request.path != asked.path:
        _set_path(new, request.path, captured.root_path)
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
    scope["path"] = prefix + unquote(bare)
    scope["query_string"] = query.encode("latin-1")
