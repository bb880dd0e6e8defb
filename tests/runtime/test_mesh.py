"""A mesh's life: what ends it, and what does not."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from meshsdk import Mesh, Options, UsageError
from meshsdk.clock import SystemClock
from meshsdk.config.bootstrap import Credentials
from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.control_plane.ads_session import CLUSTER
from meshsdk.control_plane.shapes import clusters
from meshsdk.telemetry import Event, StreamChanged
from meshsdk.testing import FakeCa
from tests.runtime.test_fork import NODE, address, server, threads_of_a_mesh

__all__ = ["address", "server"]  # fixtures


def test_a_closed_mesh_takes_no_further_call() -> None:
    mesh = Mesh.static({})
    with mesh:
        assert mesh.ready()

    for again in (mesh.start, mesh.ready, mesh.__enter__):
        with pytest.raises(UsageError, match="this Mesh is closed"):
            again()
    mesh.close()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"compat": "istio"}, "Options.compat: expected one of strict, envoy, found 'istio'"),
        ({"unknown_fields": "ignore"}, "Options.unknown_fields: expected one of refuse, warn"),
        ({"metrics": "sometimes"}, "Options.metrics: expected one of feed, always, never"),
        ({"http_filters": (3,)}, r"Options.http_filters\[0\]: expected a PlacedFilter"),
    ],
)
def test_an_option_that_says_nothing_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Options(**given)


def test_a_hook_that_raises_stops_nobody(server: AdsServer, address: str) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError(f"a defect of the application: {event}")

    with Mesh.connect(
        server=address,
        node=NODE,
        credentials=Credentials(tls=False),
        identity=FakeCa().context("shop/frontend"),
        options=Options(emit=broken),
    ) as mesh:
        assert mesh.ready(10)
        server.update(NODE.id, {CLUSTER: {"PassthroughCluster": clusters.passthrough_cluster()}})

        assert server.wait_settled(NODE.id, 10)
        assert len(threads_of_a_mesh()) == 3


class Flawed(SystemClock):
    """A clock that fails once, where it is asked by the thread that follows the feed."""

    __slots__ = ("failures",)

    def __init__(self) -> None:
        self.failures = 0

    def monotonic(self) -> float:
        if self.failures and threading.current_thread().name == "meshsdk-control":
            self.failures -= 1
            raise RuntimeError("a defect")
        return SystemClock.monotonic()


def test_a_defect_costs_the_stream_and_not_the_feed(server: AdsServer, address: str) -> None:
    clock = Flawed()
    events: list[Event] = []
    with Mesh.connect(
        server=address,
        node=NODE,
        credentials=Credentials(tls=False),
        identity=FakeCa().context("shop/frontend"),
        options=Options(emit=events.append, clock=clock),
    ) as mesh:
        assert mesh.ready(10)
        before = mesh.publisher.plan
        clock.failures = 1

        server.update(NODE.id, {CLUSTER: {"PassthroughCluster": clusters.passthrough_cluster()}})

        assert mesh.publisher.wait(before, 20)
        assert any(isinstance(e, StreamChanged) and "defect" in e.reason for e in events)


def test_a_token_that_is_no_text_is_named_and_asked_for_again(
    server: AdsServer, address: str, tmp_path: Path
) -> None:
    del server
    token = tmp_path / "token"
    token.write_bytes(b"\xff\xfe")
    events: list[Event] = []

    with Mesh.connect(
        server=address,
        node=NODE,
        credentials=Credentials(tls=False, token_file=str(token)),
        identity=FakeCa().context("shop/frontend"),
        options=Options(emit=events.append),
    ) as mesh:
        assert not mesh.ready(0.2)
        told = [e.reason for e in events if isinstance(e, StreamChanged)]
        assert any(str(token) in reason and "expected a token" in reason for reason in told)

        token.write_text("a token")

        assert mesh.ready(20)


FORK = """
import os, threading
from meshsdk import mesh
held, over = threading.Event(), threading.Event()
def hold():
    with mesh._process_lock:
        held.set()
        over.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
pid = os.fork()
if pid == 0:
    try:
        mesh.process_mesh()
    except mesh.UsageError:
        os._exit(7)
    os._exit(1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
"""


def test_a_child_makes_its_own_mesh_whatever_the_parent_was_doing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={"PATH": ""},
    )

    assert done.stdout.strip() == "7", "no control plane is named, and it says so at once"
