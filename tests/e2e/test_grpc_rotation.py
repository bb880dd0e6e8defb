"""Leaf rotation and a CA roll-over A, A+B, B under gRPC load, on both sides: no call fails."""

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meshsdk.clock import SystemClock
from meshsdk.config.yaml import load
from meshsdk.identity.sources.files import CredentialFiles, FilesSource
from meshsdk.integrations.grpcio import aio_channel, channel
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import Event, IdentityChanged
from meshsdk.testing import FakeCa, chain_pem, private_key_pem
from tests.downstream.mesh import ORDER_ID
from tests.integrations.grpc_service import UU, eventually
from tests.integrations.test_grpcio_server import CLIENT, STRICT, Telling, sync_server

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CALLS = 400
"""Between two steps."""
_SHORT_LIVED = (("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 5000))


class Member:
    """One side, whose files are written anew."""

    def __init__(self, directory: Path, account: str) -> None:
        self.account = account
        self.changes = 0
        directory.mkdir()
        names = ("cert-chain.pem", "key.pem", "root-cert.pem")
        self.files = CredentialFiles(*(directory / name for name in names))

    def mesh(self, config: str) -> Mesh:
        source = FilesSource(self.files, SystemClock(), interval=0.02)
        options = Options(emit=self._emit)
        return Mesh.static(load(config, "test"), identity=source, options=options)

    def _emit(self, event: Event) -> None:
        self.changes += isinstance(event, IdentityChanged)

    def rotate(self, leaf: FakeCa, *roots: FakeCa) -> None:
        """Returns when it is in force."""
        before = self.changes
        self.write(leaf, *roots)
        assert eventually(lambda: self.changes > before)

    def write(self, leaf: FakeCa, *roots: FakeCa) -> None:
        """The leaf of one CA, and who is trusted."""
        svid = leaf.svid(f"shop/{self.account}")
        self.files.certificate_chain.write_bytes(chain_pem(svid))
        self.files.private_key.write_bytes(private_key_pem(svid))
        self.files.roots.write_bytes(b"".join(ca.root_pem for ca in roots))


class Load:
    """Callers that do not stop."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.answers: list[bytes] = []
        self.errors: list[BaseException] = []

    def wait(self) -> None:
        wanted = len(self.answers) + CALLS
        assert eventually(lambda: len(self.answers) >= wanted or bool(self.errors), 60)
        assert self.errors == []

    def run(self, work: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                self.errors.append(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def threads(self, mesh: Mesh) -> None:
        with channel("payment.shop:80", mesh) as c:
            call: Any = c.unary_unary(UU)
            while not self.over.is_set():
                self.answers.append(call(b"who", timeout=20))

    def tasks(self, mesh: Mesh) -> None:
        async def one(call: Any) -> None:
            while not self.over.is_set():
                self.answers.append(await call(b"who", timeout=20))

        async def main() -> None:
            async with aio_channel("payment.shop:80", mesh) as c:
                await asyncio.gather(*(one(c.unary_unary(UU)) for _ in range(3)))

        asyncio.run(main())


@contextmanager
def both(tmp_path: Path, a: FakeCa) -> Generator[tuple[Member, Member, Mesh]]:
    server, client = Member(tmp_path / "payment", "payment"), Member(tmp_path / "order", "order")
    for member in (server, client):
        member.write(a, a)
    with (
        server.mesh(STRICT) as inbound,
        sync_server(inbound, Telling(), options=_SHORT_LIVED) as port,
        client.mesh(CLIENT.replace("PORT", str(port))) as outbound,
    ):
        yield server, client, outbound


@pytest.mark.parametrize("colour", ["threads", "tasks"])
def test_nothing_fails_while_leaves_rotate_and_the_ca_rolls_over(
    tmp_path: Path, colour: str
) -> None:
    a, b = FakeCa(), FakeCa()
    load_ = Load()
    with both(tmp_path, a) as (server, client, mesh):
        work: Callable[[Mesh], None] = getattr(load_, colour)
        callers = [load_.run(lambda: work(mesh)) for _ in range(2)]
        load_.wait()
        steps: list[tuple[FakeCa, tuple[FakeCa, ...]]] = [
            (a, (a,)),
            (a, (a, b)),
            (b, (a, b)),
            (b, (b,)),
            (b, (b,)),
        ]
        for leaf, roots in steps:
            for member in (server, client):
                member.rotate(leaf, *roots)
            load_.wait()
        load_.over.set()
        for caller in callers:
            caller.join(20)

    assert load_.errors == []
    assert set(load_.answers) == {ORDER_ID.encode()}
