"""Unmodified commands of ASGI servers are in the mesh because their application is."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.downstream.mesh import CA, ORDER_ID, anonymous_client, client_context, stranger
from tests.integrations.uvicorn_server import ask

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

APP = "tests.integrations.served_app:app"
COMMANDS = {
    "uvicorn": ["uvicorn", APP, "--fd", "{fd}"],
    "uvicorn-h11-asyncio": ["uvicorn", APP, "--fd", "{fd}", "--http", "h11", "--loop", "asyncio"],
    "gunicorn-uvicorn": [
        "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", "fd://{fd}", APP
    ],
    "hypercorn": ["hypercorn", APP, "-b", "fd://{fd}"],
    "hypercorn-uvloop": ["hypercorn", APP, "-b", "fd://{fd}", "-k", "uvloop"],
    "gunicorn-asgi": ["gunicorn", "-k", "asgi", "-w", "2", "-b", "fd://{fd}", APP],
}  # fmt: skip


@contextmanager
def server(command: list[str], credentials: Path) -> Generator[int]:
    """The port of a server that was started as a user starts it, once it answers."""
    CA.write(credentials, "shop/payment")
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=fd) for part in command)],
            pass_fds=(fd,),
            env={**os.environ, "CREDENTIALS": str(credentials)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _wait_until_it_answers(port)
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def _wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 20
    while ask(port, client_context(), "/open") is None:
        assert time.monotonic() < deadline, "the server never answered"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unmodified_command_serves_the_mesh(name: str, tmp_path: Path) -> None:
    with server(COMMANDS[name], tmp_path / "credentials") as port:
        for caller in ("order", "other") * 4:
            answer = ask(port, client_context(CA.context(f"shop/{caller}")), "/pay")
            assert answer is not None
            if caller == "order":
                assert json.loads(answer[1])["peer"] == ORDER_ID
            else:
                assert answer == (403, b"RBAC: access denied")
        plain = ask(port, None, "/open")
        assert plain is not None
        assert json.loads(plain[1])["peer"] == "None"
        assert ask(port, stranger(), "/open") is None
        assert ask(port, anonymous_client(), "/open") is None
