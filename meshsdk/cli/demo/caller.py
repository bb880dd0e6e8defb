"""A client process: httpx with the mesh's transport. It makes the calls that the parent asks for."""

import asyncio
import os
from collections.abc import Mapping

import httpx

from meshsdk.cli.demo import parent_pipe, shop
from meshsdk.cli.demo.calls import Calls
from meshsdk.cli.demo.member import join
from meshsdk.integrations.httpx import AsyncMeshTransport
from meshsdk.telemetry import Event, HostEjected

_AT_ONCE = 16


async def main() -> None:
    """Serve the parent's requests for calls until it ends."""
    message = parent_pipe.receive_first()
    workload = next(each for each in shop.CALLERS if each.name == message["name"])
    commands: asyncio.Queue[parent_pipe.Message] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    ejected: list[str] = []

    def take(command: parent_pipe.Message) -> None:
        loop.call_soon_threadsafe(commands.put_nowait, command)

    def emit(event: Event) -> None:
        if isinstance(event, HostEjected):
            ejected.append(event.address)

    parent_pipe.receive_rest(take)
    mesh = join(message, workload.node, emit)
    async with mesh, httpx.AsyncClient(transport=AsyncMeshTransport(mesh)) as client:
        parent_pipe.send({"pid": os.getpid()})
        while True:
            command = await commands.get()
            answers = await _call(client, int(str(command["calls"])))
            parent_pipe.send(Calls.of(answers, ejected, os.getpid()).to_json())


async def _call(client: httpx.AsyncClient, calls: int) -> list[Mapping[str, str]]:
    """Make that many calls, some at a time."""
    answers: list[Mapping[str, str]] = []
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            answers.append(await _one(client))

    await asyncio.gather(*(work() for _ in range(min(calls, _AT_ONCE))))
    return answers


async def _one(client: httpx.AsyncClient) -> dict[str, str]:
    try:
        response = await client.get(shop.URL)
    except httpx.TransportError as error:
        return {"status": type(error).__name__, "text": str(error)}
    seen = {"status": str(response.status_code), "server": server_of(response)}
    seen["attempts"] = str(response.extensions["meshsdk"]["attempts"])
    if response.status_code != 200:
        return {**seen, "text": response.text}
    return {**seen, **{key: str(value) for key, value in response.json().items()}}


def server_of(response: httpx.Response) -> str:
    """The SPIFFE ID in the certificate that the server proved; empty where the mesh answers."""
    stream = response.extensions.get("network_stream")
    if stream is None:
        return ""
    tls = stream.get_extra_info("ssl_object")
    names = tls.getpeercert().get("subjectAltName", ()) if tls is not None else ()
    return ", ".join(value for kind, value in names if kind == "URI")


if __name__ == "__main__":
    asyncio.run(main())
