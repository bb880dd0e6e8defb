"""A program that forks as gunicorn does: run with what it is told on its first line of input.

Tells a JSON line for each process that called; all of them end with the end of their input.
"""

import json
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.mesh import Mesh
from tests.e2e.one_service import URL, connect

CHILDREN = 4
CALLS = 10
LOADERS = 4


def call(mesh: Mesh, who: str) -> None:
    """Some calls, and what came of them."""
    with httpx.Client(transport=MeshTransport(mesh)) as client:
        statuses = [client.get(URL).status_code for _ in range(CALLS)]
    tell({"who": who, "pid": os.getpid(), "statuses": statuses})


def tell(message: dict[str, object]) -> None:
    """In one write, so that lines of several processes do not mix."""
    os.write(1, json.dumps(message).encode() + b"\n")


def wait_for_end() -> None:
    """Until the input ends."""
    while os.read(0, 1024):
        pass


@contextmanager
def load(mesh: Mesh) -> Generator[None]:
    """Threads that call all the time."""
    over, running = threading.Event(), threading.Barrier(LOADERS + 1)

    def work() -> None:
        with httpx.Client(transport=MeshTransport(mesh)) as client:
            client.get(URL)
            running.wait()
            while not over.is_set():
                client.get(URL)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(LOADERS)]
    for thread in threads:
        thread.start()
    running.wait()
    yield
    over.set()
    for thread in threads:
        thread.join()


def fork(mesh: Mesh) -> list[int]:
    """Children that call and then wait."""
    children: list[int] = []
    for _ in range(CHILDREN):
        pid = os.fork()
        if pid == 0:
            call(mesh, "child")
            wait_for_end()
            # Not through the parent's frames: the threads of `load` are not here.
            os._exit(0)
        children.append(pid)
    return children


def main() -> None:
    """Make a mesh, use it or not, fork, use it in every child, and then again here."""
    told = json.loads(sys.stdin.readline())
    files = CredentialFiles.in_directory(Path(told["credentials"]))
    mesh = connect(told["port"], "frontend", files)
    match told["how"]:
        case "made":
            children = fork(mesh)
        case "starting":
            mesh.start()
            children = fork(mesh)
        case "used":
            call(mesh, "parent")
            children = fork(mesh)
        case "under load":
            with load(mesh):
                children = fork(mesh)
        case how:
            raise AssertionError(how)
    if told["how"] != "made":
        call(mesh, "parent")
    wait_for_end()
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    sys.exit(max(map(abs, statuses)))


if __name__ == "__main__":
    main()
