"""Metrics over HTTP."""

from collections.abc import MutableMapping
from wsgiref.util import setup_testing_defaults

import httpx
import pytest

from meshsdk.admin import metrics_asgi, metrics_wsgi

TEXT = "# TYPE m gauge\nm 1\n"
KIND = "text/plain; version=0.0.4; charset=utf-8"


class Measured:
    def metrics(self) -> str:
        return TEXT


def wsgi_get(method: str) -> tuple[str, bytes]:
    environ: dict[str, object] = {}
    setup_testing_defaults(environ)
    environ["REQUEST_METHOD"] = method
    seen: list[str] = []
    body = metrics_wsgi(Measured())(environ, lambda status, headers: seen.append(status))
    return seen[0], b"".join(body)


def test_a_wsgi_server_answers_with_the_metrics() -> None:
    assert wsgi_get("GET") == ("200 OK", TEXT.encode())
    assert wsgi_get("HEAD") == ("200 OK", b"")
    assert wsgi_get("POST") == ("405 Method Not Allowed", b"")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_an_asgi_server_answers_with_the_metrics() -> None:
    transport = httpx.ASGITransport(metrics_asgi(Measured()))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        answer = await client.get("/stats/prometheus")
        posted = await client.post("/stats/prometheus")

    assert (answer.text, answer.headers["content-type"]) == (TEXT, KIND)
    assert posted.status_code == 405


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_other_protocols_are_refused() -> None:
    scope: MutableMapping[str, object] = {"type": "websocket"}

    with pytest.raises(ValueError, match="websocket"):
        await metrics_asgi(Measured())(scope, _never, _nothing)


async def _never() -> MutableMapping[str, object]:
    raise AssertionError


async def _nothing(message: MutableMapping[str, object]) -> None:
    raise AssertionError(message)
