"""Meshes over real sockets: one route, its hosts on this machine, and what must be left at the end."""

from collections.abc import Generator
from contextlib import contextmanager

from meshsdk.config.yaml import load
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from tests.flow.plans import config, endpoints
from tests.upstream.raw_server import RawServer

URL = "http://reviews/ratings"


@contextmanager
def mesh_of(
    route: str,
    *servers: RawServer | int,
    more: str = "",
    filters: str = "",
    first: str = "",
    options: Options | None = None,
) -> Generator[Mesh]:
    """A mesh whose last route is `route`, to these hosts; at its end nothing may be in flight."""
    ports = tuple(s if isinstance(s, int) else s.address.port for s in servers)
    text = config(route, ports, more, filters)
    if first:
        text = text.replace("routes: [", f"routes: [{first}, ", 1)
    with Mesh.static(load(text, "test"), options=options) as mesh:
        yield mesh
        assert in_flight(mesh) == 0


def endpoints_of(cluster: str, port: int) -> str:
    """Another cluster, for `more`."""
    return f"""
  - name: {cluster}
    type: STATIC
    connect_timeout: 1s
    load_assignment: {endpoints(cluster, port)}"""


def in_flight(mesh: Mesh) -> int:
    """Requests, retries and pending places that are held, and connections that a call uses."""
    held = 0
    for state in mesh.live.clusters.values():
        held += sum(host.active_requests for host in state.hosts.values())
        for priority in ("DEFAULT", "HIGH"):
            limits = state.breakers.of(priority)
            held += limits.requests + limits.pending + limits.retries
    return held
