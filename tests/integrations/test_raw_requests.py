"""216 requests as octets, to each server: what reaches the application is what policy saw.

The statuses are a golden table, tests/data/raw_statuses.json: which server refuses what by itself, and
what only the mesh refuses.
"""

import json
import lzma
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import pytest

from meshsdk.call.message import LocalReply, Request
from meshsdk.downstream.app_path import decoded
from meshsdk.resources.hcm_options import HcmOptions
from meshsdk.routing.canonical import canonicalize
from tests.routing.calls import context
from tools import server_table

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(120)]

_DATA: Final = Path(__file__).parents[1] / "data"
_GOLDEN: Final = _DATA / "raw_statuses.json"
REQUESTS = cast(
    "list[tuple[str, str, str | None]]",
    json.loads(lzma.decompress((_DATA / "raw_requests.json.xz").read_bytes())),
)
"""Case, octets as latin-1, what Envoy made of it where that is known."""
_APP: Final = "tests.integrations.raw_app"
_GUNICORN: Final = ["gunicorn", "-b", "fd://{fd}", "--timeout", "60", "--forwarded-allow-ips", "*"]
COMMANDS: Final = {
    "uvicorn-h11": ["uvicorn", f"{_APP}:asgi", "--fd", "{fd}", "--http", "h11"],
    "uvicorn-httptools": ["uvicorn", f"{_APP}:asgi", "--fd", "{fd}", "--http", "httptools"],
    "hypercorn": ["hypercorn", f"{_APP}:asgi", "-b", "fd://{fd}"],
    "gunicorn-asgi": [*_GUNICORN, "-k", "asgi", f"{_APP}:asgi"],
    "gunicorn-sync": [*_GUNICORN, "-k", "sync", "-w", "2", f"{_APP}:wsgi"],
    "gunicorn-gthread": [*_GUNICORN, "-k", "gthread", "--threads", "4", f"{_APP}:wsgi"],
}
OWN_ERRORS: Final = {
    (501, "view/framing te dup"),
    (501, "view/framing te x"),
    (501, "view/framing te gzip chunked"),
    (501, "view/framing te identity"),
    (501, "framing/te_xchunked"),
    (501, "framing/te_list"),
    (501, "framing/te_dup"),
    (501, "framing/te_identity"),
    (500, "view/field script_name us"),
}
"""What gunicorn and hypercorn answer before the application is asked; the last where it trusts the peer."""
_OF_H11: Final = {"framing/dup_cl_same", "framing/cl_list"}
LOOSER: Final = {"uvicorn-h11": _OF_H11, "hypercorn": _OF_H11}
"""What Envoy's codec refuses and a server's does not, so that nobody after it can see it."""
_PATIENCE: Final = 0.3
"""Seconds without an answer, where none is expected: the server waits for more of the request."""
_LIMIT: Final = 10.0
_STRICT: Final = HcmOptions(normalize_path=True, generate_request_id=False)


@contextmanager
def server(command: list[str]) -> Generator[int]:
    """The port of a server of its own process, once it answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        fd, port = listener.fileno(), cast("int", listener.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=fd) for part in command)],
            pass_fds=(fd,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + 30
            while _ask(port, b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n")[0] != 200:
                assert time.monotonic() < deadline, "the server never answered"
            yield port
        finally:
            process.terminate()
            try:
                process.wait(10)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)


def _ask(port: int, raw: bytes, patience: float = _PATIENCE) -> tuple[int, bytes]:
    """Status and body; 0: closed without an answer, -1: none came in time."""
    data = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            client.sendall(raw)
            while not _is_whole(data):
                client.settimeout(5 if data else patience)
                more = client.recv(65536)
                if not more:
                    break
                data += more
    except TimeoutError:
        return -1, b""
    except OSError:
        pass
    if not data.startswith(b"HTTP/"):
        return 0, data  # HTTP/0.9 has no head
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    # After a 100 the server waits for the body, until it or we lose patience.
    return (-1, b"") if status == 100 else (status, body)


def _is_whole(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return head.startswith(b"HTTP/1.1 101")


def _judged(raw: str) -> str | None:
    """The path that policy saw of a request whose first line is one; None for others."""
    first = raw.lstrip("\r\n").split("\r\n")[0].split("\n")[0]
    if first.count(" ") != 2:
        return None
    method, target, _ = first.split(" ")
    found = canonicalize(Request(method, "a.test", target), _STRICT, context())
    return None if isinstance(found, LocalReply) else found.path


def _complaints(case: str, raw: str, seen: Mapping[str, Any], *, is_wsgi: bool) -> list[str]:
    """What must not have reached the application."""
    judged = _judged(raw)
    names = [name for name, _ in seen["headers"]]
    wrong: list[str] = []
    if judged is not None and seen["raw"] != judged:
        wrong.append(f"raw path {seen['raw']!r}, judged {judged!r}")
    if judged is not None and seen["path"] != decoded(judged.partition("?")[0]):
        wrong.append(f"path {seen['path']!r}, judged {judged!r}")
    if str(seen["path"]).startswith("/admin"):
        wrong.append("the admin page")
    if not str(seen["raw"]).startswith("/") or "#" in seen["raw"]:
        wrong.append(f"target {seen['raw']!r}")
    if "x-forwarded-client-cert" in names or "x_forwarded_client_cert" in names:
        wrong.append("a client's own certificate header")
    if any((c < " " and c != "\t") or c == "\x7f" for _, value in seen["headers"] for c in value):
        wrong.append("control characters")
    if seen["client"][0] != "127.0.0.1":
        wrong.append(f"client {seen['client']}")
    roles = [value for name, value in seen["headers"] if name == "x-role"]
    if any("admin" in (value.split(",") if is_wsgi else [value.strip()]) for value in roles):
        wrong.append(f"role {roles}")
    if names.count("host") > 1 or any(
        v == "secret.test" for n, v in seen["headers"] if n == "host"
    ):
        wrong.append("hosts")
    return [f"{case}: {what}" for what in wrong]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_reaches_the_application_is_what_was_judged(
    name: str, pytestconfig: pytest.Config
) -> None:
    statuses: dict[str, int] = {}
    wrong: list[str] = []
    passed: set[str] = set()

    golden: dict[str, dict[str, int]] = json.loads(_GOLDEN.read_text())
    is_update = pytestconfig.getoption("--update-golden")
    expected = {} if is_update else golden[name]

    with server(COMMANDS[name]) as port:
        for case, raw, envoys in REQUESTS:
            patience = _PATIENCE if expected.get(case, -1) == -1 else _LIMIT
            status, body = _ask(port, raw.encode("latin-1"), patience)
            statuses[case] = status
            if status == 200 and body.startswith(b"{"):
                seen = json.JSONDecoder().raw_decode(body.decode())[0]
                is_wsgi = COMMANDS[name][-1].endswith(":wsgi")
                wrong += _complaints(case, raw, seen, is_wsgi=is_wsgi)
            elif status >= 500 and (status, case) not in OWN_ERRORS:
                wrong.append(f"{case}: answered {status}")
            if envoys in ("reject", "closed") and status == 200:
                passed.add(case)

    if is_update:
        _GOLDEN.write_text(json.dumps({**golden, name: statuses}, indent=0, sort_keys=True) + "\n")
        golden[name] = statuses
    assert wrong == []
    assert passed == LOOSER.get(name, set())
    assert statuses == golden[name]


def test_the_page_about_servers_is_what_was_measured() -> None:
    assert server_table.PAGE.read_text() == server_table.page(), "run: python tools/server_table.py"
