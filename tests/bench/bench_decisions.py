"""What decisions cost, without I/O: `python -m tests.bench.bench_decisions`.

The yardstick is an empty generator driven the same way, in the same run.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Generator

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.effects import Send
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, Request, Response
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.downstream.capture import _CAPTURED, Captured  # pyright: ignore[reportPrivateUsage]
from meshsdk.flow.drive import complete
from meshsdk.flow.select import Target
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from meshsdk.testing.ca import FakeCa
from tests.bench.istio import CALLER, client, server

_RAW = [
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"user-agent", b"python-httpx/0.28.1"),
    (b"x-tenant", b"blue"),
    (b"x-trace", b"1"),
    (b"content-type", b"application/json"),
    (b"cookie", b"a=b"),
]
_QUIET = Options(emit=silent)
_PORT = 8080


def microseconds(work: Callable[[], object], times: int = 2000, rounds: int = 9) -> float:
    """The best of several rounds, each the mean of many calls."""
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(times):
            work()
        best = min(best, (time.perf_counter() - start) / times)
    return best * 1e6


def yardstick() -> float:
    """An empty flow: two effects, no decision."""

    def flow() -> Generator[int, int, None]:
        yield 1
        yield 2

    def work() -> None:
        running = flow()
        next(running)
        running.send(1)
        running.close()

    return microseconds(work)


def outbound() -> float:
    """A whole outbound decision for an Istio-shaped route, from request to delivered response."""
    mesh = Mesh.static(
        client(_PORT), identity=FakeCa("cluster.local").context("shop/client"), options=_QUIET
    )
    target = Target("server.shop.svc.cluster.local", 80)
    answer = Response(200, Headers.from_raw([(b"content-type", b"text/plain")]), body=object())

    def work() -> None:
        request = Request(
            "GET", "server.shop.svc.cluster.local", "/item/42", Headers.from_raw(_RAW)
        )
        flow = mesh.outbound(request, target)
        assert isinstance(next(flow), Send)
        flow.send(answer)
        complete(flow, BodyEnd(1))

    with mesh:
        return microseconds(work)


def inbound(count: int) -> tuple[float, float]:
    """The ASGI layer with that many policies around an application that does nothing, and that
    application alone."""
    mesh = Mesh.static(
        server(_PORT, count),
        identity=FakeCa("cluster.local").context("shop/server"),
        options=_QUIET,
    )
    certificate = Certificate((CALLER,), (), "", "0" * 64, b"")
    address = Address("127.0.0.1", 40000)
    connection = Connection(
        Address("127.0.0.1", _PORT),
        Peer(SpiffeId.parse(CALLER), certificate, address, address),
        "tls",
        "",
        ("istio-http/1.1", "istio", "http/1.1"),
        "TLSv1.3",
    )
    messages = (
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]},
        {"type": "http.response.body", "body": b""},
    )

    async def app(scope: object, receive: object, send: Callable[[object], object]) -> None:
        for message in messages:
            await send(message)  # type: ignore[misc]

    middleware = MeshMiddleware(app, mesh)  # type: ignore[arg-type]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/item/42",
        "raw_path": b"/item/42",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"server:80"), *_RAW],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", _PORT),
        "extensions": {},
    }

    async def receive() -> object:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: object) -> None:
        return None

    def step(layer: Callable[..., Coroutine[object, None, None]]) -> Callable[[], None]:
        def work() -> None:
            coroutine = layer(dict(scope), receive, send)
            try:
                coroutine.send(None)
            except StopIteration:
                return

        return work

    held = _CAPTURED.set(Captured(connection))
    try:
        with mesh:
            return microseconds(step(middleware)), microseconds(step(app))
    finally:
        _CAPTURED.reset(held)


def import_milliseconds() -> float:
    """The least of ten fresh interpreters' time for `import meshsdk`."""
    code = "import time; t = time.perf_counter(); import meshsdk; print((time.perf_counter() - t) * 1000)"
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(10)
    ]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    """Print everything."""
    empty = yardstick()
    print(f"empty flow                 {empty:8.2f} us")
    found = outbound()
    print(f"outbound decision          {found:8.2f} us  {found / empty:6.1f}x  (target 25 us)")
    for count in (1, 20, 100):
        layer, bare = inbound(count)
        print(
            f"ASGI layer, {count:4} policies  {layer - bare:8.2f} us  {(layer - bare) / empty:6.1f}x"
            + ("  (target 25 us)" if count == 20 else "")
        )
    print(f"import meshsdk             {import_milliseconds():8.2f} ms  (target 25 ms)")


if __name__ == "__main__":
    main()
