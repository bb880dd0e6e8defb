"""gRPC servers in the mesh: our TLS, Envoy-style configuration, istiod's kind of policy."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from queue import Queue
from typing import Any

import grpc
import grpc.aio  # pyright: ignore[reportUnusedImport]  # by GRPC
import pytest

import meshsdk
from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.message import UNKNOWN_AUTHORITY
from meshsdk.config.bootstrap import Node
from meshsdk.config.yaml import load
from meshsdk.errors import ForbiddenError, NotReadyError, UsageError
from meshsdk.identity import X509Context
from meshsdk.integrations.grpcio import (
    add_mesh_port,
    aio_channel,
    aio_server_interceptor,
    channel,
    server_interceptor,
)
from meshsdk.integrations.grpcio.api import EOF, Metadata
from meshsdk.integrations.grpcio.inbound import request_of
from meshsdk.mesh import Mesh
from tests.downstream.mesh import CA, ORDER, ORDER_ID, PAYMENT, STRANGE_CA
from tests.integrations.grpc_service import SS, SU, US, UU, Service, handlers
from tests.integrations.test_uvicorn_mesh import CHAIN, LISTENER, SOCKET

GRPC: Any = grpc  # its stubs know too little
ISTIO = "[istio, istio-peer-exchange, istio-http/1.0, istio-http/1.1, istio-h2]"


def chain(name: str, match: str, socket: str = "", rules: str = "") -> str:
    text = CHAIN.format(name=name, match=match, socket=socket, order=ORDER_ID)
    return text.replace("{prefix: /pay}", "{prefix: /test.Echo}").replace(
        "{url_path: {path: {exact: /open}}}", rules or "{url_path: {path: {exact: /test.Echo/US}}}"
    )


STRICT = LISTENER + chain("strict", "{transport_protocol: tls}", SOCKET)
PERMISSIVE = (
    LISTENER
    + chain("mtls", f"{{transport_protocol: tls, application_protocols: {ISTIO}}}", SOCKET)
    + chain("plain", "{transport_protocol: raw_buffer}")
)
CLIENT = """
static_resources:
  listeners:
  - name: out
    address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          route_config:
            virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: c}}]}]
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: c
    type: STATIC
    connect_timeout: 5s
    load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: PORT}}}}]}]}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: outbound_.80_._.payment.shop.svc.cluster.local
        common_tls_context:
          alpn_protocols: [istio-peer-exchange, istio]
          tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]
          combined_validation_context:
            default_validation_context:
              match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "spiffe://cluster.local/ns/shop/sa/payment"}}]
            validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}
