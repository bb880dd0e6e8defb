"""A gRPC server without generated code: bytes in, bytes out. What it serves is others' business.

grpcio has no types; this is the one place that says so.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc

T = TypeVar("T")
_LONGEST_REQUEST: Final = 4 << 20  # octets: istiod's limit (FEED.md 1.1)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's side of TLS. Everything is PEM."""

    private_key: bytes
    certificate_chain: bytes
    client_roots: bytes | None = None
    require_client_certificate: bool = False
    """One by `client_roots`. Without it none is asked for: grpcio servers cannot ask for one that
    may be missing."""


class ServerCall:
    """A call that is being served."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def metadata(self) -> dict[str, str]:
        """The call metadata by lower-case key; of several values the last."""
        return {str(key): str(value) for key, value in self._context.invocation_metadata()}

    def peer(self) -> str:
        """The client's address, `ipv4:127.0.0.1:50000`."""
        return str(self._context.peer())

    def peer_certificate(self) -> bytes | None:
        """The verified client certificate, PEM; None without one."""
        found = self._context.auth_context().get("x509_pem_cert")
        return bytes(found[0]) if found else None

    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return b"ssl" in self._context.auth_context().get("transport_security_type", ())

    def is_active(self) -> bool:
        """Whether anybody still waits for an answer."""
        return bool(self._context.is_active())

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have a function called when the call ends, by whichever side; at once if it has."""
        if not self._context.add_callback(callback):
            callback()

    def abort(self, code: str, details: str) -> NoReturn:
        """End the call with a gRPC status name, `PERMISSION_DENIED`. Raises."""
        self._context.abort(grpc.StatusCode[code], details)
        raise AssertionError("grpcio's abort raises")


StreamBehaviour: TypeAlias = Callable[[Iterator[bytes], ServerCall], Iterator[bytes]]
"""Requests to responses, on a thread of the server. The request iterator ends with the call; a
behaviour that waits for anything else must be woken by `ServerCall.on_end`."""
UnaryBehaviour: TypeAlias = Callable[[bytes, ServerCall], bytes]
Authenticate: TypeAlias = Callable[[ServerCall], object]


class GrpcServer:
    """A server on threads of its own pool; every open stream holds one of them."""

    def __init__(self, threads: int = 32) -> None:
        untyped: Any = grpc
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="meshsdk-grpc-server")
        self._server: Any = untyped.server(
            self._pool,
            options=[
                ("grpc.so_reuseport", 0),  # a port that is taken is an error
                ("grpc.max_receive_message_length", _LONGEST_REQUEST),
                ("grpc.max_send_message_length", -1),
                # istiod's limit for pings; half of what clients use.
                ("grpc.http2.min_ping_interval_without_data_ms", 15_000),
            ],
        )

    def add(
        self,
        service: str,
        *,
        streams: Mapping[str, StreamBehaviour] | None = None,
        unaries: Mapping[str, UnaryBehaviour] | None = None,
        authenticate: Authenticate = lambda _: None,
    ) -> None:
        """Serve methods of a service, by name. Before `start`.

        `authenticate` is asked as a call begins and may abort it: a call holds a thread while its
        request is waited for, and who has proved nothing shall hold none."""
        untyped: Any = grpc
        handlers: dict[str, object] = {}
        for name, stream in (streams or {}).items():
            behaviour = _with_call(_until_the_call_ends(stream), authenticate)
            handlers[name] = untyped.stream_stream_rpc_method_handler(behaviour)
        for name, unary in (unaries or {}).items():
            # As a stream of one: grpcio waits for the request of a unary before it tells us.
            answer = _with_call(_until_the_call_ends(_of_one_request(unary)), authenticate)
            handlers[name] = untyped.stream_unary_rpc_method_handler(answer)
        handler = untyped.method_handlers_generic_handler(service, handlers)
        self._server.add_generic_rpc_handlers((handler,))

    def listen(
        self, address: str = "127.0.0.1:0", tls: "ServerTls | Callable[[], ServerTls] | None" = None
    ) -> int:
        """Bind an address (`host:port`, `unix:///path`); gives the port. OSError when it cannot.

        A function is asked for each connection, on a thread of gRPC: certificates and roots may
        change under a server; `require_client_certificate` may not.
        """
        try:
            if tls is None:
                return int(self._server.add_insecure_port(address))
            return int(self._server.add_secure_port(address, _credentials(tls)))
        except RuntimeError as error:
            raise OSError(f"cannot listen on {address}") from error

    def start(self) -> None:
        """Begin to serve. Does not block."""
        self._server.start()

    def stop(self, grace: float | None = None) -> None:
        """End every call (after `grace` seconds), wait until all is over, and leave no thread."""
        self._server.stop(grace).wait()
        self._pool.shutdown(wait=True)


def _with_call(
    behaviour: Callable[[Iterator[bytes], ServerCall], T], authenticate: Authenticate
) -> Callable[[Iterator[bytes], Any], T]:
    def serve(requests: Iterator[bytes], context: Any) -> T:
        call = ServerCall(context)
        authenticate(call)
        return behaviour(requests, call)

    return serve


def _of_one_request(
    behaviour: UnaryBehaviour,
) -> Callable[[Iterator[bytes], ServerCall], bytes]:
    def serve(requests: Iterator[bytes], call: ServerCall) -> bytes:
        request = next(requests, None)
        if request is None:
            call.abort("INVALID_ARGUMENT", "expected a request, found none")
        return behaviour(request, call)

    return serve


def _until_the_call_ends(
    behaviour: Callable[[Iterator[bytes], ServerCall], T],
) -> Callable[[Iterator[bytes], ServerCall], T]:
    def requests(raw: Iterator[bytes]) -> Iterator[bytes]:
        # A client that is gone ends the requests too: who reads them has nothing to catch.
        with suppress(grpc.RpcError):
            yield from raw

    return lambda raw, call: behaviour(requests(raw), call)


def only_news(
    known: ServerTls, newest: Callable[[], ServerTls], make: Callable[[ServerTls], T]
) -> Callable[[], T | None]:
    """What gRPC asks before each handshake. Where nothing is new it must hear so: each answer
    replaces what handshakes on other threads are made with at that moment, and is freed too early
    for them (a crash of the process, seen when eight clients connected at once)."""
    given = [known]

    def fetched() -> T | None:
        found = newest()
        if found == given[0]:
            return None
        given[0] = found
        return make(found)

    return fetched


def _credentials(tls: ServerTls | Callable[[], ServerTls]) -> Any:
    untyped: Any = grpc
    if not isinstance(tls, ServerTls):
        current, newest = tls(), tls

        def configuration(found: ServerTls) -> Any:
            return untyped.ssl_server_certificate_configuration(
                [(found.private_key, found.certificate_chain)],
                root_certificates=found.client_roots,
            )

        return untyped.dynamic_ssl_server_credentials(
            configuration(current),
            only_news(current, newest, configuration),
            current.require_client_certificate,
        )
    return untyped.ssl_server_credentials(
        [(tls.private_key, tls.certificate_chain)],
        root_certificates=tls.client_roots,
        require_client_auth=tls.require_client_certificate,
    )
