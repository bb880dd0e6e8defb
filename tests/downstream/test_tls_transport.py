"""The transport by hand: a plain transport that only remembers, and a peer in memory."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from meshsdk.downstream.asgi_http import in_steps
from meshsdk.downstream.tls_transport import TlsTransport
from meshsdk.identity.session import TlsSession
from meshsdk.testing._handshake import contexts_of
from tests.downstream.mesh import PAYMENT, SERVER, client_context, stranger


class Plain(asyncio.Transport):
    """What goes to the socket, and whether it may still be read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.is_paused = False
        self.ended = ""
        self.unsent = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent.append(bytes(data))

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"
        self.unsent = 0

    def is_closing(self) -> bool:
        return bool(self.ended)

    def get_write_buffer_size(self) -> int:
        return self.unsent


class Server(asyncio.Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.told: list[str] = []

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> None:
        self.told.append("end")

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost" if exc is None else type(exc).__name__)

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


class Soon:
    """An event loop, of which only `call_soon` and `call_later` are used."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def call_later(
        self, delay: float, callback: Callable[[int], None], left: int
    ) -> asyncio.TimerHandle:
        assert delay == 30.0
        self.waiting.append(partial(callback, left))
        return asyncio.TimerHandle(
            delay, callback, (left,), cast("asyncio.AbstractEventLoop", self)
        )

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.waiting.clear()


class Both:
    """A server's transport and its peer; `exchange` moves what either has for the other."""

    def __init__(self, client: ssl.SSLContext | None = None) -> None:
        self.raw, self.server, self.loop = Plain(), Server(), Soon()
        self.failures: list[Exception] = []
        self.tls = TlsTransport(
            cast("asyncio.AbstractEventLoop", self.loop),
            self.raw,
            contexts_of(PAYMENT).server(SERVER),
            lambda transport: transport.set_protocol(self.server),
            self.failures.append,
        )
        self.peer = TlsSession(client or client_context(), server_hostname="a.test")
        self.peer.start()
        self.got = b""

    def exchange(self) -> None:
        while True:
            to_server, to_peer = self.peer.outgoing(), b"".join(self.raw.sent)
            self.raw.sent.clear()
            if not to_server and not to_peer:
                return
            if to_peer:
                self.got += self.peer.receive(to_peer)
            if to_server:
                self.tls.data_received(to_server)

    def say(self, data: bytes) -> None:
        self.tls.data_received(self.peer.send(data))


@pytest.fixture
def both() -> Both:
    found = Both()
    found.exchange()
    assert found.tls.get_protocol() is found.server
    return found


def test_octets_pass_both_ways(both: Both) -> None:
    both.say(b"question")
    both.tls.write(bytearray(b"ans"))
    both.tls.writelines([b"w", memoryview(b"er")])
    both.exchange()
    assert (both.server.got, both.got) == (b"question", b"answer")


def test_octets_of_many_records_pass_in_one_write(both: Both) -> None:
    data = bytes(range(256)) * 4096 + b"end"

    both.tls.write(memoryview(data))
    assert len(both.raw.sent) == 1
    both.exchange()

    assert both.got == data


def test_a_request_that_comes_with_the_end_of_the_handshake_is_not_lost() -> None:
    both = Both()
    hello = both.peer.outgoing()
    both.tls.data_received(hello)
    both.peer.receive(b"".join(both.raw.sent))
    both.raw.sent.clear()
    both.tls.data_received(both.peer.outgoing() + both.peer.send(b"at once"))
    assert both.server.got == b"at once"


def test_no_protocol_is_set_before_the_peer_is_verified() -> None:
    both = Both()

    both.tls.data_received(both.peer.outgoing())
    before: object = both.tls.get_protocol()
    assert before is None
    both.exchange()

    assert both.tls.get_protocol() is both.server


def test_a_session_whose_peer_was_refused_carries_nothing() -> None:
    """Whoever goes on in spite of the error gets no octet, and none out."""
    session = TlsSession(contexts_of(PAYMENT).server(SERVER), server_side=True)
    peer = TlsSession(stranger(), server_hostname="a.test")
    with pytest.raises(ssl.SSLError, match="handshake is not over"):
        session.send(b"early")
    peer.start()
    session.receive(peer.outgoing())
    peer.receive(session.outgoing())

    with pytest.raises(ssl.SSLError):
        session.receive(peer.outgoing() + peer.send(b"secret"))

    assert not session.is_open
    with pytest.raises(ssl.SSLError):
        session.receive(peer.send(b"again"))
    with pytest.raises(ssl.SSLError):
        session.send(b"answer")


def test_nothing_comes_or_goes_after_the_close(both: Both) -> None:
    record = both.peer.send(b"late")
    both.tls.close()
    both.raw.sent.clear()

    both.tls.data_received(record)
    both.tls.write(b"late")

    assert both.server.got == b""
    assert both.raw.sent == []


def test_what_is_corked_is_one_write(both: Both) -> None:
    both.tls.cork()
    both.tls.write(b"head ")
    both.tls.write(b"body")
    assert both.raw.sent == []
    assert both.tls.get_write_buffer_size() == 9
    both.tls.uncork()
    assert len(both.raw.sent) == 1
    both.exchange()
    assert both.got == b"head body"


def test_a_cork_holds_64_kib_at_most(both: Both) -> None:
    both.tls.cork()
    for _ in range(5):
        both.tls.write(b"x" * 16 * 1024)
    assert len(both.raw.sent) == 1
    both.tls.uncork()
    both.exchange()
    assert both.got == b"x" * 80 * 1024


def test_close_sends_what_is_corked_and_says_goodbye(both: Both) -> None:
    both.tls.cork()
    both.tls.write(b"last")
    both.tls.close()
    assert both.raw.ended == "closed"
    both.tls.write(b"too late")
    both.exchange()
    assert both.got == b"last"
    assert both.peer.peer_closed


def test_a_server_that_does_not_read_gets_nothing_until_it_does(both: Both) -> None:
    both.tls.pause_reading()
    assert both.raw.is_paused
    both.say(b"in flight")
    assert both.server.got == b""
    both.tls.resume_reading()
    assert both.raw.is_paused
    [resume] = both.loop.waiting
    resume()
    assert both.server.got == b"in flight"
    assert not both.raw.is_paused


def test_the_peers_goodbye_waits_for_what_was_not_read(both: Both) -> None:
    both.tls.pause_reading()
    both.say(b"in flight")
    both.tls.data_received(both.peer.end())
    assert both.server.told == []
    both.tls.resume_reading()
    both.loop.waiting[0]()
    assert (both.server.got, both.server.told) == (b"in flight", ["end"])
    assert both.raw.ended == "closed"


def test_a_protocol_that_fails_at_what_was_held_back_ends_the_connection(both: Both) -> None:
    """Else nobody would ever read from it again."""

    def fail(data: bytes) -> None:
        raise LookupError(data)

    both.server.data_received = fail  # type: ignore[method-assign]
    both.tls.set_protocol(both.server)
    both.tls.pause_reading()
    both.say(b"in flight")
    both.tls.resume_reading()

    both.loop.waiting[0]()
    both.tls.connection_lost(None)

    assert both.raw.ended == "aborted"
    assert both.server.told == ["LookupError"]


def test_a_lost_connection_has_no_protocol(both: Both) -> None:
    """A task may ask whose connection it serves when the peer has gone."""
    both.tls.connection_lost(None)

    left: object = both.tls.get_protocol()
    assert left is None


def test_flow_control_is_the_sockets(both: Both) -> None:
    both.tls.pause_writing()
    both.tls.resume_writing()
    both.tls.connection_lost(None)
    assert both.server.told == ["pause", "resume", "lost"]


class KeyUpdates:
    """The records of a peer that asks for new keys again and again (RFC 8446, 4.6.3); Python's ssl
    cannot be made to send them."""

    def __init__(self, log: Path) -> None:
        lines = [line.split() for line in log.read_text().splitlines()]
        [found] = [line[2] for line in lines if line[0] == "CLIENT_TRAFFIC_SECRET_0"]
        self._secret = bytes.fromhex(found)

    def next(self) -> bytes:
        key, iv = self._expand(b"key", 32), self._expand(b"iv", 12)
        self._secret = self._expand(b"traffic upd", 48)
        inner = bytes([24, 0, 0, 1, 1, 22])  # key_update, update_requested; handshake
        header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2)
        return header + AESGCM(key).encrypt(iv, inner, header)

    def _expand(self, name: bytes, length: int) -> bytes:
        label = b"tls13 " + name
        info = length.to_bytes(2) + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(SHA384(), length, info).derive(self._secret)


