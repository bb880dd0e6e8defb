"""Processes that fork, and scripts that end: each process has threads and streams of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any, TextIO

import httpx
import pytest

from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.testing import FakeCa
from tests.e2e.one_service import URL, caller_resources, connect, node, server_resources
from tests.e2e.prefork_parent import CALLS, CHILDREN
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Running:
    """A control plane, and the service that children call."""

    server: AdsServer
    ads: int
    ca: FakeCa

    def streams(self, name: str) -> int:
        """How many streams the processes of a workload have."""
        return sum(client.node_id == node(name).id for client in self.server.clients())

    def wait_streams(self, name: str, count: int) -> bool:
        """Until there are exactly so many."""
        return self.server.wait(lambda _: self.streams(name) == count, PATIENCE)


@pytest.fixture
def running() -> Generator[Running]:
    ca, server = FakeCa(), AdsServer()
    with ExitStack() as stack:
        ads, bound = server.listen(), stack.enter_context(bound_socket())
        port = port_of(bound)
        server.set(node("reviews").id, server_resources(port))
        server.set(node("frontend").id, caller_resources({"v1": [port]}, {"v1": 1}))
        stack.enter_context(server)
        reviews = stack.enter_context(connect(ads, "reviews", ca.context("shop/reviews")))
        assert reviews.ready(PATIENCE)
        stack.enter_context(Serving(MeshMiddleware(Echo("v1"), reviews), bound))
        yield Running(server, ads, ca)


@contextmanager
def python(module: str, told: Mapping[str, object]) -> Generator["Child"]:
    """A process that runs a module; killed, with what it has forked, when it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(told) + "\n")
    process.stdin.flush()
    child = Child(process)
    try:
        yield child
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        child.close()


class Child:
    """What it tells, line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self._lines: Queue[str] = Queue()
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, lines: TextIO) -> None:
        with lines:
            for line in lines:
                self._lines.put(line)

    def receive(self) -> Any:
        """The next message."""
        return json.loads(self._lines.get(timeout=PATIENCE))

    def close(self) -> None:
        """After its end, and that of all that it has forked."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._reader.join(PATIENCE)

    def end(self) -> int:
        """Let it end; its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


@pytest.mark.parametrize(
    ("how", "parent_answers"), [("made", 0), ("starting", 1), ("used", 2), ("under load", 1)]
)
def test_each_forked_child_has_a_stream_of_its_own_and_is_answered(
    running: Running, how: str, parent_answers: int, tmp_path: Path
) -> None:
    running.ca.write(tmp_path, "shop/frontend")
    told = {"port": running.ads, "credentials": str(tmp_path), "how": how}
    callers = ["child"] * CHILDREN + ["parent"] * parent_answers
    streams = CHILDREN + (parent_answers > 0)

    with python("tests.e2e.prefork_parent", told) as parent:
        answers = [parent.receive() for _ in callers]
        has_all = running.wait_streams("frontend", streams)
        status = parent.end()
        has_none = running.wait_streams("frontend", 0)

    assert sorted(each["who"] for each in answers) == callers
    assert {tuple(each["statuses"]) for each in answers} == {(200,) * CALLS}
    assert len({each["pid"] for each in answers}) == streams
    assert has_all
    assert status == 0
    assert has_none


def test_gunicorn_serves_the_mesh_from_four_preloaded_workers(tmp_path: Path) -> None:
    ca, server = FakeCa(), AdsServer()
    ca.write(tmp_path, "shop/reviews")
    running = Running(server, server.listen(), ca)
    with ExitStack() as stack:
        bound = stack.enter_context(closing(bound_socket()))
        server.set(node("reviews").id, server_resources(port_of(bound)))
        resources = caller_resources({"v1": [port_of(bound)]}, {"v1": 1}, ONE_REQUEST)
        server.set(node("frontend").id, resources)
        stack.enter_context(server)
        gunicorn = stack.enter_context(gunicorn_workers(running, tmp_path, bound.fileno()))
        assert running.wait_streams("reviews", 4)
        assert server.wait_settled(node("reviews").id, PATIENCE)
        frontend = stack.enter_context(
            connect(running.ads, "frontend", ca.context("shop/frontend"))
        )
        with httpx.Client(transport=MeshTransport(frontend)) as client:
            answers = [client.get(URL) for _ in range(100)]
        plaintext = httpx.Client(trust_env=False)
        with plaintext, pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            plaintext.get(f"http://127.0.0.1:{port_of(bound)}/")
        gunicorn.terminate()
        status = gunicorn.wait(PATIENCE)

    assert {answer.status_code for answer in answers} == {200}
    workers = {answer.json()["server"] for answer in answers}
    assert 1 < len(workers) <= 4
    assert str(gunicorn.pid) not in workers
    assert status == 0


ONE_REQUEST = {
    "common_http_protocol_options": {"max_requests_per_connection": 1},
    "explicit_http_config": {"http_protocol_options": dict[str, object]()},
}


@contextmanager
def gunicorn_workers(
    running: Running, credentials: Path, listening: int
) -> Generator["subprocess.Popen[bytes]"]:
    """An unmodified gunicorn, killed with its workers when it is still there."""
    options = ["--preload", "--workers", "4", "--bind", f"fd://{listening}", "--graceful-timeout=5"]
    worker = ["--worker-class", "uvicorn_worker.UvicornWorker", "--log-level", "warning"]
    command = [sys.executable, "-m", "gunicorn", *options, *worker, "tests.e2e.gunicorn_app:app"]
    told = {"ADS_PORT": str(running.ads), "CREDENTIALS": str(credentials)}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **told},
        pass_fds=[listening],
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("how", ["closed", "left open", "within a loop"])
def test_a_script_ends_with_its_main_function(
    running: Running, how: str, tmp_path: Path, record_property: Any
) -> None:
    running.ca.write(tmp_path, "shop/frontend")
    told = {"port": running.ads, "credentials": str(tmp_path), "how": how}

    with python("tests.e2e.short_script", told) as script:
        status = script.end()
        ended = time.monotonic()
        found = script.receive()

    assert status == 0
    assert set(found["statuses"]) == {200}
    if how != "left open":
        assert found["threads"] == ["MainThread"]
    seconds = ended - found["returned"]
    record_property("seconds to end", seconds)
    assert seconds < 1.0, "promised: 0.1 on a quiet machine"


def test_a_script_ends_though_no_control_plane_answers(tmp_path: Path) -> None:
    FakeCa().write(tmp_path, "shop/frontend")
    with bound_socket() as silent:
        told = {"port": port_of(silent), "credentials": str(tmp_path), "how": "never ready"}
        with python("tests.e2e.short_script", told) as script:
            status = script.end()
            ended = time.monotonic()
            found = script.receive()

    assert status == 0
    assert ended - found["returned"] < 1.0
