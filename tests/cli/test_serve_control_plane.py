"""The command as its users start it: a process, its lines, its files."""

import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshsdk import Mesh
from meshsdk.cli import main
from meshsdk.config.bootstrap import Bootstrap, Credentials, Node, Server

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local]
  addresses: [10.96.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: 8080}}]
"""


@contextmanager
def serving(config: Path, state: Path, *more: str) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """The first lines of a running control plane, up to the one of its roots."""
    command = [sys.executable, "-m", "meshsdk.cli", "control-plane", str(config)]
    options = ["--state", str(state), "--listen", "127.0.0.1:0", "--debug-port", "0", *more]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = ""
    try:
        while "roots " not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        yield said, process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def port_of(said: str) -> str:
    found = re.search(r"xDS and CA (127\.0\.0\.1:\d+) \(TLS, by token\)", said)
    assert found is not None, said
    return found[1]


@pytest.mark.slow
def test_a_mesh_joins_by_a_minted_token_and_the_process_ends_cleanly(tmp_path: Path) -> None:
    config, state, token = tmp_path / "config", tmp_path / "state", tmp_path / "token"
    config.mkdir()
    (config / "cart.yaml").write_text(ENTRY)
    node = Node(
        "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local",
        metadata={"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"},
    )

    with serving(config, state) as (said, process):
        words = ["token", "--state", str(state), "--namespace", "shop", "--service-account", "web"]
        minted = main(["control-plane", *words, "--out", str(token)])
        credentials = Credentials(root_file=str(state / "root-cert.pem"), token_file=str(token))
        server = Server(port_of(said), credentials)
        with Mesh.connect(Bootstrap((server,), node, ca=server)) as mesh:
            is_ready = mesh.ready(10.0)
            plan = mesh.publisher.plan
        process.send_signal(signal.SIGTERM)
        code = process.wait(10.0)

    assert minted == 0
    assert token.stat().st_mode & 0o777 == 0o600
    assert is_ready
    assert plan is not None
    assert "outbound|80||cart.shop.svc.cluster.local" in plan.snapshot.clusters
    assert code == 0


def test_a_token_goes_to_standard_output_where_no_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--state", str(tmp_path), "--namespace", "shop", "--service-account", "web"]

    code = main(["control-plane", "token", *words])

    assert code == 0
    assert capsys.readouterr().out.count(".") == 2


def test_a_root_rotates_in_three_steps(tmp_path: Path) -> None:
    words = ["--state", str(tmp_path)]
    assert (
        main(["control-plane", "token", *words, "--namespace", "a", "--service-account", "b"]) == 0
    )

    early = main(["control-plane", "rotate-root", "activate", *words])

    assert early == 2


@pytest.mark.parametrize(
    "words",
    [
        ["token", "--namespace", "shop"],
        ["token", "--namespace", "Sh op", "--service-account", "web"],
        ["rotate-root", "sideways"],
        ["rotate-root", "prepare"],
        ["token", "--namespace", "a", "--service-account", "b", "--trust-domain", "A b"],
        [".", "prepare"],
        [".", "--also", "RDS=80"],
        [".", "--listen", "nonsense"],
        [".", "--listen", "127.0.0.1:99999"],
        [".", "--plaintext", ":0"],
    ],
)
def test_what_cannot_be_done_is_said(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["control-plane", *words, "--state", str(tmp_path / "state")])

    assert code == 2
    said = capsys.readouterr().err
    assert "expected" in said or "stands only" in said or words == ["rotate-root", "prepare"]


@pytest.mark.parametrize(
    "words",
    [("--debug-port", "99999"), ("--certificate-ttl", "0"), ("--lifetime", "-5")],
)
def test_numbers_outside_their_range_are_no_options(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["control-plane", ".", *words])

    assert ended.value.code == 2
    assert f"argument {words[0]}: expected" in capsys.readouterr().err


def test_a_token_that_cannot_be_written_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "missing" / "token"
    words = ["--namespace", "a", "--service-account", "b", "--state", str(tmp_path)]

    code = main(["control-plane", "token", *words, "--out", str(out)])

    assert code == 2
    assert f"--out {out}: No such file or directory" in capsys.readouterr().err