@pytest.fixture
def key_updates(tmp_path: Path) -> tuple[Both, KeyUpdates]:
    context = client_context()
    context.keylog_filename = str(tmp_path / "keys")
    both = Both(context)
    both.exchange()
    assert both.tls.get_extra_info("cipher")[0] == "TLS_AES_256_GCM_SHA384"  # type: ignore[index]
    return both, KeyUpdates(tmp_path / "keys")


def test_key_updates_of_a_peer_that_reads_are_answered(
    key_updates: tuple[Both, KeyUpdates],
) -> None:
    both, updates = key_updates

    for _ in range(500):
        both.tls.pause_writing()
        both.tls.data_received(updates.next())
        both.tls.resume_writing()

    assert not both.raw.ended
    both.tls.write(b"answer")
    both.exchange()
    assert both.got == b"answer"


def test_key_updates_of_a_peer_that_reads_nothing_end_the_connection(
    key_updates: tuple[Both, KeyUpdates],
) -> None:
    """Their answers would fill the memory."""
    both, updates = key_updates
    both.tls.pause_writing()

    for _ in range(500):
        if both.raw.ended:
            break
        both.tls.data_received(updates.next())
    both.tls.connection_lost(None)

    assert both.raw.ended == "aborted"
    assert len(b"".join(both.raw.sent)) < 5 * 1024
    assert both.server.told == ["pause", "ConnectionAbortedError"]


