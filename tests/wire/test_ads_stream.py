"""The stream against a real gRPC server on loopback that speaks raw ADS frames."""

import datetime
import ipaddress
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshsdk.wire.ads_codec import (
    METHODS,
    SERVICE,
    EncodedResource,
    NodeRequest,
    decode_request,
    encode_resource,
    encode_response,
)
from meshsdk.wire.ads_stream import AdsTransport, no_metadata
from meshsdk.wire.channel import ChannelTls, open_channel
from meshsdk.wire.grpc_server import GrpcServer, ServerCall, ServerTls
from meshsdk.xds.messages import DiscoveryRequest, DiscoveryResponse, StreamEnded, Variant

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
NODE = {"id": "sidecar~10.0.0.1~a.b~b.svc.cluster.local", "metadata": {"NAMESPACE": "b"}}
Behaviour = Callable[[Iterator[NodeRequest], ServerCall], Iterator[bytes]]


@contextmanager
def serving(variant: Variant, behave: Behaviour, tls: ServerTls | None = None) -> Generator[str]:
    """A server whose one ADS method is `behave`; gives its address."""

    def stream(raw: Iterator[bytes], call: ServerCall) -> Iterator[bytes]:
        return behave((decode_request(request, variant) for request in raw), call)

    server = GrpcServer(threads=4)
    server.add(SERVICE, streams={METHODS[variant]: stream})
    port = server.listen(tls=tls)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop()


def push(variant: Variant, nonce: str) -> bytes:
    data = {"name": "a", "connect_timeout": "1s"}
    resource = EncodedResource("a", CLUSTER, encode_resource(CLUSTER, data), "7")
    return encode_response(
        variant, CLUSTER, version="v1", nonce=nonce, resources=[resource], removed=["gone"]
    )


@pytest.fixture(params=["delta", "sotw"])
def variant(request: pytest.FixtureRequest) -> Variant:
    found: Variant = request.param
    return found


def test_a_push_arrives_and_is_acked(variant: Variant) -> None:
    seen: SimpleQueue[NodeRequest] = SimpleQueue()

    def behave(requests: Iterator[NodeRequest], _: ServerCall) -> Iterator[bytes]:
        seen.put(next(requests))
        yield push(variant, "n1")
        seen.put(next(requests))

    with serving(variant, behave) as address, open_channel(address, None) as channel:
        stream = AdsTransport(channel, variant, NODE).open()
        stream.send(DiscoveryRequest(CLUSTER, subscribe=("*",), names=("*",), first=True))
        events = iter(stream)
        response = next(events)
        stream.send(DiscoveryRequest(CLUSTER, nonce="n1", version="v1", names=("*",)))
        ended = next(events)

    assert isinstance(response, DiscoveryResponse)
    assert (response.type_url, response.version, response.nonce) == (CLUSTER, "v1", "n1")
    assert response.delta == (variant == "delta")
    assert response.removed == (("gone",) if variant == "delta" else ())
    (resource,) = response.resources
    assert (resource.name, resource.type_url) == ("a", CLUSTER)
    assert resource.version == ("7" if variant == "delta" else "")
    assert resource.decode().data == {"name": "a", "connect_timeout": "1s"}
    assert ended == StreamEnded("OK")
    first, ack = seen.get(timeout=5), seen.get(timeout=5)
    assert first.node == NODE
    assert first.request.first
    assert (first.request.subscribe or first.request.names) == ("*",)
    assert ack.node is None
    assert (ack.request.nonce, ack.request.error) == ("n1", None)
    assert ack.request.version == ("" if variant == "delta" else "v1")


def test_a_nack_carries_the_error_and_the_held_versions(variant: Variant) -> None:
    sent = DiscoveryRequest(
        CLUSTER,
        nonce="n9",
        unsubscribe=("b",),
        initial_resource_versions={"a": "7"},
        error="clusters[a].type: unknown",
    )
    seen: SimpleQueue[NodeRequest] = SimpleQueue()

    def behave(requests: Iterator[NodeRequest], _: ServerCall) -> Iterator[bytes]:
        seen.put(next(requests))
        yield from ()

    with serving(variant, behave) as address, open_channel(address, None) as channel:
        stream = AdsTransport(channel, variant, NODE).open()
        stream.send(sent)
        assert list(stream) == [StreamEnded("OK")]

    got = seen.get(timeout=5).request
    assert (got.nonce, got.error, got.first) == ("n9", "clusters[a].type: unknown", False)
    assert got.unsubscribe == (("b",) if variant == "delta" else ())
    assert got.initial_resource_versions == ({"a": "7"} if variant == "delta" else {})


