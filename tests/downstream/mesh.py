"""A mesh small enough to see through: deciders and flows as tests need them, real TLS."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from meshsdk.call.connection import Connection
from meshsdk.call.effects import CallApp, Deliver, Flow
from meshsdk.call.headers import Headers
from meshsdk.call.message import BodyEnd, LocalReply, Request, Response
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.decision import Close, Decision, Plaintext, Tls
from meshsdk.flow.drive import Fetcher, NoFetcher
from meshsdk.identity.tls_contexts import TlsContexts
from meshsdk.identity.tls_params import SpiffeTrust, TlsParams, Validation
from meshsdk.identity.x509_context import NO_IDENTITY, X509Context
from meshsdk.testing._handshake import contexts_of
from meshsdk.testing.ca import FakeCa

CA = FakeCa("cluster.local")
STRANGE_CA = FakeCa("cluster.local")
"""The same trust domain, another key: nobody trusts it."""
ORDER, PAYMENT = CA.context("shop/order"), CA.context("shop/payment")
ORDER_ID = "spiffe://cluster.local/ns/shop/sa/order"
PAYMENT_ID = "spiffe://cluster.local/ns/shop/sa/payment"
ISTIO_ALPN = ("istio-http/1.1", "istio", "http/1.1")

_SPIFFE = Validation(SpiffeTrust())
SERVER = TlsParams(validation=_SPIFFE, alpn=("h2", "http/1.1"), require_client_certificate=True)


def client_context(
    identity: X509Context = ORDER, alpn: tuple[str, ...] = ISTIO_ALPN
) -> ssl.SSLContext:
    return contexts_of(identity).client(TlsParams(validation=_SPIFFE, alpn=alpn))


def anonymous_client() -> ssl.SSLContext:
    """A TLS client without a certificate, which trusts everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(ISTIO_ALPN))
    return context


def stranger() -> ssl.SSLContext:
    """A client whose certificate no root of ours has signed; it trusts our server."""
    context = anonymous_client()
    stranger_contexts = contexts_of(STRANGE_CA.context("shop/order"))
    strange = stranger_contexts.client(TlsParams(validation=_SPIFFE, alpn=ISTIO_ALPN))
    # Our own client would refuse the server first: keep its certificate, drop its checks.
    strange.verify_mode = ssl.CERT_NONE
    strange.sslobject_class = context.sslobject_class
    strange.sslsocket_class = context.sslsocket_class
    return strange


class IstioDecider:
    """STRICT or PERMISSIVE as istiod's chains of an HTTP port say it."""

    def __init__(self, identity: X509Context = PAYMENT, *, strict: bool) -> None:
        self.contexts: TlsContexts = contexts_of(identity)
        self.strict = strict
        self.asked: list[Connection] = []

    def rotate(self, identity: X509Context) -> None:
        self.contexts.adopt(NO_IDENTITY.received(identity))

    def decide(self, connection: Connection, /) -> Decision:
        self.asked.append(connection)
        if connection.transport_protocol == "raw_buffer":
            return Close("plaintext at a STRICT port") if self.strict else Plaintext()
        if not self.strict and not any(
            p.startswith("istio") for p in connection.application_protocols
        ):
            return Close("TLS without an istio protocol at a PERMISSIVE port")
        return Tls(self.contexts.server(SERVER))


Rule = Callable[[Request, Connection], LocalReply | None]


def allow_all(_request: Request, _connection: Connection) -> LocalReply | None:
    return None


@dataclass(eq=False)
class FakeMesh:
    """Judges by one function; remembers what it was asked and how each exchange ended."""

    server_connections: Acceptor
    rule: Rule = allow_all
    requests: list[Request] = field(default_factory=list[Request])
    connections: list[Connection] = field(default_factory=list[Connection])
    ends: list[BodyEnd | str] = field(default_factory=list[BodyEnd | str])
    starts: int = 0
    becomes_ready: bool = True
    """Whether it is ready in the time that it is given."""
    waits: list[float | None] = field(default_factory=list[float | None])
    fetcher: Fetcher = field(default_factory=NoFetcher)

    def start(self) -> None:
        self.starts += 1

    async def aready(self, timeout: float | None, /) -> bool:  # noqa: ASYNC109 - as a mesh has it
        self.waits.append(timeout)
        return self.becomes_ready

    def inbound(self, request: Request, connection: Connection, /) -> Flow[None]:
        self.requests.append(request)
        self.connections.append(connection)
        end: BodyEnd | str = "dropped"
        try:
            denied = self.rule(request, connection)
            if denied is not None:
                reply = yield Deliver(_local(denied))
            else:
                answer = yield CallApp(request)
                assert isinstance(answer, Response)
                reply = yield Deliver(answer)
            assert isinstance(reply, BodyEnd)
            end = reply
        except BaseException as error:
            if not isinstance(error, GeneratorExit):
                end = repr(error)
            raise
        finally:
            self.ends.append(end)


def _local(reply: LocalReply) -> Response:
    return Response(reply.status, Headers(reply.headers), reply.body)


def strict() -> IstioDecider:
    return IstioDecider(strict=True)


def permissive() -> IstioDecider:
    return IstioDecider(strict=False)
