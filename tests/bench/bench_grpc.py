"""gRPC through a MeshChannel against a bare TLS channel: ratios of one run.

`python -m tests.bench.bench_grpc [rounds]`. Cells are interleaved: each round runs every cell once,
in another order, and ratios are taken within rounds; what is printed is their median. The server is
one process with three ports: plaintext, one-way TLS (for the bare channel), and the mesh's mTLS.
CPU is the client process's, relay included.
"""

import asyncio
import multiprocessing
import os
import random
import resource
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from typing import Any, Final

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshsdk.config.yaml import load
from meshsdk.identity import X509Context
from meshsdk.integrations.grpcio import (
    add_mesh_port,
    aio_channel,
    channel,
    server_interceptor,
)
from meshsdk.mesh import Mesh
from meshsdk.testing import chain_pem, private_key_pem
from tests.downstream.mesh import CA, ORDER, PAYMENT
from tests.flow.plans import config
from tests.integrations.test_grpcio_server import CLIENT, STRICT

GRPC: Final[Any] = grpc  # its stubs know too little
BODY: Final = b"x" * 100
UU, US = "/test.Echo/UU", "/test.Echo/US"
CALLS: Final = 250
CONCURRENT: Final = 16
MESSAGES: Final = 10_000
_NAME: Final = "server.test"


def _echo(request: bytes, _context: object) -> bytes:
    return request


def _many(request: bytes, _context: object) -> Any:
    for _ in range(int(request)):
        yield BODY


def _handlers() -> Any:
    return GRPC.method_handlers_generic_handler(
        "test.Echo",
        {
            "UU": GRPC.unary_unary_rpc_method_handler(_echo),
            "US": GRPC.unary_stream_rpc_method_handler(_many),
        },
    )