def test_a_sotw_resource_in_a_wrapper_is_unwrapped() -> None:
    wrapper = "type.googleapis.com/envoy.service.discovery.v3.Resource"
    inner = {"@type": CLUSTER, "name": "a"}
    raw = encode_resource(wrapper, {"name": "alias", "version": "3", "resource": inner})
    wrapped = EncodedResource("", wrapper, raw)
    frame = encode_response("sotw", CLUSTER, version="v", nonce="n", resources=[wrapped])

    def behave(requests: Iterator[NodeRequest], _: ServerCall) -> Iterator[bytes]:
        next(requests)
        yield frame

    with serving("sotw", behave) as address, open_channel(address, None) as channel:
        stream = AdsTransport(channel, "sotw", NODE).open()
        stream.send(DiscoveryRequest(CLUSTER, first=True))
        response = next(iter(stream))

    assert isinstance(response, DiscoveryResponse)
    (resource,) = response.resources
    assert (resource.name, resource.version, resource.type_url) == ("alias", "3", CLUSTER)
    assert resource.decode().data == {"name": "a"}


def test_a_refused_stream_ends_with_the_servers_status(variant: Variant) -> None:
    def behave(_: Iterator[NodeRequest], call: ServerCall) -> Iterator[bytes]:
        call.abort("PERMISSION_DENIED", "no identities matched b/default")
        yield b""

    with serving(variant, behave) as address, open_channel(address, None) as channel:
        events = list(AdsTransport(channel, variant, NODE).open())

    assert events == [StreamEnded("PERMISSION_DENIED", "no identities matched b/default")]


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with open_channel("127.0.0.1:1", None) as channel:
        (event,) = AdsTransport(channel, "delta", NODE).open()

    assert isinstance(event, StreamEnded)
    assert event.code == "UNAVAILABLE"


def test_bytes_that_are_no_response_end_the_stream() -> None:
    def behave(_: Iterator[NodeRequest], call: ServerCall) -> Iterator[bytes]:
        yield b"\x0f"

    with serving("delta", behave) as address, open_channel(address, None) as channel:
        (event,) = AdsTransport(channel, "delta", NODE).open()

    assert isinstance(event, StreamEnded)
    assert event.code == "INTERNAL"


def test_close_from_another_thread_ends_a_blocked_stream_and_leaves_no_thread() -> None:
    def behave(requests: Iterator[NodeRequest], _: ServerCall) -> Iterator[bytes]:
        yield push("delta", "n1")
        next(requests, None)

    with serving("delta", behave) as address, open_channel(address, None) as channel:
        before = set(threading.enumerate())
        stream = AdsTransport(channel, "delta", NODE).open()
        events = iter(stream)
        assert isinstance(next(events), DiscoveryResponse)
        ours = [
            thread
            for thread in set(threading.enumerate()) - before
            if not thread.name.startswith("meshsdk-grpc-server")
        ]
        threading.Thread(target=stream.close).start()
        ended = next(events)
        for thread in ours:
            thread.join(5)

    assert isinstance(ended, StreamEnded)
    assert ended.code == "CANCELLED"
    assert ours
    assert not any(thread.is_alive() for thread in ours)


def test_call_metadata_is_read_anew_for_each_stream() -> None:
    tokens = iter(["one", "two"])
    seen: list[str] = []

    def behave(_: Iterator[NodeRequest], call: ServerCall) -> Iterator[bytes]:
        seen.append(call.metadata()["authorization"])
        yield from ()

    with serving("delta", behave) as address, open_channel(address, None) as channel:
        transport = AdsTransport(
            channel, "delta", NODE, lambda: [("authorization", f"Bearer {next(tokens)}")]
        )
        list(transport.open())
        list(transport.open())

    assert seen == ["Bearer one", "Bearer two"]


def test_a_push_over_four_megabytes_is_received() -> None:
    def behave(requests: Iterator[NodeRequest], _: ServerCall) -> Iterator[bytes]:
        routes = {"name": "x" * 5_000_000}
        resource = EncodedResource("x", ROUTES, encode_resource(ROUTES, routes))
        yield encode_response("delta", ROUTES, version="", nonce="", resources=[resource])

    with serving("delta", behave) as address, open_channel(address, None) as channel:
        response = next(iter(AdsTransport(channel, "delta", NODE).open()))

    assert isinstance(response, DiscoveryResponse)
    assert len(response.resources[0].raw) > 5_000_000


def certificate(dns_name: str) -> tuple[bytes, bytes]:
    """A self-signed server certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    names = [x509.DNSName(dns_name), x509.IPAddress(ipaddress.ip_address("127.0.0.9"))]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return built.public_bytes(serialization.Encoding.PEM), pem


def test_tls_verifies_the_name_that_is_asked_for_not_the_address() -> None:
    chain, key = certificate("istiod.istio-system.svc")

    def behave(requests: Iterator[NodeRequest], _: ServerCall) -> Iterator[bytes]:
        yield push("delta", "n1")

    def first(address: str, server_name: str) -> object:
        tls = ChannelTls(roots=chain, server_name=server_name)
        with open_channel(address, tls) as channel:
            return next(iter(AdsTransport(channel, "delta", NODE, no_metadata).open()))

    with serving("delta", behave, ServerTls(key, chain)) as address:
        right = first(address, "istiod.istio-system.svc")
        wrong = first(address, "istiod.other.svc")

    assert isinstance(right, DiscoveryResponse)
    assert isinstance(wrong, StreamEnded)
    assert wrong.code == "UNAVAILABLE"
