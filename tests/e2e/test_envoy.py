"""Our SDK beside real Envoys, fed by one control plane: what one sees the other sees."""

import re
import ssl
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.mixed_mesh import Caller, Kind, MixedMesh, Mode, host, pairs, running, spiffe_id
from tests.e2e.serving import header, raw_exchange

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

XFCC = "x-forwarded-client-cert"
EXPECTED_XFCC = f'By={spiffe_id("reviews")};Hash=X;Subject="";URI={spiffe_id("frontend")}'
PAIRS = pytest.mark.parametrize(("client", "server", "mode"), pairs())
SERVERS = pytest.mark.parametrize("server", ["envoy", "sdk"])


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Generator[MixedMesh]:
    directory: Path = tmp_path_factory.mktemp("envoys")
    with running(directory) as found:
        yield found


def xfcc(said: dict[str, Any]) -> str | None:
    """The field with its Hash, which tells one SVID from the next, made X."""
    found = header(said, XFCC)
    return None if found is None else re.sub("Hash=[0-9a-f]{64}", "Hash=X", found)


@PAIRS
def test_the_application_sees_the_callers_identity(
    mesh: MixedMesh, client: Kind, server: Kind, mode: Mode
) -> None:
    response = mesh.call("frontend", client, host(server, mode))

    assert response.status_code == 200, response.text
    said = response.json()
    assert said["server"] == server
    assert xfcc(said) == EXPECTED_XFCC
    if server == "sdk":
        assert said["peer"] == spiffe_id("frontend")


@PAIRS
@pytest.mark.parametrize(
    ("caller", "method", "path"),
    [
        ("batch", "GET", "/ratings"),
        ("frontend", "DELETE", "/ratings"),
        ("frontend", "GET", "/admin"),
        ("frontend", "GET", "/ratings/.."),
    ],
)
def test_the_same_calls_are_denied_in_the_same_words(
    mesh: MixedMesh,
    client: Kind,
    server: Kind,
    mode: Mode,
    caller: Caller,
    method: str,
    path: str,
) -> None:
    before = len(mesh.apps[server].seen)

    response = mesh.call(caller, client, host(server, mode), method, path)

    assert (response.status_code, response.text) == (403, "RBAC: access denied")
    assert response.headers["content-type"] == "text/plain"
    assert len(mesh.apps[server].seen) == before


def test_the_application_gets_the_same_request_by_every_path(mesh: MixedMesh) -> None:
    def fields(client: Kind, server: Kind, mode: Mode) -> dict[str, str | None]:
        sent = {"x-mine": "1", "user-agent": "test", "accept-encoding": "identity"}
        response = mesh.call("frontend", client, host(server, mode), headers=sent)
        said = response.json()
        found = {name: header(said, name) for name, _ in said["headers"]}
        found[XFCC] = xfcc(said)
        assert found.pop("host") == host(server, mode)
        assert re.fullmatch(r"[0-9a-f-]{36}", found.pop("x-request-id") or "")
        return found

    seen = {pair: fields(*pair) for pair in pairs()}

    reference = seen["envoy", "envoy", "STRICT"]
    assert seen == dict.fromkeys(seen, reference)


@PAIRS
def test_a_body_arrives_whole(mesh: MixedMesh, client: Kind, server: Kind, mode: Mode) -> None:
    content = bytes(1_000_000)

    response = mesh.call("frontend", client, host(server, mode), "POST", content=content)

    assert (response.status_code, response.json()["size"]) == (200, len(content))


@SERVERS
def test_a_strict_port_gives_nothing_to_plaintext(mesh: MixedMesh, server: Kind) -> None:
    before = len(mesh.apps[server].seen)

    assert raw_exchange(mesh.ports[server, "STRICT"]) == b""

    assert len(mesh.apps[server].seen) == before


@SERVERS
def test_a_permissive_port_takes_plaintext_which_is_nobody(mesh: MixedMesh, server: Kind) -> None:
    answer = raw_exchange(
        mesh.ports[server, "PERMISSIVE"],
        request=b"GET /ratings HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )

    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"RBAC: access denied")


@SERVERS
@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
@pytest.mark.parametrize("alpn", ["http/1.1", "istio-http/1.1"])
def test_tls_without_a_certificate_gets_nothing(
    mesh: MixedMesh, server: Kind, mode: Mode, alpn: str
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])

    assert raw_exchange(mesh.ports[server, mode], context) == b""