def test_a_close_waits_for_a_peer_as_long_as_it_reads(both: Both) -> None:
    both.raw.unsent = 1000
    both.tls.close()

    both.raw.unsent = 500
    both.loop.waiting.pop()()
    reading = both.raw.ended
    both.loop.waiting.pop()()

    assert (reading, both.raw.ended) == ("closed", "aborted")
    assert both.loop.waiting == []


def test_a_connection_that_is_gone_is_not_waited_for(both: Both) -> None:
    both.raw.unsent = 1000
    both.tls.close()
    assert both.loop.waiting

    both.tls.connection_lost(None)

    assert both.loop.waiting == []


def test_a_broken_record_ends_the_connection(both: Both) -> None:
    record = bytearray(both.peer.send(b"question"))
    record[-1] ^= 1
    both.tls.data_received(bytes(record))
    assert both.server.got == b""
    assert both.raw.ended == "closed"
    both.tls.connection_lost(None)
    assert both.server.told == ["SSLError"]


def test_a_refused_handshake_sets_no_protocol() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    both = Both(context)
    with pytest.raises(ssl.SSLError):  # the alert that says why
        both.exchange()
    both.tls.connection_lost(None)
    assert len(both.failures) == 1
    assert both.raw.ended == "closed"


def test_a_peer_that_goes_in_the_handshake_is_a_failure() -> None:
    both = Both()
    both.tls.connection_lost(None)
    assert [str(error) for error in both.failures] == ["closed within the handshake"]


class Future:
    """What an event loop would wait for."""

    def __await__(self) -> Generator["Future", object, object]:
        return (yield self)


def test_what_is_written_between_two_waits_is_one_write(both: Both) -> None:
    waits: Awaitable[object] = Future()
    answers: list[object] = []

    async def app() -> None:
        both.tls.write(b"head ")
        both.tls.write(b"first ")
        answers.append(await waits)
        both.tls.write(b"second ")
        with pytest.raises(ConnectionError):
            await waits
        both.tls.write(b"last")

    running = cast("Generator[object, object, None]", in_steps(app(), both.tls))
    assert next(running) is waits
    assert len(both.raw.sent) == 1
    assert running.send("value") is waits
    assert len(both.raw.sent) == 2
    with pytest.raises(StopIteration):
        running.throw(ConnectionError())
    assert answers == ["value"]
    both.exchange()
    assert both.got == b"head first second last"
