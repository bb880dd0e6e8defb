"""The record layer without a socket."""

import ssl

import pytest

from meshsdk.identity.refusal import PeerRefusedError
from meshsdk.identity.tls_params import ExactUris, SpiffeTrust, TlsParams, Validation
from meshsdk.testing.ca import FakeCa
from meshsdk.upstream.tls import ClientContext, Layer, Tls, TlsOverTls
from tests.upstream.mtls import SOCKET, MeshTls, server_context

_CA = FakeCa()


class Peer:
    """A server end in memory."""

    def __init__(self) -> None:
        self._in, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = server_context(_CA).wrap_bio(self._in, self.out, server_side=True)

    def take(self, data: bytes) -> bytes:
        """What a client sent, decrypted."""
        self._in.write(data)
        try:
            return self.object.read(65536)
        except ssl.SSLWantReadError:
            return b""


def _open(layer: Layer, peer: Peer) -> None:
    layer.start()
    while not layer.is_open:
        peer.take(layer.outgoing())
        layer.receive(peer.out.read())
    peer.take(layer.outgoing())


def _context() -> ClientContext:
    return MeshTls(_CA.context("shop/client")).context(SOCKET, "http1", SOCKET.sni)


def test_octets_pass_both_ways_in_any_cut() -> None:
    layer, peer = Tls(_context()), Peer()
    _open(layer, peer)

    assert peer.take(layer.send(b"question")) == b"question"
    peer.object.write(b"an")
    peer.object.write(b"swer")
    octets = peer.out.read()
    found = [layer.receive(octets[at : at + 7]) for at in range(0, len(octets), 7)]

    assert b"".join(found) == b"answer"
    assert not layer.peer_closed


def test_more_than_a_record_passes_in_one_call() -> None:
    layer, peer = Tls(_context()), Peer()
    _open(layer, peer)
    data = bytes(range(256)) * 400

    octets, found = layer.send(data), b""
    found += peer.take(octets)
    while len(found) < len(data):
        found += peer.take(b"")
    for at in range(0, len(data), 16384):
        peer.object.write(data[at : at + 16384])

    assert found == data
    assert layer.receive(peer.out.read()) == data


def test_the_goodbye_of_the_peer_is_noticed_behind_its_last_octets() -> None:
    layer, peer = Tls(_context()), Peer()
    _open(layer, peer)
    peer.object.write(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        peer.object.unwrap()

    assert layer.receive(peer.out.read()) == b"last"
    assert layer.peer_closed


def test_nothing_is_sent_before_the_peer_is_verified() -> None:
    wanted = ExactUris(frozenset({"spiffe://cluster.local/ns/shop/sa/other"}))
    params = TlsParams(validation=Validation(SpiffeTrust(), wanted))
    tls = MeshTls(_CA.context("shop/client"), params)
    layer, peer = Tls(tls.context(SOCKET, "http1", "")), Peer()

    with pytest.raises(PeerRefusedError):
        _open(layer, peer)

    assert not layer.is_open
    with pytest.raises(ssl.SSLError):
        layer.send(b"secret")


def test_a_name_that_cannot_be_sni_is_left_out() -> None:
    context = _context()
    long = ClientContext(context.ssl_context, f"{'a' * 64}.shop")
    layer, peer = Tls(long), Peer()

    _open(layer, peer)

    assert layer.is_open


def test_a_connection_ends_with_the_first_of_its_certificates() -> None:
    identity = _CA.context("shop/client", ttl=60.0)
    layer, peer = Tls(MeshTls(identity).context(SOCKET, "http1", "")), Peer()
    _open(layer, peer)

    assert layer.expires == identity.svids[0].certificate.not_after
    assert Tls(ClientContext(ssl.create_default_context(), "web.example", 5.0)).expires == 5.0


def test_one_session_goes_inside_another() -> None:
    outer_peer, inner_peer = Peer(), Peer()
    layer = TlsOverTls(Tls(_context()), Tls(_context()))
    layer.start()
    while not layer.is_open:
        inner_peer.take(outer_peer.take(layer.outgoing()))
        if inner_peer.out.pending:
            outer_peer.object.write(inner_peer.out.read())
        layer.receive(outer_peer.out.read())
    inner_peer.take(outer_peer.take(layer.outgoing()))

    assert inner_peer.take(outer_peer.take(layer.send(b"deep"))) == b"deep"
    assert len(layer.objects) == 2
