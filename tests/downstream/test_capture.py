import asyncio
import gc
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
import uvloop

from meshsdk.call.address import UNKNOWN
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.capture import _CAPTURED, Captured, captured, install  # pyright: ignore[reportPrivateUsage]
from meshsdk.downstream.decision import Passthrough
from meshsdk.downstream.server_context import MeshServerContext
from meshsdk.identity.tls_params import TlsParams
from tests.downstream.mesh import (
    CA,
    ISTIO_ALPN,
    ORDER_ID,
    IstioDecider,
    anonymous_client,
    client_context,
    permissive,
    stranger,
    strict,
)
from tests.downstream.test_acceptor import Always

GET = b"GET / HTTP/1.1\r\n\r\n"
Run = Callable[[Coroutine[object, object, None]], None]


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    return cast("Run", request.param)


class Who(asyncio.Protocol):
    """Answers with the peer that a task, as servers start them, sees; remembers what it got."""

    got: list[bytes]

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        self.tasks.append(asyncio.get_running_loop().create_task(self.answer()))

    async def answer(self) -> None:
        found = captured()
        assert found is not None
        self.transport.write(f"{found.connection.peer.spiffe_id}\n".encode())


class Buffered(asyncio.BufferedProtocol):
    got: list[bytes]

    def __init__(self) -> None:
        self.buffer = bytearray(4)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.got.append(bytes(self.buffer[:nbytes]))
        if b"".join(self.got) == GET:
            self.transport.write(b"whole\n")


@asynccontextmanager
async def serving(
    decider: IstioDecider | Always,
    protocol: type[Who] | type[Buffered] = Who,
    *,
    patience: float = 10.0,
    tls: ssl.SSLContext | None = None,
    ports: tuple[int, ...] | None = None,
) -> AsyncGenerator[tuple[int, list[bytes], asyncio.AbstractServer]]:
    got: list[bytes] = []
    served = cast("type[asyncio.BaseProtocol]", type("Served", (protocol,), {"got": got}))
    loop = asyncio.get_running_loop()
    capture = install(loop, Acceptor(decider, timeout=patience), ports=ports)
    server = await loop.create_server(served, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], got, server
    finally:
        server.close()
        capture.uninstall()