"""


def client_mesh(port: int, identity: X509Context) -> Mesh:
    return Mesh.static(load(CLIENT.replace("PORT", str(port)), "client.yaml"), identity=identity)


def server_mesh(config: str, identity: X509Context = PAYMENT) -> Mesh:
    return Mesh.static(load(config, "inbound.yaml"), identity=identity)


@contextmanager
def sync_server(mesh: Mesh, service: Service, **options: Any) -> Generator[int]:
    server = GRPC.server(ThreadPoolExecutor(16), interceptors=[server_interceptor(mesh)], **options)
    server.add_generic_rpc_handlers((handlers(service),))
    port = add_mesh_port(server, "127.0.0.1:0", mesh)
    server.start()
    try:
        yield port
    finally:
        service.released.set()
        server.stop(None).wait()


@contextmanager
def served(config: str, service: Service | None = None, **options: Any) -> Generator[int]:
    with (
        server_mesh(config) as mesh,
        sync_server(mesh, service or Service(), **options) as port,
    ):
        yield port


@contextmanager
def calling(port: int, identity: X509Context = ORDER) -> Generator[Any]:
    with client_mesh(port, identity) as mesh, channel("payment.shop:80", mesh) as found:
        yield found


def failed(call: Callable[[], object]) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


class Telling(Service):
    """Answers with who called."""

    def act(self, word: bytes, context: Any) -> bytes:
        if word == b"who":
            return str(meshsdk.current_peer().spiffe_id).encode()
        return super().act(word, context)


ARITIES: dict[str, Callable[[Any, bytes], Any]] = {
    "UU": lambda c, w: c.unary_unary(UU)(w),
    "US": lambda c, w: b"".join(c.unary_stream(US)(w)),
    "SU": lambda c, w: c.stream_unary(SU)(iter([w])),
    "SS": lambda c, w: b"".join(c.stream_stream(SS)(iter([w]))),
}
ALL = pytest.mark.parametrize("arity", list(ARITIES))


@ALL
def test_the_application_knows_its_caller(arity: str) -> None:
    with served(STRICT, Telling()) as port, calling(port) as c:
        assert ARITIES[arity](c, b"who") == ORDER_ID.encode()


@ALL
def test_others_are_told_what_envoy_tells(arity: str) -> None:
    service = Service()
    with served(STRICT, service) as port, calling(port, CA.context("shop/other")) as c:
        if arity == "US":
            assert ARITIES[arity](c, b"x") == b"x"  # open to everybody
            return
        error = failed(lambda: ARITIES[arity](c, b"x"))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "RBAC: access denied",
    )
    assert service.calls == 0


def test_a_stranger_does_not_get_in() -> None:
    service = Service()
    with served(STRICT, service) as port, calling(port, STRANGE_CA.context("shop/order")) as c:
        error = failed(lambda: ARITIES["US"](c, b"x"))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert service.calls == 0


def test_strict_takes_no_plaintext() -> None:
    service = Service()
    with served(STRICT, service) as port, GRPC.insecure_channel(f"127.0.0.1:{port}") as plain:
        error = failed(lambda: ARITIES["US"](plain, b"x"))

    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert service.calls == 0


def test_permissive_takes_both_and_gives_plaintext_no_identity() -> None:
    with (
        served(PERMISSIVE, Telling()) as port,
        GRPC.insecure_channel(f"127.0.0.1:{port}") as plain,
        calling(port) as c,
    ):
        assert ARITIES["US"](plain, b"who") == b"None"
        assert failed(lambda: ARITIES["UU"](plain, b"who")).details() == "RBAC: access denied"
        assert ARITIES["UU"](c, b"who") == ORDER_ID.encode()


FIRST: dict[str, Callable[[Any, bytes], Any]] = {
    "US": lambda c, w: next(c.unary_stream(US)(w)),
    "USWrite": lambda c, w: next(c.unary_stream("/test.Echo/USWrite")(w)),
    "SS": lambda c, w: next(c.stream_stream(SS)(iter([w]))),
}
"""The first answer of a stream."""


@meshsdk.require(namespace="bank")
def for_the_bank() -> None:
    """Guarded."""


def guarded(word: bytes) -> bytes:
    """What a guard keeps from others, also where the application goes on in spite of it."""
    if word == b"open":
        return word
    if word == b"swallow":
        with suppress(ForbiddenError):
            for_the_bank()
    else:
        for_the_bank()
    return b"secret"


class Guarded(Service):
    """Answers the bank alone."""

    def act(self, word: bytes, context: Any) -> bytes:
        return guarded(word)


@pytest.mark.parametrize("word", [b"x", b"swallow"])
@ALL
def test_a_guard_is_told_as_a_policy_is(arity: str, word: bytes) -> None:
    with served(STRICT, Guarded()) as port, calling(port) as c:
        error = failed(lambda: FIRST.get(arity, ARITIES[arity])(c, word))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "RBAC: access denied",
    )


def test_a_guard_that_says_no_later_ends_the_stream() -> None:
    words = [b"open", b"swallow"]
    with served(STRICT, Guarded()) as port, calling(port) as c:
        error = failed(lambda: list(c.stream_stream(SS)(iter(words))))
    with aio_served(STRICT, AioGuarded()) as port, calling(port) as c:
        awaited = failed(lambda: list(c.stream_stream(SS)(iter(words))))

    assert error.code() is awaited.code() is grpc.StatusCode.PERMISSION_DENIED


def test_what_the_application_says_arrives_unchanged() -> None:
    with served(STRICT) as port, calling(port) as c:
        error = failed(lambda: ARITIES["UU"](c, b"abort NOT_FOUND"))
        assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "as you wish ä")
        assert dict(error.trailing_metadata())["x-why-bin"] == b"\0\1"
        assert failed(lambda: ARITIES["UU"](c, b"raise")).code() is grpc.StatusCode.UNKNOWN
        assert failed(lambda: ARITIES["SS"](c, b"raise")).code() is grpc.StatusCode.UNKNOWN
        _, call = c.unary_unary(UU).with_call(b"initial")
        assert dict(call.initial_metadata())["x-early"] == "1"


def test_an_unknown_method_is_judged_before_it_is_unknown() -> None:
    with served(STRICT) as port:
        with calling(port, CA.context("shop/other")) as c:
            error = failed(lambda: c.unary_unary("/test.Echo/No")(b""))
            assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        with calling(port) as c:
            error = failed(lambda: c.unary_unary("/test.Echo/No")(b""))
            assert (error.code(), error.details()) == (
                grpc.StatusCode.UNIMPLEMENTED,
                "Method not found!",
            )


def test_a_message_is_read_after_the_verdict() -> None:
    read: list[bytes] = []

    def unreadable(data: bytes) -> object:
        read.append(data)
        raise ValueError("not a message")

    def echo(request: object, _context: object) -> object:
        return request

    handler = GRPC.unary_unary_rpc_method_handler(echo, request_deserializer=unreadable)
    with server_mesh(STRICT) as mesh:
        server = GRPC.server(ThreadPoolExecutor(4), interceptors=[server_interceptor(mesh)])
        server.add_generic_rpc_handlers(
            (GRPC.method_handlers_generic_handler("test.Echo", {"UU": handler}),)
        )
        port = add_mesh_port(server, "127.0.0.1:0", mesh)
        server.start()
        with calling(port, CA.context("shop/other")) as c:
            assert failed(lambda: ARITIES["UU"](c, b"x")).details() == "RBAC: access denied"
        assert read == []
        with calling(port) as c:
            error = failed(lambda: ARITIES["UU"](c, b"x"))
        server.stop(None).wait()

    assert (error.code(), error.details()) == (
        grpc.StatusCode.INTERNAL,
        "Exception deserializing request!",
    )


DENY_HOST = """{header: {name: ":authority", string_match: {exact: secret.shop}}}"""


def test_an_authority_that_nobody_shows_fits_no_permission() -> None:
    config = LISTENER + chain("strict", "{transport_protocol: tls}", SOCKET, DENY_HOST)
    with served(config) as port, calling(port, CA.context("shop/other")) as c:
        assert failed(lambda: ARITIES["US"](c, b"x")).details() == "RBAC: access denied"


@pytest.mark.parametrize("rule", [DENY_HOST, f"{{not_rule: {DENY_HOST}}}"])
def test_an_authority_that_nobody_shows_fits_every_denial(rule: str) -> None:
    config = (
        (LISTENER + chain("strict", "{transport_protocol: tls}", SOCKET, rule))
        .replace(
            "rules:\n                policies:",
            "rules:\n                action: DENY\n                policies:",
        )
        .replace(ORDER_ID, "nobody")
    )
    with served(config) as port, calling(port) as c:
        assert failed(lambda: ARITIES["UU"](c, b"x")).details() == "RBAC: access denied"


def test_a_policy_on_hosts_is_named_when_it_comes(caplog: pytest.LogCaptureFixture) -> None:
    config = LISTENER + chain("strict", "{transport_protocol: tls}", SOCKET, DENY_HOST)
    with caplog.at_level("WARNING", "meshsdk.integrations.grpcio"):
        with served(config):
            pass
        with served(STRICT):
            pass

    (warning,) = [r.getMessage() for r in caplog.records if "host" in r.getMessage()]
    assert warning.startswith("policy anybody-may-look asks for the host")


def test_another_port_of_the_server_is_no_way_around() -> None:
    with server_mesh(STRICT) as mesh:
        server = GRPC.server(ThreadPoolExecutor(4), interceptors=[server_interceptor(mesh)])
        server.add_generic_rpc_handlers((handlers(Service()),))
        add_mesh_port(server, "127.0.0.1:0", mesh)
        open_port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with GRPC.insecure_channel(f"127.0.0.1:{open_port}") as plain:
            error = failed(lambda: ARITIES["US"](plain, b"x"))
        server.stop(None).wait()

    assert (error.code(), error.details()) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "this port is not secured by the mesh",
    )


def test_a_port_needs_the_interceptor_and_a_mesh_that_is_ready() -> None:
    with server_mesh(STRICT) as mesh:
        server = GRPC.server(ThreadPoolExecutor(1))
        with pytest.raises(UsageError, match="interceptors="):
            add_mesh_port(server, "127.0.0.1:0", mesh)
    mesh = Mesh.connect(server="127.0.0.1:1", node=Node("x"), identity=PAYMENT)
    with mesh:
        server = GRPC.server(ThreadPoolExecutor(1), interceptors=[server_interceptor(mesh)])
        with pytest.raises(NotReadyError):
            add_mesh_port(server, "127.0.0.1:0", mesh, ready_timeout=0.05)


def test_a_port_is_not_waited_for_on_an_event_loop() -> None:
    async def main() -> None:
        mesh = Mesh.connect(server="127.0.0.1:1", node=Node("x"), identity=PAYMENT)
        server_interceptor(mesh)
        async with mesh:
            with pytest.raises(UsageError, match="aready"):
                add_mesh_port(Deaf(), "127.0.0.1:0", mesh)

    asyncio.run(main())


def test_a_thread_forgets_whom_it_answered() -> None:
    threads = ThreadPoolExecutor(1)
    with server_mesh(STRICT) as mesh:
        server = GRPC.server(threads, interceptors=[server_interceptor(mesh)])
        server.add_generic_rpc_handlers((handlers(Telling()),))
        port = add_mesh_port(server, "127.0.0.1:0", mesh)
        server.start()
        with calling(port) as c:
            assert ARITIES["UU"](c, b"who") == ORDER_ID.encode()
        assert threads.submit(meshsdk.current_peer).result(10).spiffe_id is None
        server.stop(None).wait()


class Timed:
    """A call that has a second and a half."""

    method = UU
    invocation_metadata = (("x-a", "1"),)

    def peer(self) -> str:
        return ""

    def time_remaining(self) -> float | None:
        return 1.5

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        del trailing_metadata


def test_the_callers_patience_is_part_of_the_request() -> None:
    """Calls that the application makes meanwhile have no more."""
    found = request_of(Timed(), Timed(), Connection(Address("10.0.0.1", 80)))

    assert found.headers.get("grpc-timeout") == "1500m"
    assert found.authority == UNKNOWN_AUTHORITY


class Deaf:
    """A server that does not listen."""

    def add_insecure_port(self, address: str) -> int:
        del address
        return 0


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:http", "unix:/tmp/x", "unix:/a:1"])
def test_a_port_is_host_and_number_and_has_a_server(address: str) -> None:
    with server_mesh(STRICT) as mesh:
        server_interceptor(mesh)
        with pytest.raises(UsageError, match="host:port"):
            add_mesh_port(Deaf(), address, mesh)
        with pytest.raises(RuntimeError, match="does not listen"):
            add_mesh_port(Deaf(), "127.0.0.1:0", mesh)


def test_the_real_address_of_the_peer_is_what_policy_sees() -> None:
    config = (LISTENER + chain("strict", "{transport_protocol: tls}", SOCKET)).replace(
        "principals: [{any: true}]",
        "principals: [{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]",
    )
    with served(config) as port, calling(port, CA.context("shop/other")) as c:
        assert ARITIES["US"](c, b"x") == b"x"


def test_a_client_of_asyncio_meets_a_server_of_threads() -> None:
    async def main(port: int) -> object:
        with client_mesh(port, ORDER) as mesh:
            async with aio_channel("payment.shop:80", mesh) as c:
                untyped: Any = c
                return await untyped.unary_unary(UU)(b"who")

    with served(STRICT, Telling()) as port:
        assert asyncio.run(main(port)) == ORDER_ID.encode()


# -- asyncio ------------------------------------------------------------------------------------


class AioService:
    """The same words, awaited; methods of both styles that grpc.aio knows."""

    def __init__(self) -> None:
        self.calls = 0

    def word(self, request: bytes) -> bytes:
        self.calls += 1
        return str(meshsdk.current_peer().spiffe_id).encode() if request == b"who" else request

    async def uu(self, request: bytes, context: Any) -> bytes:
        if request == b"abort":
            await context.abort(grpc.StatusCode.NOT_FOUND, "as you wish")
        return self.word(request)

    async def us(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield self.word(request)

    @meshsdk.require(namespace="shop")
    async def us_guarded(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield self.word(request)

    async def us_write(self, request: bytes, context: Any) -> None:
        await context.write(self.word(request))

    async def su(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([self.word(each) async for each in requests])

    async def ss_read(self, _requests: object, context: Any) -> None:
        while (request := await context.read()) is not EOF:
            await context.write(self.word(request))

    def sync(self, request: bytes, context: Any) -> bytes:
        return self.word(request)

    def handlers(self) -> Any:
        return GRPC.method_handlers_generic_handler(
            "test.Echo",
            {
                "UU": GRPC.unary_unary_rpc_method_handler(self.uu),
                "US": GRPC.unary_stream_rpc_method_handler(self.us),
                "USGuarded": GRPC.unary_stream_rpc_method_handler(self.us_guarded),
                "USWrite": GRPC.unary_stream_rpc_method_handler(self.us_write),
                "SU": GRPC.stream_unary_rpc_method_handler(self.su),
                "SS": GRPC.stream_stream_rpc_method_handler(self.ss_read),
                "Sync": GRPC.unary_unary_rpc_method_handler(self.sync),
            },
        )


@contextmanager
def aio_served(config: str, service: AioService) -> Generator[int]:
    """On an event loop of another thread."""
    ports: Queue[int] = Queue()
    stop = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        async with server_mesh(config) as mesh:
            assert await mesh.aready(10)
            server = GRPC.aio.server(interceptors=[aio_server_interceptor(mesh)])
            server.add_generic_rpc_handlers((service.handlers(),))
            port = add_mesh_port(server, "127.0.0.1:0", mesh)
            await server.start()
            ports.put(port)
            await stop.wait()
            await server.stop(None)

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    yield ports.get(timeout=10)
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(10)


AIO: dict[str, Callable[[Any, bytes], Any]] = {
    **ARITIES,
    "USGuarded": lambda c, w: b"".join(c.unary_stream("/test.Echo/USGuarded")(w)),
    "USWrite": lambda c, w: b"".join(c.unary_stream("/test.Echo/USWrite")(w)),
    "Sync": lambda c, w: c.unary_unary("/test.Echo/Sync")(w),
}


@pytest.mark.parametrize("arity", list(AIO))
def test_an_asyncio_application_knows_its_caller(arity: str) -> None:
    with aio_served(STRICT, AioService()) as port, calling(port) as c:
        assert AIO[arity](c, b"who") == ORDER_ID.encode()
        assert AIO[arity](c, b"x") == b"x"


@pytest.mark.parametrize("arity", ["UU", "USWrite", "SU", "SS", "Sync"])
def test_an_asyncio_server_tells_others_what_envoy_tells(arity: str) -> None:
    service = AioService()
    with aio_served(STRICT, service) as port, calling(port, CA.context("shop/other")) as c:
        error = failed(lambda: AIO[arity](c, b"x"))
        unknown = failed(lambda: c.unary_unary("/test.Echo/No")(b""))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "RBAC: access denied",
    )
    assert unknown.code() is grpc.StatusCode.PERMISSION_DENIED
    assert service.calls == 0


class AioReading(AioService):
    """Its messages are not octets."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[bytes] = []

    def deserialized(self, data: bytes) -> bytes:
        self.read.append(data)
        return data.upper()

    async def fields(self, request: bytes, context: Any) -> bytes:
        name = request.decode().lower()
        return repr([v for k, v in context.invocation_metadata() if k == name]).encode()

    def handlers(self) -> Any:
        return GRPC.method_handlers_generic_handler(
            "test.Echo",
            {
                "UU": GRPC.unary_unary_rpc_method_handler(self.fields, self.deserialized),
                "US": GRPC.unary_stream_rpc_method_handler(self.us, self.deserialized),
                "SU": GRPC.stream_unary_rpc_method_handler(self.su, self.deserialized),
                "SS": GRPC.stream_stream_rpc_method_handler(self.ss_read, self.deserialized),
            },
        )