def _one_way() -> tuple[bytes, bytes, bytes]:
    """Key, certificate and root of an ordinary TLS server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private, pem, pem


def serve(
    pipe: Connection, identity: X509Context, root: bytes, key: bytes, certificate: bytes
) -> None:
    """All servers; runs in a process of its own until the pipe closes."""
    mesh = Mesh.static(load(STRICT, "server"), identity=identity)
    with mesh:
        plain = GRPC.server(ThreadPoolExecutor(32))
        plain.add_generic_rpc_handlers((_handlers(),))
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        ports = [
            plain.add_insecure_port("127.0.0.1:0"),
            plain.add_secure_port("127.0.0.1:0", credentials),
        ]
        plain.start()
        judged = GRPC.server(ThreadPoolExecutor(32), interceptors=[server_interceptor(mesh)])
        judged.add_generic_rpc_handlers((_handlers(),))
        ports.append(add_mesh_port(judged, "127.0.0.1:0", mesh))
        # The same TLS relay on the client's side, without one on the server's.
        mtls = grpc.ssl_server_credentials([(_pem(identity))], root, require_client_auth=True)
        ports.append(plain_mtls(mtls))
        judged.start()
        pipe.send(ports)
        with suppress(EOFError):
            pipe.recv()


_KEPT: list[Any] = []


def plain_mtls(credentials: grpc.ServerCredentials) -> int:
    """gRPC's own mTLS with a SPIFFE certificate: what a relay of ours meets elsewhere."""
    server = GRPC.server(ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers((_handlers(),))
    port: int = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    _KEPT.append(server)
    return port


def _pem(identity: X509Context) -> tuple[bytes, bytes]:
    svid = identity.svids[0]
    return private_key_pem(svid), chain_pem(svid)


class Cells:
    """Channels to the four ports, of both colours."""

    def __init__(self, ports: list[int], root: bytes, stack: ExitStack) -> None:
        plain, tls, mesh, mtls = ports
        self._tls_target = f"127.0.0.1:{tls}"
        self._root = root
        text = config("{cluster: c, timeout: 30s}", (plain,))
        self.meshes = {
            "mesh plaintext": stack.enter_context(Mesh.static(load(text, "plain"))),
            "mesh relay": stack.enter_context(_client(mtls)),
            "mesh relay to mesh server": stack.enter_context(_client(mesh)),
        }
        self._plain_target = f"127.0.0.1:{plain}"
        self._stack = stack

    def channels(self, aio: bool) -> dict[str, Any]:
        """The bare TLS channel first."""
        module: Any = grpc.aio if aio else grpc
        options = [("grpc.ssl_target_name_override", _NAME)]
        credentials = grpc.ssl_channel_credentials(self._root)
        make = aio_channel if aio else channel
        return {
            "bare TLS": module.secure_channel(self._tls_target, credentials, options),
            "bare plaintext": module.insecure_channel(self._plain_target),
            **{name: make("payment.shop:80", mesh) for name, mesh in self.meshes.items()},
        }


def _client(port: int) -> Mesh:
    return Mesh.static(load(CLIENT.replace("PORT", str(port)), "client"), identity=ORDER)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


Figures = dict[str, float]


def one_caller(c: Any) -> Figures:
    """Latency and CPU of one blocking caller, in microseconds a call."""
    call = c.unary_unary(UU)
    times: list[float] = []
    before = _cpu()
    for _ in range(CALLS):
        started = time.perf_counter()
        call(BODY)
        times.append(time.perf_counter() - started)
    cpu = (_cpu() - before) / CALLS
    return {"p50": statistics.median(times) * 1e6, "cpu": cpu * 1e6}


def many_callers(c: Any) -> Figures:
    """Calls a second of 16 blocking callers."""
    call = c.unary_unary(UU)

    def work() -> None:
        for _ in range(CALLS // 4):
            call(BODY)

    threads = [threading.Thread(target=work) for _ in range(CONCURRENT)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"rps16": CONCURRENT * (CALLS // 4) / (time.perf_counter() - started)}


def streaming(c: Any) -> Figures:
    """Messages a second of one stream."""
    started = time.perf_counter()
    count = sum(1 for _ in c.unary_stream(US)(str(MESSAGES).encode()))
    assert count == MESSAGES
    return {"msg/s": MESSAGES / (time.perf_counter() - started)}


async def aio_one(c: Any) -> Figures:
    """As `one_caller`, awaited."""
    call = c.unary_unary(UU)
    times: list[float] = []
    before = _cpu()
    for _ in range(CALLS):
        started = time.perf_counter()
        await call(BODY)
        times.append(time.perf_counter() - started)
    cpu = (_cpu() - before) / CALLS
    return {"p50": statistics.median(times) * 1e6, "cpu": cpu * 1e6}


async def aio_many(c: Any) -> Figures:
    """As `many_callers`, of tasks."""
    call = c.unary_unary(UU)

    async def work() -> None:
        for _ in range(CALLS // 4):
            await call(BODY)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return {"rps16": CONCURRENT * (CALLS // 4) / (time.perf_counter() - started)}


async def aio_streaming(c: Any) -> Figures:
    """As `streaming`, awaited."""
    started = time.perf_counter()
    count = 0
    async for _ in c.unary_stream(US)(str(MESSAGES).encode()):
        count += 1
    assert count == MESSAGES
    return {"msg/s": MESSAGES / (time.perf_counter() - started)}


def with_burning_thread(c: Any) -> Figures:
    """p50 and p95 while a thread of the application runs Python all the time, in milliseconds."""
    over = threading.Event()

    def burn() -> None:
        found = 0
        while not over.is_set():
            found = (found * 31 + 7) % 1_000_003

    thread = threading.Thread(target=burn)
    thread.start()
    call = c.unary_unary(UU)
    times: list[float] = []
    for _ in range(60):
        started = time.perf_counter()
        call(BODY)
        times.append(time.perf_counter() - started)
    over.set()
    thread.join()
    times.sort()
    return {"busy p50 ms": times[30] * 1e3, "busy p95 ms": times[57] * 1e3}


class Table:
    """Figures by cell and round."""

    def __init__(self) -> None:
        self.rounds: list[dict[str, Figures]] = []

    def say(self, title: str) -> None:
        """Medians, and medians of the ratios to the first cell."""
        print(f"\n{title}: median (ratio to bare TLS)")
        names = list(self.rounds[0]["bare TLS"])
        for cell in self.rounds[0]:
            parts: list[str] = []
            for name in names:
                value = statistics.median(r[cell][name] for r in self.rounds)
                ratio = statistics.median(r[cell][name] / r["bare TLS"][name] for r in self.rounds)
                parts.append(f"{name} {value:9.1f} ({ratio:4.2f})")
            print(f"  {cell:28}", "  ".join(parts))


def _sync(cells: Cells, rounds: int) -> None:
    channels = cells.channels(aio=False)
    for c in channels.values():
        one_caller(c)
    table, busy = Table(), Table()
    for _ in range(rounds):
        order = list(channels)
        random.shuffle(order)
        found = {
            name: one_caller(channels[name])
            | many_callers(channels[name])
            | streaming(channels[name])
            for name in order
        }
        table.rounds.append({name: found[name] for name in channels})
        found = {name: with_burning_thread(channels[name]) for name in order}
        busy.rounds.append({name: found[name] for name in channels})
    table.say("threads")
    busy.say("threads, while the application burns Python")
    for c in channels.values():
        c.close()


async def _aio(cells: Cells, rounds: int) -> None:
    channels = cells.channels(aio=True)
    works: tuple[Callable[[Any], Awaitable[Figures]], ...] = (aio_one, aio_many, aio_streaming)
    for c in channels.values():
        await aio_one(c)
    table = Table()
    for _ in range(rounds):
        order = list(channels)
        random.shuffle(order)
        found: dict[str, Figures] = {}
        for name in order:
            found[name] = {}
            for work in works:
                found[name] |= await work(channels[name])
        table.rounds.append({name: found[name] for name in channels})
    table.say("asyncio")
    for c in channels.values():
        await c.close()


def memory(endpoints: int = 400) -> None:
    """Resident memory of a mesh channel for each of many TLS endpoints, connected or not."""
    ports = range(20000, 20000 + endpoints)
    one = "lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]"
    many = ", ".join(f"{{{one.replace('PORT', str(port))}}}" for port in ports)
    text = CLIENT.replace(f"[{{{one}}}]", f"[{many}]")
    assert text != CLIENT
    with Mesh.static(load(text, "many"), identity=ORDER) as mesh, channel("p:80", mesh) as c:
        assert mesh.ready(10)
        untyped: Any = c
        before = _resident()
        for _ in range(2 * endpoints):
            with suppress(grpc.RpcError):
                untyped.unary_unary(UU)(b"", timeout=5)
        used, count = _resident() - before, c.endpoints.count
        print(f"\n{count} TLS endpoints: {used / max(count, 1):.0f} KiB each, refused connections")


def _resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def main(rounds: int = 7) -> None:
    """Print everything."""
    key, certificate, root = _one_way()
    ours, theirs = multiprocessing.Pipe()
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(
        target=serve, args=(theirs, PAYMENT, CA.root_pem, key, certificate), daemon=True
    )
    process.start()
    ports = ours.recv()
    with ExitStack() as stack:
        cells = Cells(ports, root, stack)
        _sync(cells, rounds)
        asyncio.run(_aio(cells, rounds))
    ours.send(None)
    process.join(10)
    memory()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
