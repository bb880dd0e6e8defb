"""Meshes over real sockets: one route, its hosts on this machine, and what must be left at the end."""

from collections.abc import Generator
from contextlib import contextmanager

from meshsdk.config.yaml import load
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from tests.flow.plans import config
from tests.upstream.raw_server import RawServer

URL = "http://reviews/ratings"


@contextmanager
def mesh_of(
    route: str,
    *servers: RawServer | int,
    more: str = "",
    filters: str = "",
    options: Options | None = None,
) -> Generator[Mesh]:
    """A mesh whose only route is `route`, to these hosts; at its end nothing may be in flight."""
    ports = tuple(s if isinstance(s, int) else s.address.port for s in servers)
    text = config(route, ports, more, filters)
    with Mesh.static(load(text, "test"), options=options) as mesh:
        yield mesh
        assert in_flight(mesh) == 0


def in_flight(mesh: Mesh) -> int:
    """Requests, retries and pending places that are held, and connections that a call uses."""
    held = 0
    for state in mesh.live.clusters.values():
        held += sum(host.active_requests for host in state.hosts.values())
        for priority in ("DEFAULT", "HIGH"):
            limits = state.breakers.of(priority)
            held += limits.requests + limits.pending + limits.retries
    return held