@pytest.mark.parametrize("arity", ["UU", "SU", "SS"])
def test_an_asyncio_server_reads_messages_after_the_verdict(arity: str) -> None:
    service = AioReading()
    with aio_served(STRICT, service) as port:
        with calling(port, CA.context("shop/other")) as c:
            assert failed(lambda: ARITIES[arity](c, b"x")).details() == "RBAC: access denied"
        assert service.read == []
        with calling(port) as c:
            assert ARITIES[arity](c, b"x") == (b"[]" if arity == "UU" else b"X")


def test_an_asyncio_application_sees_the_request_that_policy_saw() -> None:
    name = "x-forwarded-client-cert"
    with aio_served(STRICT, AioReading()) as port, calling(port) as c:
        shown = c.unary_unary(UU)(name.encode(), metadata=((name, "URI=spiffe://evil/x"),))

    assert b"evil" not in shown
    assert ORDER_ID.encode() in shown


class AioGuarded(AioService):
    """Answers the bank alone."""

    def word(self, request: bytes) -> bytes:
        return guarded(request)


@pytest.mark.parametrize("word", [b"x", b"swallow"])
@pytest.mark.parametrize("arity", list(AIO))
def test_an_asyncio_server_tells_of_guards_as_of_policies(arity: str, word: bytes) -> None:
    with aio_served(STRICT, AioGuarded()) as port, calling(port) as c:
        error = failed(lambda: FIRST.get(arity, AIO[arity])(c, word))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "RBAC: access denied",
    )


