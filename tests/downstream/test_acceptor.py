import logging
import ssl

import pytest

from meshsdk.call.address import UNKNOWN, Address
from meshsdk.call.connection import Connection, Peer
from meshsdk.downstream.acceptor import Acceptor, established
from meshsdk.downstream.address import address_of
from meshsdk.downstream.decision import Close, Decision, Plaintext
from meshsdk.errors import IdentityError
from tests.downstream.test_client_hello import HELLO

LOCAL, PEER = Address("10.0.0.1", 8080), Address("10.0.0.9", 4711)
GET = b"GET / HTTP/1.1\r\n"


class Always:
    def __init__(self, decision: Decision | Exception) -> None:
        self.decision = decision
        self.asked: list[Connection] = []

    def decide(self, connection: Connection, /) -> Decision:
        self.asked.append(connection)
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision


def test_the_decider_sees_addresses_and_what_the_client_offered_but_no_identity() -> None:
    decider = Always(Plaintext())

    Acceptor(decider).judge(HELLO, LOCAL, PEER)

    peer = Peer(physical=PEER, connection=PEER)
    offered = ("istio-http/1.1", "istio")
    assert decider.asked == [Connection(LOCAL, peer, "tls", "reviews.default", offered)]


def test_nothing_is_decided_before_the_first_bytes_are_complete() -> None:
    decider = Always(Plaintext())

    assert Acceptor(decider).judge(HELLO[:20], LOCAL, PEER) is None
    assert decider.asked == []


def test_malformed_tls_is_closed_without_asking() -> None:
    decider = Always(Plaintext())

    judged = Acceptor(decider).judge(b"\x16\x03\x01\0\0", LOCAL, PEER)

    assert judged is not None
    assert isinstance(judged.decision, Close)
    assert decider.asked == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(IdentityError("no identity yet"), "no identity yet"), (KeyError("x"), "internal error")],
)
def test_a_decider_that_fails_closes(error: Exception, reason: str) -> None:
    judged = Acceptor(Always(error)).judge(GET, LOCAL, PEER)

    assert judged is not None
    assert judged.decision == Close(reason)


def test_the_configuration_may_know_a_socket_by_another_address() -> None:
    decider = Always(Plaintext())
    known = Address("10.1.2.3", 8080)

    Acceptor(decider, local=lambda _: known).judge(GET, LOCAL, PEER)

    assert decider.asked[0].local == known


def test_each_reason_is_told_loudly_once(caplog: pytest.LogCaptureFixture) -> None:
    acceptor = Acceptor(Always(Plaintext()))
    caplog.set_level(logging.DEBUG, "meshsdk.downstream")

    for _ in range(3):
        acceptor.closed("no chain", LOCAL)

    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.WARNING, logging.DEBUG, logging.DEBUG]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (("10.0.0.1", 80), Address("10.0.0.1", 80)),
        (("::ffff:10.0.0.1", 80, 0, 0), Address("10.0.0.1", 80)),
        (("fe80::1%eth0", 80, 0, 2), Address("fe80::1", 80)),
        (["10.0.0.1", 80], Address("10.0.0.1", 80)),
        ("/run/app.sock", Address("/run/app.sock", 0)),
        ("", UNKNOWN),
        (None, UNKNOWN),
        (("testserver", None), UNKNOWN),
    ],
)
def test_socket_names_are_addresses(name: object, expected: Address) -> None:
    assert address_of(name) == expected


def test_tls_that_is_not_ours_proves_nobody() -> None:
    foreign = ssl.create_default_context().wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.test"
    )

    found = established(Connection(LOCAL, Peer(connection=PEER)), foreign)

    assert found.peer == Peer(connection=PEER)
    assert found.local_uri_sans == ()


def test_what_peers_invent_fills_neither_log_nor_memory(caplog: pytest.LogCaptureFixture) -> None:
    acceptor = Acceptor(Always(Plaintext()))

    with caplog.at_level(logging.WARNING, "meshsdk.downstream"):
        for number in range(200):
            acceptor.closed(f"reason {number}", LOCAL)
            acceptor.closed(f"reason {number}", LOCAL)

    assert len(caplog.records) == 64
