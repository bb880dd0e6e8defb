from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from meshsdk.wire.channel import open_channel
from meshsdk.wire.grpc_server import GrpcServer, ServerCall
from meshsdk.wire.json_form import from_json, to_json
from meshsdk.wire.pool import parse_message
from meshsdk.wire.unary import call_unary
from meshsdk.xds.messages import StreamEnded

SERVICE = "istio.v1.auth.IstioCertificateService"


def test_a_certificate_is_asked_for_by_name_and_a_refusal_is_a_value() -> None:
    def create(raw: bytes, call: ServerCall) -> bytes:
        request = to_json(parse_message("istio.v1.auth.IstioCertificateRequest", raw))
        if call.metadata().get("authorization") != "Bearer t":
            call.abort("UNAUTHENTICATED", "request authenticate failure")
        answer = {"cert_chain": [str(request["csr"]), str(request["validity_duration"])]}
        return from_json("istio.v1.auth.IstioCertificateResponse", answer).SerializeToString()

    server = GrpcServer(threads=2)
    server.add(SERVICE, unaries={"CreateCertificate": create})
    port = server.listen()
    server.start()
    request = {"csr": "PEM", "validity_duration": 86400}
    try:
        with open_channel(f"127.0.0.1:{port}", None) as channel:
            token = [("authorization", "Bearer t")]
            granted = call_unary(
                channel, SERVICE, "CreateCertificate", request, timeout=5, metadata=token
            )
            refused = call_unary(channel, SERVICE, "CreateCertificate", request, timeout=5)
    finally:
        server.stop()

    assert granted == {"cert_chain": ["PEM", "86400"]}
    assert refused == StreamEnded("UNAUTHENTICATED", "request authenticate failure")


@pytest.fixture
def guarded() -> Iterator[int]:
    """A server of one thread, for callers with a token; its port."""

    def authenticate(call: ServerCall) -> None:
        if call.metadata().get("authorization") != "Bearer t":
            call.abort("UNAUTHENTICATED", "no token")

    server = GrpcServer(threads=1)
    server.add("a.Service", unaries={"Echo": lambda raw, _: raw}, authenticate=authenticate)
    port = server.listen()
    server.start()
    yield port
    server.stop()


def outcome(port: int, requests: Iterator[bytes], token: str = "") -> str:
    """The status that a call of `Echo` ends with."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with open_channel(f"127.0.0.1:{port}", None) as channel:
        untyped: Any = channel
        call = untyped.stream_unary("/a.Service/Echo").future(
            requests, timeout=5, metadata=metadata
        )
        return str(call.code().name)


def test_who_has_proved_nothing_holds_no_thread(guarded: int) -> None:
    """A call without its request, for ever; a few hundred of them were a server without threads."""
    ended = Event()

    def requests() -> Iterator[bytes]:
        ended.wait(10)
        yield b""

    try:
        code = outcome(guarded, requests())
    finally:
        ended.set()

    assert code == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("requests", "code"),
    [([], "INVALID_ARGUMENT"), ([bytes(4 << 20)], "OK"), ([bytes(5 << 20)], "RESOURCE_EXHAUSTED")],
)
def test_a_request_is_one_message_of_at_most_four_mebibytes(
    guarded: int, requests: list[bytes], code: str
) -> None:
    assert outcome(guarded, iter(requests), "t") == code