def unready(_word: bytes) -> bytes:
    """The application's own call to elsewhere fails."""
    raise NotReadyError("elsewhere", 1.0)


class Unready(Service):
    """Cannot answer."""

    def act(self, word: bytes, context: Any) -> bytes:
        return unready(word)


class AioUnready(AioService):
    """Cannot answer."""

    def word(self, request: bytes) -> bytes:
        return unready(request)


@ALL
def test_the_applications_own_error_of_the_mesh_is_a_bug_like_others(
    arity: str, caplog: pytest.LogCaptureFixture
) -> None:
    with served(STRICT, Unready()) as port, calling(port) as c:
        error = failed(lambda: FIRST.get(arity, ARITIES[arity])(c, b"x"))
    with aio_served(STRICT, AioUnready()) as port, calling(port) as c:
        awaited = failed(lambda: FIRST.get(arity, ARITIES[arity])(c, b"x"))

    assert error.code() is awaited.code() is grpc.StatusCode.UNKNOWN
    told = [each.exc_info[1] for each in caplog.records if each.exc_info]
    assert sum(isinstance(each, NotReadyError) for each in told) == 2


def test_an_asyncio_server_is_as_strict_and_as_permissive() -> None:
    with aio_served(STRICT, AioService()) as port:
        with GRPC.insecure_channel(f"127.0.0.1:{port}") as plain:
            assert failed(lambda: AIO["US"](plain, b"x")).code() is grpc.StatusCode.UNAVAILABLE
        with calling(port) as c:
            error = failed(lambda: AIO["UU"](c, b"abort"))
            assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "as you wish")
    with (
        aio_served(PERMISSIVE, AioService()) as port,
        GRPC.insecure_channel(f"127.0.0.1:{port}") as plain,
    ):
        assert AIO["US"](plain, b"who") == b"None"


class Showing(Service):
    """Answers with a field of the request."""

    def act(self, word: bytes, context: Any) -> bytes:
        found = [m.value for m in context.invocation_metadata() if m.key == word.decode()]
        return repr(found).encode()


def test_the_application_sees_the_request_that_policy_saw() -> None:
    forged = (("x-forwarded-client-cert", f"URI={ORDER_ID.replace('order', 'admin')}"),)
    with served(STRICT, Showing()) as port, calling(port) as c:
        shown = c.unary_unary(UU)(b"x-forwarded-client-cert", metadata=forged).decode()
        binary = c.unary_unary(UU)(b"q-bin", metadata=(("q-bin", b"\xff"),))

    assert "admin" not in shown
    assert shown.endswith(f"URI={ORDER_ID}']")
    assert binary == rb"[b'\xff']"
