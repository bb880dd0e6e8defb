"""Certificates change under load, on both sides, and nobody notices."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import httpx
import pytest

from meshsdk.clock import SystemClock
from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.identity.sources.files import FilesSource
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import Event, IdentityChanged
from meshsdk.testing import FakeCa
from tests.e2e.one_service import (
    FRONTEND,
    URL,
    caller_resources,
    connect,
    node,
    server_resources,
)
from tests.e2e.serving import PATIENCE, Echo, Serving, bound_socket, port_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROTATIONS = 12
CALLS_BETWEEN = 30
FEW_REQUESTS: Json = {
    "common_http_protocol_options": {"max_requests_per_connection": 3},
    "explicit_http_config": {"http_protocol_options": {}},
}


@dataclass(eq=False)
class Rotating:
    """A member whose files are written anew, in place and not at once: the worst an agent does."""

    ca: FakeCa
    directory: Path
    account: str
    changes: "Queue[IdentityChanged]" = field(default_factory=lambda: Queue[IdentityChanged]())

    def join(self, port: int) -> Mesh:
        files = self.ca.write(self.directory, f"shop/{self.account}")
        source = FilesSource(files, SystemClock(), interval=0.02)
        return connect(port, self.account, source, Options(emit=self._emit))

    def rotate(self) -> None:
        """Returns when the new certificate is in force."""
        self.ca.write(self.directory, f"shop/{self.account}")
        while self.changes.get(timeout=PATIENCE).state != "fresh":
            pass

    def _emit(self, event: Event) -> None:
        if isinstance(event, IdentityChanged):
            self.changes.put(event)


@dataclass(eq=False)
class Load:
    """Callers that do not stop, and what they saw."""

    mesh: Mesh
    over: threading.Event = field(default_factory=threading.Event)
    answers: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    servers: set[bytes] = field(default_factory=set[bytes])
    errors: list[BaseException] = field(default_factory=list[BaseException])
    progress: threading.Condition = field(default_factory=threading.Condition)

    def wait_answers(self, more: int) -> None:
        """Until so many more calls have been answered, or one has failed."""
        with self.progress:
            wanted = len(self.answers) + more
            done = self.progress.wait_for(
                lambda: len(self.answers) >= wanted or self.errors, PATIENCE
            )
        assert done

    def block(self) -> None:
        with httpx.Client(transport=MeshTransport(self.mesh)) as client:
            while not self.over.is_set():
                with client.stream("GET", URL) as response:
                    self._saw(response)
                    response.read()
                self._answered(response)

    def await_all(self) -> None:
        async def one(client: httpx.AsyncClient) -> None:
            while not self.over.is_set():
                async with client.stream("GET", URL) as response:
                    self._saw(response)
                    await response.aread()
                self._answered(response)

        async def main() -> None:
            async with httpx.AsyncClient(transport=AsyncMeshTransport(self.mesh)) as client:
                await asyncio.gather(*(one(client) for _ in range(4)))

        asyncio.run(main())

    def on_a_thread(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:
                with self.progress:
                    self.errors.append(error)
                    self.progress.notify_all()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _saw(self, response: httpx.Response) -> None:
        stream: Any = response.extensions["network_stream"]
        certificate: bytes = stream.get_extra_info("ssl_object").getpeercert(True)
        self.servers.add(certificate)

    def _answered(self, response: httpx.Response) -> None:
        peer = response.json()["peer"] if response.status_code == 200 else response.text
        with self.progress:
            self.answers.append((response.status_code, peer))
            self.progress.notify_all()


def test_nothing_fails_while_certificates_rotate_on_both_sides(tmp_path: Path) -> None:
    ca, server, app = FakeCa(), AdsServer(), Echo("reviews")
    with ExitStack() as stack:
        ads, bound = server.listen(), stack.enter_context(bound_socket())
        port = port_of(bound)
        server.set(node("reviews").id, server_resources(port))
        server.set(node("frontend").id, caller_resources({"v1": [port]}, {"v1": 1}, FEW_REQUESTS))
        stack.enter_context(server)
        members = [Rotating(ca, tmp_path / account, account) for account in ("reviews", "frontend")]
        reviews, frontend = (stack.enter_context(each.join(ads)) for each in members)
        assert reviews.ready(PATIENCE)
        assert frontend.ready(PATIENCE)
        stack.enter_context(Serving(MeshMiddleware(app, reviews), bound))
        load = Load(frontend)
        threads = [load.on_a_thread(work) for work in (load.block, load.block, load.await_all)]

        load.wait_answers(CALLS_BETWEEN)  # with the first certificates
        for _ in range(ROTATIONS):
            for member in members:
                member.rotate()
            load.wait_answers(CALLS_BETWEEN)
        load.over.set()
        for thread in threads:
            thread.join(PATIENCE)

    assert load.errors == []
    assert len(load.answers) >= ROTATIONS * CALLS_BETWEEN
    assert set(load.answers) == {(200, FRONTEND)}
    assert len({each["certificates"] for each in app.seen}) > ROTATIONS
    assert len(load.servers) > ROTATIONS
