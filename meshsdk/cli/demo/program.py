"""A process of the demo: an ASGI application in the mesh, and a client of the mesh.

Plain uvicorn and plain httpx; meshsdk is `MeshMiddleware` around the one and a transport in the
other.
"""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import cast

import httpx
import uvicorn

from meshsdk import current_peer
from meshsdk.call.address import Address
from meshsdk.call.address_map import AddressMap
from meshsdk.cli.demo import parent_pipe
from meshsdk.cli.demo.calls import Calls
from meshsdk.cli.demo.members import API_GATEWAY, BY_NAME, FRONTEND, Member
from meshsdk.config.bootstrap import Bootstrap, Credentials, Server
from meshsdk.integrations.asgi import MeshMiddleware
from meshsdk.integrations.httpx import AsyncMeshTransport
from meshsdk.mesh import Mesh
from meshsdk.runtime.options import Options
from meshsdk.telemetry import CallDenied, Event, HostEjected, IdentityChanged

_AT_ONCE = 16
_PATIENCE = 10.0
_STRIPE = Address("api.stripe.com", 443)
_CONTROL_PLANE = "istiod.istio-system.svc"

_Message = MutableMapping[str, object]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class Seen:
    """What the mesh tells this process about itself."""

    def __init__(self) -> None:
        self.ejected: list[str] = []
        self.denials: list[str] = []
        self.identities = 0

    def emit(self, event: Event) -> None:
        """A telemetry hook."""
        match event:
            case HostEjected():
                self.ejected.append(event.address)
            case CallDenied():
                record = event.why.record()
                near = [each.policy for each in record.nearest] if record is not None else []
                line = f"{event.details} {event.principal}, nearest {near[0] if near else 'none'}"
                self.denials.append(line)
            case IdentityChanged():
                self.identities += 1
            case _:
                pass


def application(member: Member, port: int, client: httpx.AsyncClient) -> _App:
    """Says who it is, and who calls it: the identity that the mesh has verified. The frontend and
    the gateway ask the next one, too."""
    onwards = {
        FRONTEND: "http://api-gateway/api/items",
        API_GATEWAY: "http://api-service/items",
    }.get(member)

    async def app(scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        answer: dict[str, object] = {"app": member.app, "version": member.version, "port": port}
        if member is not FRONTEND:  # whose page is for browsers, which are not in the mesh
            answer["caller"] = str(current_peer().spiffe_id)
        if onwards is not None:
            response = await client.get(onwards)
            ok = response.status_code == 200
            answer["answer"] = response.json() if ok else response.status_code
        body = json.dumps(answer).encode()
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def main() -> None:
    """Tell the parent the port, join the mesh when it is written, serve and call as asked."""
    message = parent_pipe.receive_first()
    member = BY_NAME[str(message["name"])]
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    commands: asyncio.Queue[parent_pipe.Message] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def take(command: parent_pipe.Message) -> None:
        loop.call_soon_threadsafe(commands.put_nowait, command)

    parent_pipe.receive_rest(take)
    parent_pipe.send({"port": port, "pid": os.getpid()})
    seen = Seen()
    mesh = join(await commands.get(), member, seen)
    roots = ssl.create_default_context(cafile=str(message["stripe_roots"]))
    transport = AsyncMeshTransport(mesh, verify=roots)
    async with mesh, httpx.AsyncClient(transport=transport, timeout=_PATIENCE) as client:
        await mesh.aready(_PATIENCE)  # until then a STRICT port would turn callers away
        app = application(member, port, client)
        config = uvicorn.Config(
            app if member is FRONTEND else MeshMiddleware(app, mesh),
            log_level="warning",
            lifespan="on",
            proxy_headers=False,
        )
        served = asyncio.create_task(_Server(config).serve(sockets=[listening]))
        while not served.done():
            command = await commands.get()
            parent_pipe.send(await _obey(command, client, seen))


def join(message: Mapping[str, object], member: Member, seen: Seen) -> Mesh:
    """As any program would, with what Istio would have put into its environment."""
    credentials = Credentials(
        root_file=str(message["roots"]),
        token_file=str(message["token"]),
        server_name=_CONTROL_PLANE,
    )
    server = Server(str(message["control_plane"]), credentials)
    stripe = Address("127.0.0.1", int(str(message["stripe_port"])))
    return Mesh.connect(
        Bootstrap((server,), member.node, ca=server),
        options=Options(emit=seen.emit, addresses=AddressMap({_STRIPE: stripe})),
    )


class _Server(uvicorn.Server):
    """Tells the parent when it accepts connections; the parent says when to end."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Of uvicorn; the mesh is ready when the application has started."""
        await super().startup(sockets)
        if self.started:
            parent_pipe.send({"ready": True})


async def _obey(
    command: parent_pipe.Message, client: httpx.AsyncClient, seen: Seen
) -> parent_pipe.Message:
    if "calls" not in command:
        return {"denials": seen.denials, "identities": seen.identities}
    answers = await _call(client, command)
    return Calls.of(answers, seen.ejected, os.getpid()).to_json()


async def _call(client: httpx.AsyncClient, command: parent_pipe.Message) -> list[Mapping[str, str]]:
    """Make that many calls, some at a time."""
    calls = int(str(command["calls"]))
    answers: list[Mapping[str, str]] = []
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            answers.append(await _one(client, command))

    await asyncio.gather(*(work() for _ in range(min(calls, _AT_ONCE))))
    return answers


async def _one(client: httpx.AsyncClient, command: parent_pipe.Message) -> dict[str, str]:
    headers = cast("Mapping[str, str]", command["headers"])
    try:
        response = await client.request(
            str(command["method"]), str(command["url"]), headers=dict(headers)
        )
    except httpx.TransportError as error:
        return {"status": type(error).__name__, "text": str(error)}
    seen = {"status": str(response.status_code), **server_of(response)}
    seen["attempts"] = str(response.extensions.get("meshsdk", {}).get("attempts", 1))
    if response.status_code != 200:
        return {**seen, "text": response.text}
    return {**seen, **{key: str(value) for key, value in response.json().items()}}


def server_of(response: httpx.Response) -> dict[str, str]:
    """The SPIFFE ID in the certificate that the server proved, and the certificate's serial number;
    nothing where the mesh answers."""
    stream = response.extensions.get("network_stream")
    tls = None if stream is None else stream.get_extra_info("ssl_object")
    if tls is None:
        return {}
    certificate = tls.getpeercert()
    names = certificate.get("subjectAltName", ())
    uris = ", ".join(value for kind, value in names if kind == "URI")
    return {"server": uris, "certificate": str(certificate.get("serialNumber", ""))}


if __name__ == "__main__":
    asyncio.run(main())
