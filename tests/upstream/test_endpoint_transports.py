"""Transports of gRPC channels over real sockets: octets, TLS, back-pressure, ends."""

import math
import os
import socket
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import pytest

from meshsdk.call.address import Address
from meshsdk.call.address_map import AS_THEY_ARE
from meshsdk.call.endpoint import Endpoint, Host, HostState
from meshsdk.call.message import ResetReason
from meshsdk.clock import SystemClock
from meshsdk.errors import IdentityError
from meshsdk.identity.tls_params import ExactUris, SpiffeTrust, Validation
from meshsdk.resources.tls import UpstreamTls
from meshsdk.testing.ca import FakeCa
from meshsdk.upstream.endpoint_transports import EndpointTransport, EndpointTransports, target_of
from meshsdk.upstream.pool import EXPIRY_MARGIN
from meshsdk.upstream.tls import ClientContext
from tests.upstream.mtls import CLIENT, SOCKET, MeshTls, server_context
from tests.upstream.one_cluster import plan_of

_CA = FakeCa()
_PATIENCE = 10.0


@contextmanager
def tls_server(serve: Callable[[ssl.SSLSocket], None], ca: FakeCa = _CA) -> Generator[Address]:
    """Serves each connection on a thread of its own."""
    context = server_context(ca)
    listener = socket.create_server(("127.0.0.1", 0))

    def one(sock: socket.socket) -> None:
        with suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
            serve(tls)

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=one, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield Address(*listener.getsockname())
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def echo(tls: ssl.SSLSocket) -> None:
    while data := tls.recv(65536):
        tls.sendall(data)


def transports(tls: object = None) -> EndpointTransports:
    contexts = tls or MeshTls(_CA.context("shop/client"))
    return EndpointTransports(contexts, AS_THEY_ARE, SystemClock())  # type: ignore[arg-type]


def to(address: Address, opened: EndpointTransports, **config: object) -> EndpointTransport:
    host = Host(Endpoint(address), HostState(), SOCKET)
    return opened.open(plan_of(config), host, "")


@contextmanager
def dialled(transport: EndpointTransport) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(_PATIENCE)
        sock.connect(transport.target.removeprefix("unix:"))
        yield sock


@pytest.fixture
def opened() -> Generator[EndpointTransports]:
    found = transports()
    yield found
    found.close()


def _read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(65536)
        assert piece
        data += piece
    return data


def test_octets_pass_both_ways_and_the_end_does(opened: EndpointTransports) -> None:
    with tls_server(echo) as address, dialled(to(address, opened)) as sock:
        data = bytes(range(256)) * 4000

        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        found = _read(sock, len(data))
        sender.join()

        assert found == data
        assert opened.connections == 1


def test_the_end_of_the_host_comes_after_its_last_octets(opened: EndpointTransports) -> None:
    def say(tls: ssl.SSLSocket) -> None:
        tls.sendall(b"x" * 100_000)

    with tls_server(say) as address, dialled(to(address, opened)) as sock:
        assert len(_read(sock, 100_000)) == 100_000
        assert sock.recv(1) == b""


def test_a_slow_reader_is_waited_for_and_holds_up_nobody(opened: EndpointTransports) -> None:
    sent = 0

    def pour(tls: ssl.SSLSocket) -> None:
        nonlocal sent
        first = tls.recv(1)
        if first == b"e":
            return echo(tls)
        tls.settimeout(0.1)
        with suppress(TimeoutError):
            while sent < 64 << 20:
                sent += tls.send(b"x" * 16384)
        return None

    with tls_server(pour) as address:
        transport = to(address, opened)
        with dialled(transport) as slow, dialled(transport) as quick:
            slow.sendall(b"p")
            quick.sendall(b"e")
            for _ in range(50):
                quick.sendall(b"ping")
                assert _read(quick, 4) == b"ping"
            slow.setblocking(False)
            with suppress(BlockingIOError):
                slow.recv(1)

    assert sent < 32 << 20


def test_a_host_that_is_not_who_it_should_be_gets_no_octet() -> None:
    heard: list[bytes] = []
    params = CLIENT.__class__(
        validation=Validation(
            SpiffeTrust(), ExactUris(frozenset({"spiffe://cluster.local/ns/shop/sa/x"}))
        ),
        alpn=CLIENT.alpn,
    )
    opened = transports(MeshTls(_CA.context("shop/client"), params))

    with tls_server(lambda tls: heard.append(tls.recv(100))) as address:
        transport = to(address, opened)
        with dialled(transport) as sock:
            sock.sendall(b"secret")
            assert _ended(sock)

    failure = transport.failure
    assert failure is not None
    assert failure.reason is ResetReason.TLS_FAILURE
    assert b"secret" not in b"".join(heard)
    opened.close()