async def ask(port: int, client: ssl.SSLContext | None, *data: bytes) -> bytes:
    """The line that comes back; empty where the connection was refused."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname="a.test" if client else None
            )
            for piece in data or (GET,):
                writer.write(piece)
                await writer.drain()
            line = await reader.readline()
            writer.close()
            return line
    except OSError:
        return b""


def test_each_task_of_a_server_sees_its_own_peer(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive()) as (port, _, _):
            clients = [
                (client_context(CA.context(f"shop/client-{n % 7}")), f"client-{n % 7}")
                for n in range(7)
            ]
            asked = [ask(port, client) for client, _ in clients * 8]
            plain = [ask(port, None) for _ in range(8)]
            answers = await asyncio.gather(*asked, *plain)
        names = [f"spiffe://cluster.local/ns/shop/sa/{name}\n".encode() for _, name in clients]
        assert answers == names * 8 + [b"None\n"] * 8

    run(main())


def test_a_strict_port_gives_plaintext_to_nobody(run: Run) -> None:
    async def main() -> None:
        async with serving(strict()) as (port, got, _):
            assert await ask(port, None) == b""
            assert await ask(port, None, b"\0\1\2\3") == b""
            assert got == []
            assert await ask(port, client_context()) == f"{ORDER_ID}\n".encode()

    run(main())


@pytest.mark.parametrize("client", [stranger(), anonymous_client()], ids=["stranger", "anonymous"])
def test_no_byte_of_a_peer_that_is_not_verified_reaches_the_server(
    run: Run, client: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with serving(strict()) as (port, got, _):
            assert await ask(port, client) == b""
            assert got == []

    run(main())


def test_the_decision_knows_both_addresses_before_the_handshake(run: Run) -> None:
    async def main() -> None:
        decider = strict()
        async with serving(decider) as (port, _, _):
            await ask(port, client_context())
        asked = decider.asked[0]
        assert (asked.local.host, asked.local.port) == ("127.0.0.1", port)
        assert asked.peer.physical.host == "127.0.0.1"
        assert asked.peer.physical.port > 0
        assert (asked.server_name, asked.application_protocols) == ("a.test", ISTIO_ALPN)

    run(main())


def test_first_bytes_may_come_one_by_one(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive()) as (port, got, _):
            pieces = [GET[at : at + 1] for at in range(len(GET))]
            assert await ask(port, None, *pieces) == b"None\n"
            assert b"".join(got).startswith(b"GET / HTTP/1.1\r\n")

    run(main())


def test_a_handshake_may_come_byte_by_byte(run: Run) -> None:
    async def main() -> None:
        async with serving(strict()) as (port, _, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            to_us, from_us = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = client_context().wrap_bio(to_us, from_us, server_hostname="a.test")
            answer = b""
            while not answer:
                try:
                    if not tls.version() or from_us.pending:
                        tls.do_handshake()
                        tls.write(GET)
                    answer = tls.read(100)
                except ssl.SSLWantReadError:
                    for octet in from_us.read():
                        writer.write(bytes([octet]))
                        await asyncio.sleep(0)
                    to_us.write(await reader.read(1 << 16))
            assert answer == f"{ORDER_ID}\n".encode()
            writer.close()

    run(main())


@pytest.mark.parametrize(
    "first", [b"", b"\x16\x03\x01\2", b"GET / HT"], ids=["silent", "tls", "http"]
)
def test_a_slow_peer_is_closed(run: Run, first: bytes) -> None:
    async def main() -> None:
        async with serving(permissive(), patience=0.05) as (port, got, _):
            assert await ask(port, None, first) == b""
            assert got == []

    run(main())


def test_a_handshake_that_stops_half_way_is_closed(run: Run) -> None:
    async def main() -> None:
        out = ssl.MemoryBIO()
        tls = client_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="a.test")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        async with serving(strict(), patience=0.1) as (port, got, _), asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(out.read())
            with suppress(ConnectionResetError):
                while await reader.read(1 << 16):
                    pass
            assert got == []
            writer.close()

    run(main())


def test_a_peer_that_closes_early_leaves_nothing_behind(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive()) as (port, got, _):
            for first in (b"", b"\x16\x03\x01\2", b"GET"):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(first)
                writer.close()
                await writer.wait_closed()
            assert await ask(port, client_context()) == f"{ORDER_ID}\n".encode()
            assert got == [GET]

    run(main())


def test_rotation_under_load_costs_no_connection(run: Run) -> None:
    async def main() -> None:
        decider = strict()
        client = client_context()
        async with serving(decider) as (port, _, _):

            async def call() -> bytes:
                return await ask(port, client)

            answers: list[bytes] = []
            for version in range(10):
                calls = [asyncio.create_task(call()) for _ in range(6)]
                await asyncio.sleep(0)
                decider.rotate(CA.context(f"shop/payment-v{version}"))
                answers += await asyncio.gather(*calls)
            assert answers == [f"{ORDER_ID}\n".encode()] * 60

    run(main())


def test_a_buffered_protocol_gets_the_same_bytes(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive(), Buffered) as (port, _, _):
            assert await ask(port, None) == b"whole\n"
        async with serving(permissive(), Buffered) as (port, _, _):
            assert await ask(port, client_context()) == b"whole\n"

    run(main())


def test_closing_the_server_ends_connections_that_nobody_has_yet(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive()) as (port, _, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET")
            await ask(port, None)  # the first connection was accepted before this one

            server.close()

            async with asyncio.timeout(10):
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
            writer.close()

    run(main())


def test_other_ports_and_later_servers_are_not_touched(run: Run) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        original = loop.create_server
        capture = install(loop, Acceptor(strict()), ports=(1,))
        server = await asyncio.start_server(_hello, "127.0.0.1", 0)
        assert await ask(server.sockets[0].getsockname()[1], None) == b"hello\n"
        server.close()

        capture.uninstall()

        assert loop.create_server == original

    run(main())


class Transport(asyncio.Transport):
    """One whose protocol is not the mesh's."""

    def __init__(self, peer: tuple[str, int], local: tuple[str, int]) -> None:
        super().__init__({"peername": peer, "sockname": local})

    def get_protocol(self) -> asyncio.BaseProtocol:
        return asyncio.Protocol()


