"""What uvicorn's protocols do to a request that the mesh must know; uvicorn is not imported."""

from collections.abc import Callable
from typing import Final, Protocol, cast

from httptools import HttpRequestParser

_CALLBACKS: Final = (
    "on_message_begin",
    "on_url",
    "on_header",
    "on_body",
    "on_message_complete",
)


class _HttpToolsProtocol(Protocol):
    """uvicorn.protocols.http.httptools_impl.HttpToolsProtocol, as far as it is touched."""

    parser: object
    headers: list[tuple[bytes, bytes]]

    def on_headers_complete(self) -> None: ...


class _Callbacks:
    """A protocol's own callbacks, but for the end of the headers."""

    on_headers_complete: Callable[[], None]


def root_path(protocol: object) -> str:
    """What uvicorn puts in front of `path` and `raw_path`; other servers leave the wire's path."""
    if not _is_uvicorns(protocol):
        return ""
    found = getattr(protocol, "root_path", "")
    return found if isinstance(found, str) else ""


def keep_trailers_out(protocol: object) -> None:
    """Let trailer fields of a chunked body stay out of the scope's headers.

    uvicorn with httptools appends them to the live list: after the application has started, or,
    where they come in one packet with the headers, before anything can look (THREATS H27). For a
    protocol that has not read anything yet.
    """
    if not _is_uvicorns(protocol) or not isinstance(
        getattr(protocol, "parser", None), HttpRequestParser
    ):
        return
    server = cast("_HttpToolsProtocol", protocol)
    inner = server.on_headers_complete
    callbacks = _Callbacks()
    for name in _CALLBACKS:
        setattr(callbacks, name, getattr(server, name))

    def on_headers_complete() -> None:
        inner()
        # Trailers go to the copy; the scope keeps the list that it has.
        server.headers = list(server.headers)

    callbacks.on_headers_complete = on_headers_complete
    parser = HttpRequestParser(callbacks)
    # As uvicorn sets it: a first request is answered though bytes follow its `connection: close`.
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    server.parser = parser


def _is_uvicorns(protocol: object) -> bool:
    return type(protocol).__module__.startswith("uvicorn.")
