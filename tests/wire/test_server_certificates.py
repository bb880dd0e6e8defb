"""What a gRPC server is told of its certificate before each handshake."""

from meshsdk.wire.grpc_server import ServerTls, only_news

OLD = ServerTls(b"key", b"chain", b"roots")


def test_gRPC_is_told_of_a_certificate_only_when_it_is_new() -> None:
    newest = [ServerTls(b"key", b"chain", b"roots")]
    fetched = only_news(OLD, lambda: newest[0], lambda found: found.certificate_chain)

    said = [fetched(), fetched()]
    newest[0] = ServerTls(b"key", b"other", b"roots")
    said += [fetched(), fetched()]

    assert said == [None, None, b"other", None]
