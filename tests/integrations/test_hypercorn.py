"""hypercorn's HTTP/2, unmodified: many requests of one verified connection."""

import json
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from meshsdk.call.address import Address
from meshsdk.identity.x509_context import X509Context
from meshsdk.integrations.httpx import MeshTransport
from tests.downstream.mesh import CA, ORDER, ORDER_ID
from tests.integrations.test_asgi_servers import APP, server
from tests.upstream.mtls import CLIENT, SOCKET, MeshTls
from tests.upstream.one_cluster import OneCluster
from tests.upstream.test_http2 import H2

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
H2_CLIENT = replace(CLIENT, alpn=("istio", "h2"))


def client_of(port: int, identity: X509Context = ORDER) -> httpx.Client:
    tls = MeshTls(identity, H2_CLIENT)
    mesh = OneCluster(Address("127.0.0.1", port), H2, tls=tls, socket=SOCKET)
    return httpx.Client(transport=MeshTransport(mesh), base_url="https://pay.test")


@pytest.mark.parametrize("worker", ["asyncio", "uvloop"])
def test_http2_requests_are_judged_by_who_calls(tmp_path: Path, worker: str) -> None:
    command = ["hypercorn", APP, "-b", "fd://{fd}", "-k", worker]
    with server(command, tmp_path / "credentials") as port:
        with client_of(port) as client:
            answers = [client.get("http://pay.test/pay") for _ in range(3)]
        with client_of(port, CA.context("shop/other")) as client:
            refused = client.get("http://pay.test/pay")

    assert [a.extensions["http_version"] for a in answers] == [b"HTTP/2"] * 3
    assert {json.loads(a.content)["peer"] for a in answers} == {ORDER_ID}
    assert (refused.status_code, refused.content) == (403, b"RBAC: access denied")