def _ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_refused_connection_is_told(opened: EndpointTransports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = Address(*server.getsockname())
    transport = to(address, opened)

    with dialled(transport) as sock:
        assert _ended(sock)

    failure = transport.failure
    assert failure is not None
    assert failure.reason is ResetReason.CONNECT_FAILURE
    assert failure.detail == "delayed connect error: Connection refused"


def test_a_silent_host_is_given_the_connect_timeout(opened: EndpointTransports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = to(Address(*server.getsockname()), opened, connect_timeout="0.05s")
        with dialled(transport) as sock:
            assert _ended(sock)

    failure = transport.failure
    assert failure is not None
    assert failure.reason is ResetReason.CONNECT_TIMEOUT


def test_without_an_identity_nothing_is_dialled() -> None:
    class NoIdentity:
        generation = 0

        def context(self, socket: UpstreamTls, protocol: str, sni: str) -> ClientContext:
            raise IdentityError("no SVID")

    opened = transports(NoIdentity())
    transport = to(Address("127.0.0.1", 9), opened)

    with dialled(transport) as sock:
        assert _ended(sock)

    assert transport.failure is not None
    assert transport.failure.detail == "no SVID"
    opened.close()


def test_closing_a_transport_ends_its_connections(opened: EndpointTransports) -> None:
    with tls_server(echo) as address:
        transport = to(address, opened)
        with dialled(transport) as sock:
            sock.sendall(b"ping")
            assert _read(sock, 4) == b"ping"

            transport.close()

            assert _ended(sock)
        deadline = monotonic() + _PATIENCE
        while opened.connections:
            assert monotonic() < deadline


class Ahead(SystemClock):
    """The wall clock is ahead: certificates end soon."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return super().time() + self._seconds


def test_a_connection_ends_before_its_certificate_does() -> None:
    """THREATS T9."""
    ahead = Ahead(3600.0 - EXPIRY_MARGIN - 0.05)
    opened = EndpointTransports(MeshTls(_CA.context("shop/client")), AS_THEY_ARE, ahead)
    with tls_server(echo) as address:
        transport = to(address, opened)
        before = transport.renew_at
        with dialled(transport) as sock:
            assert _ended(sock)
    opened.close()

    assert transport.failure is None
    assert before == math.inf
    assert transport.renew_at <= ahead.monotonic()


def test_a_transport_is_of_the_trust_that_was_in_force() -> None:
    tls = MeshTls(_CA.context("shop/client"))
    opened = transports(tls)
    tls.generation = 3
    transport = to(Address("127.0.0.1", 9), opened)
    tls.generation = 4

    assert (transport.generation, opened.generation) == (3, 4)
    opened.close()


def test_a_transport_that_is_closed_while_it_dials_ends_what_it_dialled() -> None:
    class Closing(MeshTls):
        def context(self, socket: UpstreamTls, protocol: str, sni: str) -> ClientContext:
            transport.close()
            return super().context(socket, protocol, sni)

    opened = transports(Closing(_CA.context("shop/client")))
    with tls_server(echo) as address:
        transport = to(address, opened)
        with dialled(transport) as sock:
            assert _ended(sock)
    opened.close()


def test_the_socket_is_for_us_alone(opened: EndpointTransports) -> None:
    transport = to(Address("127.0.0.1", 9), opened)
    directory = Path(transport.target.removeprefix("unix:")).parent

    assert os.stat(directory).st_mode & 0o077 == 0
    opened.close()
    assert not directory.exists()


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (Address("10.0.0.1", 80), "ipv4:10.0.0.1:80"),
        (Address("fd00::1", 80), "ipv6:[fd00::1]:80"),
        (Address("reviews.shop", 80), "dns:reviews.shop:80"),
        (Address("/run/app.sock", 0), "unix:/run/app.sock"),
        (Address("@app", 0), "unix-abstract:app"),
    ],
)
def test_plaintext_hosts_are_dialled_as_they_are(
    address: Address, target: str, opened: EndpointTransports
) -> None:
    assert target_of(address) == target
    plain = opened.open(plan_of({}), Host(Endpoint(address), HostState()))
    assert (plain.target, plain.is_secure) == (target, False)
