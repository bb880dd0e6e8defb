"""An ASGI server in memory: what `MeshMiddleware` gets from a real one, under a test's control."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import cast

from meshsdk.call.address import Address
from meshsdk.call.certificate import Certificate
from meshsdk.call.connection import Connection, Peer
from meshsdk.call.message import LocalReply, Request
from meshsdk.call.spiffe_id import SpiffeId
from meshsdk.downstream.acceptor import Acceptor
from meshsdk.downstream.asgi_scope import AsgiApp, AsgiReceive, AsgiSend, Message, Scope
from meshsdk.downstream.capture import Captured
from meshsdk.integrations.asgi import MeshMiddleware
from tests.downstream.mesh import ORDER_ID, PAYMENT_ID, FakeMesh, Rule, allow_all, permissive

PEER = Peer(
    SpiffeId(ORDER_ID),
    Certificate(uri_sans=(ORDER_ID,), der=b"leaf", subject="CN=order"),
    Address("10.0.0.9", 4711),
    Address("10.0.0.9", 4711),
)
MTLS = Connection(
    Address("10.0.0.1", 8080),
    PEER,
    "tls",
    "a.test",
    ("istio",),
    "TLSv1.3",
    "http/1.1",
    (PAYMENT_ID,),
)
PLAIN = Connection(Address("10.0.0.1", 8080), Peer(physical=Address("10.0.0.9", 4711)))
DENIED = LocalReply(403, b"RBAC: access denied", (("content-length", "19"),))


def deny_all(_request: Request, _connection: Connection) -> LocalReply:
    return DENIED


def mesh_of(rule: Rule = allow_all) -> FakeMesh:
    return FakeMesh(Acceptor(permissive()), rule)


@dataclass(eq=False)
class Server:
    """One connection of a server like uvicorn: `receive` and `send` are its methods."""

    connection: Connection | None = MTLS
    body: list[Message] = field(default_factory=list[Message])
    sent: list[Message] = field(default_factory=list[Message])
    received: int = 0
    root_path: str = ""

    def __post_init__(self) -> None:
        if self.connection is not None:
            self.transport = self
            peer = self.connection.peer.physical
            self.mesh_captured = Captured(
                self.connection,
                (peer.host, peer.port),
                ("10.0.0.1", 8080),
                root_path=self.root_path,
            )

    def get_protocol(self) -> object:
        return self

    async def receive(self) -> Message:
        self.received += 1
        if self.body:
            return self.body.pop(0)
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    def call(self, app: AsgiApp, scope: Scope) -> None:
        asyncio.run(_within(app(scope, self.receive, self.send)))

    @property
    def status(self) -> object:
        return self.sent[0].get("status", self.sent[0]["type"])

    @property
    def content(self) -> bytes:
        return b"".join(cast("bytes", message.get("body", b"")) for message in self.sent)

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(cast("list[tuple[bytes, bytes]]", self.sent[0]["headers"]))


async def _within(call: Awaitable[None]) -> None:
    async with asyncio.timeout(10):
        await call


def scope_of(
    path: str = "/pay",
    *headers: tuple[bytes, bytes],
    query: bytes = b"",
    method: str = "GET",
    kind: str = "http",
    extra: Mapping[str, object] | None = None,
) -> Scope:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"payment.shop"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        **(extra or {}),
    }


@dataclass(eq=False)
class App:
    """An application that remembers its scopes and answers 200, unless told otherwise."""

    answer: Callable[[Scope, AsgiReceive, AsgiSend], Awaitable[None]] | None = None
    scopes: list[Scope] = field(default_factory=list[Scope])

    async def __call__(self, scope: Scope, receive: AsgiReceive, send: AsgiSend) -> None:
        self.scopes.append(scope)
        if self.answer is not None:
            await self.answer(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]})
        await send({"type": "http.response.body", "body": b"hello"})

    @property
    def scope(self) -> Scope:
        assert len(self.scopes) == 1
        return self.scopes[0]


def serve(
    scope: Scope,
    *,
    rule: Rule = allow_all,
    app: App | None = None,
    server: Server | None = None,
) -> tuple[Server, App, FakeMesh]:
    """One call of a wrapped application."""
    app, server, mesh = app or App(), server or Server(), mesh_of(rule)
    server.call(MeshMiddleware(app, mesh), scope)
    return server, app, mesh