class Served:
    """A server's own object, whose `receive` the application gets."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def receive(self) -> None: ...


def test_a_connection_is_not_taken_for_that_of_the_task_that_began_its_server() -> None:
    peer, local = ("127.0.0.1", 4000), ("127.0.0.1", 8080)
    outer = Captured(Acceptor(strict()).facts(UNKNOWN, UNKNOWN), peer, local)

    def seen(*names: tuple[str, int]) -> Captured | None:
        return captured(Served(Transport(*names)).receive)

    token = _CAPTURED.set(outer)
    try:
        assert seen(peer, local) is outer  # its protocol was replaced: a websocket's
        assert seen(("127.0.0.1", 4001), local) is None
        assert seen(peer, ("127.0.0.1", 9090)) is None
    finally:
        _CAPTURED.reset(token)


async def _hello(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert captured() is None
    writer.write(b"hello\n")
    writer.close()


def test_two_captures_serve_a_connection_once(run: Run) -> None:
    async def main() -> None:
        decider = strict()
        first = install(asyncio.get_running_loop(), Acceptor(strict()))
        async with serving(decider) as (port, _, _):
            first.uninstall()
            assert await ask(port, client_context()) == f"{ORDER_ID}\n".encode()
        assert len(decider.asked) == 1

    run(main())


def test_a_mesh_context_that_a_server_was_given_is_the_one_that_decides(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive(), tls=MeshServerContext(Acceptor(strict()))) as (port, _, _):
            assert await ask(port, None) == b""
            assert await ask(port, client_context()) == f"{ORDER_ID}\n".encode()

    run(main())


def test_tls_is_passed_through_to_a_server_that_has_its_own(run: Run) -> None:
    async def main() -> None:
        own = IstioDecider(strict=True).contexts.server(TlsParams(alpn=("http/1.1",)))
        async with serving(Always(Passthrough()), tls=own) as (port, _, _):
            assert await ask(port, anonymous_client()) == b"None\n"
        async with serving(Always(Passthrough())) as (port, got, _):
            assert await ask(port, anonymous_client()) == b""
            assert got == []

    run(main())


def test_a_server_with_tls_of_its_own_never_speaks_plaintext(run: Run) -> None:
    async def main() -> None:
        own = IstioDecider(strict=True).contexts.server(TlsParams(alpn=("http/1.1",)))
        async with serving(permissive(), tls=own) as (port, got, _):
            assert await ask(port, None) == b""
            assert got == []

    run(main())


def test_a_failed_decision_closes(run: Run) -> None:
    async def main() -> None:
        async with serving(Always(KeyError("x"))) as (port, got, _):
            assert await ask(port, None) == b""
            assert got == []

    run(main())


def test_closed_connections_are_not_kept(run: Run) -> None:
    async def main() -> None:
        async with serving(permissive()) as (port, _, _):
            for _ in range(3):
                await ask(port, None)
                await ask(port, client_context())
            async with asyncio.timeout(10):
                while kept():  # noqa: ASYNC110 -- the collector sets no event
                    await asyncio.sleep(0)

    def kept() -> list[object]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, Captured)]

    run(main())
