"""httpx through a MeshTransport with mTLS, against bare httpx in plaintext: ratios of one run.

`python -m tests.bench.bench_httpx [rounds]`. Cells are interleaved: each round runs every cell
once, in another order, and ratios are taken within rounds. The flow here is trivial; what a whole
mesh adds is measured where a mesh is made.
"""

import asyncio
import multiprocessing
import random
import socket
import ssl
import statistics
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import httpx
import uvicorn

from meshsdk.call.address import Address
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.testing.ca import FakeCa
from meshsdk.upstream.calls import Membership
from tests.upstream.mtls import SOCKET, MeshTls, server_context
from tests.upstream.one_cluster import OneCluster

BODY = b'{"id":42,"name":"widget","price":12.5,"tags":["a","b","c"],"ok":true}'
PER_CELL = {1: 1000, 16: 2400}
"""Requests of one cell, by callers."""
TARGETS = {("async", 1): 0.75, ("async", 16): 0.4, ("sync", 1): 1.0, ("sync", 16): 0.55}


async def app(scope: dict[str, object], receive: object, send: Callable[..., object]) -> None:
    """The server's application."""
    if scope["type"] != "http":
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[misc]
    await send({"type": "http.response.body", "body": BODY})  # type: ignore[misc]


def serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    """A uvicorn worker; runs in a process of its own."""
    config = uvicorn.Config(
        app, lifespan="off", log_level="error", access_log=False, timeout_keep_alive=60
    )
    config.load()
    config.ssl = context
    uvicorn.Server(config).run(sockets=[listener])


class Servers:
    """A plaintext and an mTLS server."""

    def __init__(self, ca: FakeCa) -> None:
        self._processes: list[BaseProcess] = []
        self.plain = self._start(None)
        self.mtls = self._start(server_context(ca))

    def _start(self, context: ssl.SSLContext | None) -> Address:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=serve, args=(listener, context), daemon=True)
        process.start()
        self._processes.append(process)
        address = Address("127.0.0.1", listener.getsockname()[1])
        listener.close()
        return address

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.join(5)


def run_sync(client: httpx.Client, url: str, callers: int, requests: int) -> list[float]:
    """Seconds of each request."""
    times: list[float] = []

    def work() -> None:
        own: list[float] = []
        for _ in range(requests // callers):
            start = time.perf_counter()
            response = client.get(url)
            own.append(time.perf_counter() - start)
            assert response.content == BODY
        times.extend(own)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


async def run_async(
    client: httpx.AsyncClient, url: str, callers: int, requests: int
) -> list[float]:
    """Seconds of each request."""
    times: list[float] = []

    async def work() -> None:
        for _ in range(requests // callers):
            start = time.perf_counter()
            response = await client.get(url)
            times.append(time.perf_counter() - start)
            assert response.content == BODY

    await asyncio.gather(*(work() for _ in range(callers)))
    return times


def cell(
    colour: str,
    mesh: Membership | None,
    url: str,
    callers: int,
    headers: dict[str, str] | None = None,
) -> list[float]:
    """One cell: a client of its own, warmed up, then measured."""
    count = PER_CELL[callers]
    if colour == "sync":
        with httpx.Client(
            transport=None if mesh is None else MeshTransport(mesh),
            trust_env=False,
            headers=headers,
        ) as client:
            run_sync(client, url, callers, callers * 4)
            return run_sync(client, url, callers, count)

    async def main() -> list[float]:
        async with httpx.AsyncClient(
            transport=None if mesh is None else AsyncMeshTransport(mesh),
            trust_env=False,
            headers=headers,
        ) as client:
            await run_async(client, url, callers, callers * 4)
            return await run_async(client, url, callers, count)

    return asyncio.run(main())


def main(rounds: int) -> dict[tuple[str, int, str], float]:
    """Print medians and ratios; gives the median ratio of p50 by (colour, callers, subject)."""
    ca = FakeCa()
    servers = Servers(ca)
    subjects: dict[str, Membership | None] = {
        "bare": None,
        "mesh plain": OneCluster(servers.plain),
        "mesh mtls": OneCluster(
            servers.mtls, tls=MeshTls(ca.context("shop/client")), socket=SOCKET
        ),
    }
    url = f"http://127.0.0.1:{servers.plain.port}/item/42"
    wait_for(servers.plain, servers.mtls)
    p50: dict[tuple[str, int, str], list[float]] = {}
    cells = [(c, n, s) for c in ("async", "sync") for n in PER_CELL for s in subjects]
    try:
        for _ in range(rounds):
            random.shuffle(cells)
            for colour, callers, subject in cells:
                times = cell(colour, subjects[subject], url, callers)
                p50.setdefault((colour, callers, subject), []).append(statistics.median(times))
    finally:
        servers.close()
    return report(p50)


def wait_for(*addresses: Address) -> None:
    """Until every server takes connections."""
    for address in addresses:
        for _ in range(100):
            try:
                socket.create_connection((address.host, address.port), 1).close()
                break
            except OSError:
                time.sleep(0.05)


def report(
    p50: dict[tuple[str, int, str], list[float]],
) -> dict[tuple[str, int, str], float]:
    """Print medians and ratios to `bare`."""
    ratios: dict[tuple[str, int, str], float] = {}
    for (colour, callers, subject), times in sorted(p50.items()):
        bare = p50[colour, callers, "bare"]
        ratio = statistics.median(t / b for t, b in zip(times, bare))
        ratios[colour, callers, subject] = ratio
        target = TARGETS[colour, callers] if subject.endswith("mtls") else None
        print(
            f"{colour:6} {callers:3} callers {subject:12} p50 {statistics.median(times) * 1e6:8.0f}"
            f" us  {ratio:5.2f}x" + ("" if target is None else f"  (target {target}x)")
        )
    return ratios


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
