"""Each example runs as its first lines say."""

import ast
import json
import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.testing import FakeCa
from tests import shop

EXAMPLES = Path(__file__).parents[2] / "examples"
REVIEWS = next(iter(shop.REVIEWS))


def run(name: str, *arguments: str, bootstrap: Path | None = None) -> subprocess.Popen[str]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if bootstrap is not None:
        environment["GRPC_XDS_BOOTSTRAP"] = str(bootstrap)
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        cwd=EXAMPLES.parent,
    )


def output(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=30)
    assert process.returncode == 0, text
    return text


@contextmanager
def ended(process: subprocess.Popen[str]) -> Generator[subprocess.Popen[str]]:
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=10)


def bootstrap(directory: Path, ca: FakeCa, workload: shop.Workload, server: str) -> Path:
    """What an agent writes for a gRPC client: where the control plane is, and the credentials."""
    files = ca.write(directory / workload.name, f"{shop.NAMESPACE}/{workload.account}")
    watcher = {
        "certificate_file": str(files.certificate_chain),
        "private_key_file": str(files.private_key),
        "ca_certificate_file": str(files.roots),
    }
    found = {
        "xds_servers": [{"server_uri": server, "channel_creds": [{"type": "insecure"}]}],
        "node": {"id": workload.node.id, "cluster": workload.node.cluster},
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": watcher}},
    }
    path = directory / f"{workload.name}.json"
    path.write_text(json.dumps(found))
    return path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def test_the_static_mesh_splits_its_calls() -> None:
    counts: dict[str, int] = ast.literal_eval(output(run("static_mesh.py")))

    assert sum(counts.values()) == 200
    assert 160 <= counts["v1"] <= 198


def test_a_filter_of_ones_own_runs_in_every_call() -> None:
    assert output(run("own_filter.py")) == "1f3a\n503\n"


@pytest.mark.slow
def test_the_client_is_known_to_the_server_by_its_identity(tmp_path: Path) -> None:
    ca, port = FakeCa(shop.TRUST_DOMAIN), free_port()
    server, target = AdsServer(), f"unix://{tmp_path}/ads.sock"
    server.listen(target)
    with server:
        server.set(REVIEWS.node.id, shop.server_resources(port))
        server.set(shop.FRONTEND.node.id, shop.caller_resources({"v1": [port]}, {"v1": 100}))
        ours = bootstrap(tmp_path, ca, REVIEWS, target)
        theirs = bootstrap(tmp_path, ca, shop.FRONTEND, target)

        with ended(run("server.py", str(port), bootstrap=ours)) as serving:
            wait_for("Uvicorn running", serving)
            answer = output(run("client.py", shop.URL, bootstrap=theirs))

    assert answer == f"200 {shop.FRONTEND.spiffe_id}\n"


@pytest.mark.slow
def test_the_grpc_client_is_known_to_the_grpc_server(tmp_path: Path) -> None:
    ca, port = FakeCa(shop.TRUST_DOMAIN), free_port()
    server, target = AdsServer(), f"unix://{tmp_path}/ads.sock"
    server.listen(target)
    with server:
        # gRPC's method is POST.
        may_post = json.dumps(shop.server_resources(port)).replace('"GET"', '"POST"')
        server.set(REVIEWS.node.id, json.loads(may_post))
        server.set(shop.FRONTEND.node.id, shop.caller_resources({"v1": [port]}, {"v1": 100}))
        ours = bootstrap(tmp_path, ca, REVIEWS, target)
        theirs = bootstrap(tmp_path, ca, shop.FRONTEND, target)

        with ended(run("grpc_server.py", str(port), bootstrap=ours)) as serving:
            wait_for("serving on", serving)
            answer = output(run("grpc_client.py", "reviews.shop:80", bootstrap=theirs))

    assert answer == f"{shop.FRONTEND.spiffe_id.encode()!r}\n[b'a', b'b']\n"


def wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    seen: list[str] = []
    for text in process.stdout:
        seen.append(text)
        if line in text:
            return
    raise AssertionError("".join(seen))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_under_60_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 60
