"""`meshsdk demo`, run as a newcomer runs it, and what it leaves behind: nothing."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from meshsdk.cli.demo.claims import Claim
from meshsdk.cli.demo.report import Json, Text

TITLES = [
    "The server knows its caller by certificate",
    "The caller knows the server by certificate",
    "Traffic is split 90/10 (canary.yaml)",
    "STRICT refuses plaintext (peer-authentication.yaml)",
    "order-service may POST /api/v1/charges",
    "All else is denied: order-service, another path",
    "A compromised frontend cannot charge",
    "And payment-service's log says who was denied",
    'request.headers[x-request-id] notValues [""]: with a value it is allowed',
    'request.headers[x-request-id] notValues [""]: without one the mesh gives one first',
    "Only tokens with role=partner pass (jwt.yaml)",
    "A ServiceEntry opens api.stripe.com (egress.yaml)",
    "REGISTRY_ONLY blocks any other host",
    "One of the two v1 processes is killed, retries hide it (api-service-v1-b)",
    "Then it is ejected, and nobody tries it any more",
    "canary.yaml is edited to 50/50, nothing restarts",
    "Certificates and the root that signs them are replaced under load",
]
PROCESSES = 9


def test_the_verdict_is_text_without_colours_where_nobody_looks() -> None:
    out = StringIO()
    claims = [Claim("One", "1", "1", True), Claim("Two", "2", "3", False)]

    Text(out).verdict(claims, 1.25)

    assert out.getvalue() == (
        "\n"
        "   ok   One\n"
        "        expected  1\n"
        "        seen      1\n"
        "  FAIL  Two\n"
        "        expected  2\n"
        "        seen      3\n"
        "\n"
        "1 of 2 as expected, in 1.2 s\n"
    )


def test_the_verdict_for_programs_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    claims = [Claim("One", "1", "1", True), Claim("Two", "2", "3", False)]
    report = Json()

    report.heading("not printed")
    report.progress(claims[0])
    report.verdict(claims, 1.25)

    found: Any = json.loads(capsys.readouterr().out)
    assert (found["ok"], found["seconds"]) == (False, 1.25)
    assert found["claims"][1] == {"title": "Two", "expected": "2", "seen": "3", "ok": False}


@contextmanager
def demo(directory: Path, *options: str) -> Generator[tuple["subprocess.Popen[str]", str]]:
    """A running demo, and the mark by which its processes are known."""
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        "MESHSDK_TEST_MARK": mark,
        "TMPDIR": str(directory),
        "PYTHONFAULTHANDLER": "1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "meshsdk.cli", "demo", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process, mark
    finally:
        process.kill()
        process.communicate()


def marked(mark: str) -> list[int]:
    """The processes of a demo that are alive."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def have_ended(pids: list[int], timeout: float) -> bool:
    """Wait for processes that are not our children."""
    for pid in pids:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if not select.select([handle], [], [], timeout)[0]:
                    return False
            finally:
                os.close(handle)
    return True


@pytest.mark.slow
@pytest.mark.e2e
def test_all_claims_hold_and_nothing_is_left(tmp_path: Path) -> None:
    with demo(tmp_path) as (process, mark):
        output, errors = process.communicate(timeout=40)
        left = marked(mark)

    assert process.returncode == 0, output + errors
    assert errors == ""
    assert "\x1b" not in output
    verdict = output.partition("\n\n   ok   ")[2]
    for title in TITLES:
        assert title in output
        assert output.count(title) == 2
    assert verdict.count("expected  ") == verdict.count("seen      ") == len(TITLES)
    total = re.search(rf"{len(TITLES)} of {len(TITLES)} as expected, in ([\d.]+) s", output)
    assert total is not None
    assert float(total[1]) < 20
    assert left == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_no_process_outlives_the_demo(number: signal.Signals, code: int, tmp_path: Path) -> None:
    with demo(tmp_path) as (process, mark):
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if TITLES[0] in line:
                break
        else:
            errors = process.communicate()[1]
            pytest.fail("".join([*lines, errors, f"\nreturn code {process.returncode}"]))
        processes = marked(mark)
        os.kill(process.pid, number)
        process.wait(10)

        assert have_ended(processes, 5)

    assert len(processes) == PROCESSES
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []
