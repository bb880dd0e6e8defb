"""httpx in the mesh, mTLS and 20 policies included, against bare httpx in plaintext.

`mesh mtls`: both sides are in the mesh, the server judges each request by 20 policies. `mesh to
mtls`: the client alone, to a server that ends mTLS and judges nothing.

`python -m tests.bench.bench_mesh [rounds]`. Cells are interleaved: each round runs every cell
once, in another order, and ratios are taken within rounds.
"""

import multiprocessing
import random
import resource
import socket
import statistics
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import uvicorn

from meshsdk.call.address import Address
from meshsdk.identity import X509Context
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from meshsdk.testing.ca import FakeCa
from tests.bench import bench_httpx, istio
from tests.bench.bench_httpx import PER_CELL, TARGETS, cell
from tests.upstream.mtls import server_context

_QUIET = Options(emit=silent)
_HOST = "server.shop.svc.cluster.local"


def serve(listener: socket.socket, identity: X509Context | None) -> None:
    """A uvicorn worker, in the mesh where it has an identity; runs in a process of its own."""
    app: object = bench_httpx.app
    if identity is not None:
        port = listener.getsockname()[1]
        mesh = Mesh.static(istio.server(port), identity=identity, options=_QUIET)
        app = MeshMiddleware(bench_httpx.app, mesh)  # type: ignore[arg-type]
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        log_level="error",
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=60,
    )
    uvicorn.Server(config).run(sockets=[listener])


class Servers:
    """A bare server, one that ends mTLS, and one in the mesh."""

    def __init__(self, ca: FakeCa) -> None:
        self._processes: list[BaseProcess] = []
        self.plain = self._start(serve, None)
        self.mtls = self._start(bench_httpx.serve, server_context(ca))
        self.mesh = self._start(serve, ca.context("shop/server"))

    def _start(self, serve: Callable[..., None], what: object) -> Address:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=serve, args=(listener, what), daemon=True)
        process.start()
        self._processes.append(process)
        address = Address("127.0.0.1", listener.getsockname()[1])
        listener.close()
        return address

    def close(self) -> None:
        """End them."""
        for process in self._processes:
            process.terminate()
            process.join(5)


def main(rounds: int) -> None:
    """Print medians and ratios of p50, and what a mesh adds to a process's memory."""
    ca = FakeCa("cluster.local")
    servers = Servers(ca)
    bench_httpx.wait_for(servers.plain, servers.mtls, servers.mesh)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    client = ca.context("shop/client")
    meshes = {
        "mesh mtls": Mesh.static(istio.client(servers.mesh.port), identity=client, options=_QUIET),
        "mesh to mtls": Mesh.static(
            istio.client(servers.mtls.port), identity=client, options=_QUIET
        ),
    }
    bare = f"http://127.0.0.1:{servers.plain.port}/item/42"
    url = f"http://{_HOST}/item/42"
    headers = {"x-tenant": "blue"}
    p50: dict[tuple[str, int, str], list[float]] = {}
    cells = [(c, n, s) for c in ("async", "sync") for n in PER_CELL for s in ("bare", *meshes)]
    try:
        for _ in range(rounds):
            random.shuffle(cells)
            for colour, callers, subject in cells:
                if subject == "bare":
                    times = cell(colour, None, bare, callers, headers)
                else:
                    times = cell(colour, meshes[subject], url, callers, headers)
                p50.setdefault((colour, callers, subject), []).append(statistics.median(times))
    finally:
        servers.close()
        for mesh in meshes.values():
            mesh.close()
    bench_httpx.report(p50)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"peak memory grew by {(after - before) / 1024:.1f} MiB over all cells; targets: {TARGETS}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
