"""What stands still while a process forks. Real forks: tests/e2e/test_prefork.py."""

import threading
import uuid
from collections.abc import Generator

import pytest

from meshsdk.config.bootstrap import Credentials, Node
from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.control_plane.ads_session import CLUSTER, LISTENER, NAME_TABLE
from meshsdk.control_plane.shapes import clusters, listeners
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import silent
from meshsdk.testing import FakeCa

NODE = Node("sidecar~127.0.0.1~frontend.shop~shop.svc.cluster.local")


@pytest.fixture
def address() -> str:
    """A unix socket, which needs no port to be told."""
    return f"unix-abstract:{uuid.uuid4().hex}"


@pytest.fixture
def server(address: str) -> Generator[AdsServer]:
    server = AdsServer()
    server.listen(address)
    black_hole = clusters.black_hole_cluster()
    virtual_outbound = listeners.virtual_outbound(allow_any=False)
    server.set(
        NODE.id,
        {
            LISTENER: {"virtualOutbound": virtual_outbound},
            CLUSTER: {"BlackHoleCluster": black_hole},
            NAME_TABLE: {"": {"table": {}}},
        },
    )
    with server:
        yield server


@pytest.fixture
def mesh(server: AdsServer, address: str) -> Generator[Mesh]:
    mesh = Mesh.connect(
        server=address,
        node=NODE,
        credentials=Credentials(tls=False),
        identity=FakeCa().context("shop/frontend"),
        options=Options(emit=silent),
    )
    with mesh:
        assert mesh.ready(10)
        yield mesh


def threads_of_a_mesh() -> list[str]:
    names = ("meshsdk-control", "meshsdk-stream", "meshsdk-identity")
    return [thread.name for thread in threading.enumerate() if thread.name in names]


def test_before_a_fork_all_threads_have_ended_and_the_plan_stays(
    server: AdsServer, mesh: Mesh
) -> None:
    plan = mesh.publisher.plan

    mesh.before_fork()

    assert threads_of_a_mesh() == []
    assert mesh.publisher.plan is plan
    assert server.wait(lambda clients: not clients, 10)
    mesh.after_fork_in_parent()


def test_after_a_fork_the_parent_follows_its_feed_again(server: AdsServer, mesh: Mesh) -> None:
    mesh.before_fork()
    mesh.after_fork_in_parent()

    server.update(NODE.id, {CLUSTER: {"PassthroughCluster": clusters.passthrough_cluster()}})

    assert server.wait_settled(NODE.id, 10)
    assert len(threads_of_a_mesh()) == 3


def test_a_mesh_that_was_closed_or_never_started_stays_so(server: AdsServer, mesh: Mesh) -> None:
    unused = Mesh.connect(server="127.0.0.1:1", node=NODE, credentials=Credentials(tls=False))
    mesh.close()

    for each in (mesh, unused):
        each.before_fork()
        each.after_fork_in_parent()

    assert threads_of_a_mesh() == []
