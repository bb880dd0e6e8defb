"""A script of a few calls, as people write them: run with what it is told on its input.

Tells when its main function returned, on the clock that all processes of the machine share.
"""

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import httpx

from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.integrations.httpx import AsyncMeshTransport, MeshTransport
from meshsdk.mesh import Mesh
from tests.e2e.one_service import URL, connect


def call(mesh: Mesh) -> int:
    """A blocking call."""
    with httpx.Client(transport=MeshTransport(mesh)) as client:
        return client.get(URL).status_code


async def call_within_a_loop(mesh: Mesh) -> list[int]:
    """Blocking and awaiting calls while a loop runs, as in a notebook; the first starts the mesh."""
    statuses = [call(mesh)]
    async with httpx.AsyncClient(transport=AsyncMeshTransport(mesh)) as client:
        statuses.append((await client.get(URL)).status_code)
    return statuses


def main(told: dict[str, str]) -> dict[str, object]:
    """One of the ways to use a mesh."""
    files = CredentialFiles.in_directory(Path(told["credentials"]))
    mesh = connect(int(told["port"]), "frontend", files)
    match told["how"]:
        case "closed":
            with mesh:
                statuses = [call(mesh)]
        case "left open":
            statuses = [call(mesh)]
        case "within a loop":
            statuses = asyncio.run(call_within_a_loop(mesh))
            mesh.close()
        case "never ready":
            mesh.start()
            statuses = list[int]()
        case how:
            raise AssertionError(how)
    return {"statuses": statuses, "threads": [each.name for each in threading.enumerate()]}


if __name__ == "__main__":
    found = main(json.loads(sys.stdin.readline()))
    print(json.dumps({**found, "returned": time.monotonic()}), flush=True)
