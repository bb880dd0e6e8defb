"""An application in the mesh that calls others: what its calls take from the request, over sockets."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

import anyio
import httpx
import pytest

from meshsdk.config.yaml import load
from meshsdk.downstream.asgi_scope import AsgiReceive, AsgiSend, Message, Scope
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import SeenCall, silent
from tests.downstream.mesh import ORDER_ID
from tests.flow.plans import config
from tests.flow.test_inbound import chain, listener
from tests.integrations.asgi_server import MTLS, PLAIN, App, Server, scope_of
from tests.integrations.traffic import mesh_of
from tests.upstream.raw_server import OK, Served, forever, serving

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOON = (b"x-envoy-expected-rq-timeout-ms", b"500")


def silence(served: Served) -> None:
    served.head()
    served.wait_until_gone()


@contextmanager
def front(
    app: App, options: Options | None = None, *, has_tls: bool = True
) -> Generator[MeshMiddleware]:
    """An application behind a listener whose route has no timeout."""
    if has_tls:
        match = "{destination_port: 8080, transport_protocol: tls}"
        text = listener(chain(match, allowed=ORDER_ID, tls=True)).replace(
            "route: {cluster: app}", "route: {cluster: app, timeout: 0s}"
        )
    else:
        text = config("{cluster: c, timeout: 0s}").replace("port_value: 80}", "port_value: 8080}")
        text = text.replace("- name: out\n", "- name: in\n    traffic_direction: INBOUND\n")
    with Mesh.static(load(text, "test"), options=options or Options(emit=silent)) as mesh:
        yield MeshMiddleware(app, mesh)


def answering(call: Callable[[], object]) -> App:
    """An application that makes a blocking call on a thread, and answers with its status."""

    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        status = await anyio.to_thread.run_sync(call)
        start: Message = {"type": "http.response.start", "status": status, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": b""})

    return App(answer)


def get(mesh: Mesh, seen: list[httpx.Response]) -> int:
    with httpx.Client(transport=MeshTransport(mesh), timeout=5.0) as client:
        seen.append(client.get("http://reviews/ratings"))
    return seen[-1].status_code


@pytest.mark.slow
def test_a_call_ends_when_the_proven_caller_of_its_request_stops_waiting() -> None:
    seen: list[httpx.Response] = []
    with (
        serving(silence) as server,
        mesh_of("{cluster: c, timeout: 5s}", server) as back,
        front(answering(lambda: get(back, seen))) as app,
    ):
        served = Server(MTLS)
        served.call(app, scope_of("/pay", SOON))

    assert served.status == 504
    assert seen[0].extensions["meshsdk"]["details"] == "meshsdk_inherited_deadline"
    head = server.heads[0].decode().lower()
    told = int(head.split("x-envoy-expected-rq-timeout-ms: ")[1].split("\r\n")[0])
    assert 0 < told <= 500


def test_nobody_shortens_calls_without_a_proven_identity() -> None:
    seen: list[httpx.Response] = []
    with (
        serving(forever(OK)) as server,
        mesh_of("{cluster: c, timeout: 5s}", server) as back,
        front(answering(lambda: get(back, seen)), has_tls=False) as app,
    ):
        Server(PLAIN).call(app, scope_of("/pay", SOON))

    assert "x-envoy-expected-rq-timeout-ms: 5000" in server.heads[0].decode().lower()


@pytest.mark.slow
def test_a_body_that_drips_ends_with_the_request_too() -> None:
    def drip(served: Served) -> None:
        served.head()
        served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        served.wait_until_gone()

    seen: list[BaseException] = []

    async def answer(scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        async with httpx.AsyncClient(transport=AsyncMeshTransport(back), timeout=5.0) as client:
            with pytest.raises(httpx.HTTPError) as caught:
                await client.get("http://reviews/ratings")
        seen.append(caught.value)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with (
        serving(drip) as server,
        mesh_of("{cluster: c, timeout: 5s}", server) as back,
        front(App(answer)) as app,
    ):
        Server(MTLS).call(app, scope_of("/pay", SOON))

    assert len(seen) == 1


def test_a_call_carries_the_trace_without_a_word_of_the_application() -> None:
    seen: list[httpx.Response] = []
    fields = ((b"traceparent", PARENT), (b"baggage", b"user=1"), (b"x-request-id", b"77"))
    with (
        serving(forever(OK)) as server,
        mesh_of("{cluster: c}", server) as back,
        front(answering(lambda: get(back, seen))) as app,
    ):
        Server(MTLS).call(app, scope_of("/pay", *fields))
        get(back, seen)

    within, without = (head.decode().lower() for head in server.heads)
    assert f"traceparent: {PARENT.decode()}" in within
    assert "baggage: user=1" in within
    assert "x-request-id: 77" in within
    assert "traceparent" not in without


def test_both_ends_of_a_call_are_seen_once_each() -> None:
    calls: list[SeenCall] = []
    seen: list[httpx.Response] = []
    options = Options(emit=silent, on_call=calls.append)
    with (
        serving(forever(OK)) as server,
        mesh_of("{cluster: c}", server, options=options) as back,
        front(answering(lambda: get(back, seen)), options) as app,
    ):
        Server(MTLS).call(app, scope_of("/pay"))

    assert [(call.context.is_inbound, call.context.attempts) for call in calls] == [
        (False, 1),
        (True, 0),
    ]
    assert [call.end is not None and call.end.bytes_sent for call in calls] == [2, 0]


def test_telemetry_that_fails_is_not_noticed_by_callers() -> None:
    def broken(call: SeenCall) -> None:
        raise RuntimeError("no")

    seen: list[httpx.Response] = []
    options = Options(emit=silent, on_call=broken, metrics="always")
    with serving(forever(OK)) as server, mesh_of("{cluster: c}", server, options=options) as back:
        assert get(back, seen) == 200
        assert seen[0].text == "hi"
        assert 'response_code="200"' in back.metrics()
