"""gRPC between our SDK and real Envoys, fed by one control plane: what one sees the other sees."""

import json
import re
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.e2e.grpc_mesh import GrpcMesh, running
from tests.e2e.mixed_mesh import Caller, Kind, Mode, host, pairs, spiffe_id

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

XFCC = "x-forwarded-client-cert"
EXPECTED_XFCC = f'By={spiffe_id("reviews")};Hash=X;Subject="";URI={spiffe_id("frontend")}'
PAIRS = pytest.mark.parametrize(("client", "server", "mode"), pairs())


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Generator[GrpcMesh]:
    directory: Path = tmp_path_factory.mktemp("envoys")
    with running(directory) as found:
        yield found


def failed(call: Callable[[], object]) -> Any:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value


@PAIRS
def test_the_application_sees_the_callers_identity(
    mesh: GrpcMesh, client: Kind, server: Kind, mode: Mode
) -> None:
    with mesh.channel("frontend", client, host(server, mode)) as c:
        said = json.loads(c.unary_unary("/ratings/UU")(b"", timeout=10))

    assert said["server"] == server
    assert re.sub("Hash=[0-9a-f]{64}", "Hash=X", said["metadata"][XFCC]) == EXPECTED_XFCC
    if server == "sdk":
        assert said["peer"] == spiffe_id("frontend")


@PAIRS
@pytest.mark.parametrize(
    ("caller", "method"), [("batch", "/ratings/UU"), ("frontend", "/admin/UU")]
)
def test_the_same_calls_are_denied_in_the_same_words(
    mesh: GrpcMesh, client: Kind, server: Kind, mode: Mode, caller: Caller, method: str
) -> None:
    before = mesh.apps[server].calls

    with mesh.channel(caller, client, host(server, mode)) as c:
        error = failed(lambda: c.unary_unary(method)(b"", timeout=10))

    assert (error.code(), error.details()) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "RBAC: access denied",
    )
    assert mesh.apps[server].calls == before


@PAIRS
def test_an_unknown_service_is_told_alike(
    mesh: GrpcMesh, client: Kind, server: Kind, mode: Mode
) -> None:
    del server, mode
    with mesh.channel("frontend", client, "nobody.shop.svc.cluster.local") as c:
        error = failed(lambda: c.unary_unary("/ratings/UU")(b"", timeout=10))

    assert error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE)


@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
def test_plaintext_has_no_identity_with_either_server(mesh: GrpcMesh, mode: Mode) -> None:
    untyped: Any = grpc
    for server in ("envoy", "sdk"):
        port = mesh.ports[server, mode]
        with untyped.insecure_channel(f"127.0.0.1:{port}") as plain:
            error = failed(partial(plain.unary_unary("/ratings/UU"), b"", timeout=10))
        if mode == "STRICT":
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        else:
            assert error.details() == "RBAC: access denied"
