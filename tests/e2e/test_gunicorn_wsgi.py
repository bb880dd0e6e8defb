"""An unmodified gunicorn takes mTLS for a WSGI application, by the file that the how-to has."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest

from meshsdk.control_plane.ads_server import AdsServer
from meshsdk.identity.sources.files import CredentialFiles
from meshsdk.integrations.httpx import MeshTransport
from meshsdk.testing import FakeCa
from tests.e2e.one_service import (
    FRONTEND,
    URL,
    caller_resources,
    connect,
    node,
    server_resources,
)
from tests.e2e.serving import PATIENCE, bound_socket, port_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[2]


def bootstrap(ads: int, files: CredentialFiles) -> str:
    """Of a process of reviews."""
    watched = {
        "certificate_file": str(files.certificate_chain),
        "private_key_file": str(files.private_key),
        "ca_certificate_file": str(files.roots),
    }
    made = {
        "xds_servers": [
            {"server_uri": f"127.0.0.1:{ads}", "channel_creds": [{"type": "insecure"}]}
        ],
        "node": {"id": node("reviews").id},
        "certificate_providers": {"default": {"plugin_name": "file_watcher", "config": watched}},
    }
    return json.dumps(made)


@contextmanager
def gunicorn(listening: int, options: list[str], told: Mapping[str, str]) -> Generator[None]:
    """Killed with its workers."""
    command = [sys.executable, "-m", "gunicorn", "--bind", f"fd://{listening}", *options]
    process = subprocess.Popen(
        [*command, "--log-level", "warning", "tests.e2e.wsgi_app:app"],
        cwd=ROOT,
        env={**os.environ, **told},
        pass_fds=[listening],
        start_new_session=True,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_a_wsgi_application_knows_its_caller_by_certificate(tmp_path: Path, worker: str) -> None:
    page = (ROOT / "docs/how-to/wsgi.md").read_text()
    [text] = re.findall(r"```python title=gunicorn\.conf\.py\n(.*?)```", page, re.DOTALL)
    (tmp_path / "gunicorn.conf.py").write_text(text)
    ca, server = FakeCa(), AdsServer()
    files = ca.write(tmp_path, "shop/reviews")
    with ExitStack() as stack:
        ads, bound = server.listen(), stack.enter_context(closing(bound_socket()))
        port = port_of(bound)
        server.set(node("reviews").id, server_resources(port))
        server.set(node("frontend").id, caller_resources({"v1": [port]}, {"v1": 1}))
        stack.enter_context(server)
        options = ["--config", str(tmp_path / "gunicorn.conf.py"), "--worker-class", worker]
        told = {"GRPC_XDS_BOOTSTRAP_CONFIG": bootstrap(ads, files)}
        stack.enter_context(gunicorn(bound.fileno(), options, told))
        mesh = stack.enter_context(connect(ads, "frontend", ca.context("shop/frontend")))
        assert server.wait_settled(node("reviews").id, PATIENCE)
        client = stack.enter_context(httpx.Client(transport=MeshTransport(mesh)))
        answer = client.get(URL)
        plain = stack.enter_context(httpx.Client(trust_env=False))
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            plain.get(f"http://127.0.0.1:{port}/")

    assert (answer.status_code, answer.text) == (200, FRONTEND)
