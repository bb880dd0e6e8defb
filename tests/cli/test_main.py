"""The command as a shell sees it."""

import subprocess
import sys
from pathlib import Path

import pytest

from meshsdk.cli import main


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    """`meshsdk check … | head`: what closes the pipe is no error of ours."""
    command = [sys.executable, "-m", "meshsdk", "--help"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaints = process.stderr.read()
    assert process.returncode in (0, 141)
    assert "Traceback" not in complaints


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("not json", "line 1: expected a JSON object"),
        ("[]", "line 1: expected a JSON object"),
        ('{"name": "x"}', "line 1: expected config and requests"),
    ],
)
def test_a_line_that_is_no_case_is_named_and_fails(line: str, problem: str) -> None:
    command = [sys.executable, "-m", "meshsdk", "check", "--stdio"]

    done = subprocess.run(command, input=line + "\n", capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_of_a_file_is_checked_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, requests = tmp_path / "config.yaml", tmp_path / "requests.jsonl"
    config.write_text("route_config: {}")
    requests.write_text('{"path": "/"}\n{"metod": "GET", "path": "/"}\n')

    code = main(["check", str(config), "--requests", str(requests)])

    assert code == 2
    assert f"{requests}:2: unknown field 'metod' of a request; did you mean 'method'?" in (
        capsys.readouterr().err
    )


def test_no_command_prints_the_help_and_fails() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "meshsdk"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "demo" in done.stdout
