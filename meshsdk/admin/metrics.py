"""Metrics over HTTP, to be mounted in the application or served beside it.

    app.mount("/stats/prometheus", metrics_asgi(mesh))       # Starlette, FastAPI
    DispatcherMiddleware(app, {"/metrics": metrics_wsgi(mesh)})

Every path that reaches them answers: the application's own routing says which do.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Final, Protocol, TypeAlias

from meshsdk.telemetry.prometheus import CONTENT_TYPE

Message: TypeAlias = MutableMapping[str, object]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[MutableMapping[str, object], Receive, Send], Awaitable[None]]
StartResponse: TypeAlias = Callable[[str, list[tuple[str, str]]], object]
WsgiApp: TypeAlias = Callable[[Mapping[str, object], StartResponse], Iterable[bytes]]

_READS: Final = frozenset({"GET", "HEAD"})


class Measured(Protocol):
    """What has metrics: a `Mesh`."""

    def metrics(self) -> str:
        """In Prometheus' text format."""
        ...


def metrics_asgi(mesh: Measured) -> AsgiApp:
    """An ASGI application that answers with the mesh's metrics."""

    async def app(scope: MutableMapping[str, object], receive: Receive, send: Send) -> None:
        del receive
        if scope["type"] != "http":
            raise ValueError(f"metrics are not served over {scope['type']}")
        is_read = scope["method"] in _READS
        body = mesh.metrics().encode() if is_read else b""
        start: Message = {
            "type": "http.response.start",
            "status": 200 if is_read else 405,
            "headers": [
                (b"content-type", CONTENT_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
            ],
        }
        await send(start)
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )

    return app


def metrics_wsgi(mesh: Measured) -> WsgiApp:
    """The same as a WSGI application."""

    def app(environ: Mapping[str, object], start_response: StartResponse) -> Iterable[bytes]:
        method = environ["REQUEST_METHOD"]
        if method not in _READS:
            start_response("405 Method Not Allowed", [("content-length", "0")])
            return ()
        body = mesh.metrics().encode()
        headers = [("content-type", CONTENT_TYPE), ("content-length", str(len(body)))]
        start_response("200 OK", headers)
        return () if method == "HEAD" else (body,)

    return app
