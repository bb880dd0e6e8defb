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
