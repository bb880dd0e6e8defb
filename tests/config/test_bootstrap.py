"""Where the control plane is, as gRPC's bootstrap file or Istio's environment say it."""

import json
from pathlib import Path

import pytest

from meshsdk import ConfigError, Mesh, UsageError
from meshsdk.config.bootstrap import (
    Bootstrap,
    CertificateFiles,
    Node,
    from_istio_environment,
    parse_grpc_bootstrap,
)

Json = dict[str, object]

SERVER: Json = {"server_uri": "istiod:15012", "channel_creds": [{"type": "tls"}]}
POD = {"POD_NAME": "web-1", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7"}


def parsed(data: Json) -> Bootstrap:
    return parse_grpc_bootstrap(json.dumps(data), "bootstrap.json")


def test_a_grpc_bootstrap_names_server_node_and_certificates() -> None:
    found = parsed(
        {
            "xds_servers": [SERVER],
            "node": {
                "id": "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local",
                "metadata": {"GENERATOR": "grpc", "NAMESPACE": "shop"},
                "locality": {"region": "eu", "zone": "eu-1"},
            },
            "certificate_providers": {
                "other": {"plugin_name": "custom"},
                "default": {
                    "plugin_name": "file_watcher",
                    "config": {
                        "certificate_file": "/c",
                        "private_key_file": "/k",
                        "ca_certificate_file": "/r",
                    },
                },
            },
        }
    )

    assert found.servers[0].target == "istiod:15012"
    assert found.servers[0].credentials.tls
    assert found.mode == "sidecar"
    assert found.node.metadata == {"NAMESPACE": "shop"}
    assert found.node.locality == {"region": "eu", "zone": "eu-1"}
    assert (found.node.namespace, found.node.dns_domain, found.node.address) == (
        "shop",
        "cluster.local",
        "10.0.0.7",
    )
    assert found.files == CertificateFiles("/c", "/k", "/r")


def test_the_first_credentials_that_we_know_are_taken() -> None:
    found = parsed(
        {
            "xds_servers": [
                {"server_uri": "x:1", "channel_creds": [{"type": "novel"}, {"type": "insecure"}]}
            ]
        }
    )

    assert not found.servers[0].credentials.tls
    assert found.mode == "proxyless"


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({}, r"xds_servers"),
        ({"xds_servers": []}, r"xds_servers"),
        ({"xds_servers": [{"channel_creds": [{"type": "tls"}]}]}, r"xds_servers\[0\]\.server_uri"),
        ({"xds_servers": [{"server_uri": "x:1"}]}, r"xds_servers\[0\]\.channel_creds"),
        (
            {"xds_servers": [{"server_uri": "x:1", "channel_creds": [{"type": "novel"}]}]},
            r"channel_creds.*insecure, tls, google_default",
        ),
        (
            {
                "xds_servers": [SERVER],
                "certificate_providers": {"d": {"plugin_name": "file_watcher", "config": {}}},
            },
            r"certificate_providers\[d\]\.config\.certificate_file",
        ),
    ],
)
def test_a_bootstrap_that_says_too_little_is_refused_by_place(data: Json, where: str) -> None:
    with pytest.raises(ConfigError, match=rf"bootstrap\.json.*{where}"):
        parsed(data)


@pytest.mark.parametrize("text", ["", "[]", "{", "null"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected"):
        parse_grpc_bootstrap(text, "bootstrap.json")


def test_a_bootstrap_without_servers_is_none() -> None:
    with pytest.raises(ConfigError, match=r"bootstrap\.servers: expected at least one server"):
        Bootstrap((), Node("sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local"))


def test_an_empty_variable_of_a_file_is_as_good_as_none() -> None:
    paths = ("XDS_ROOT_CA", "CA_ROOT_CA", "MESHSDK_TOKEN_FILE")

    assert from_istio_environment(dict.fromkeys(paths, "") | POD) == from_istio_environment(POD)


def test_istios_variables_make_the_node_that_istiod_knows() -> None:
    found = from_istio_environment(
        {
            **POD,
            "PROXY_CONFIG": '{"discoveryAddress": "istiod.prod:15012"}',
            "SERVICE_ACCOUNT": "web",
            "ISTIO_META_CLUSTER_ID": "east",
            "ISTIO_METAJSON_LABELS": '{"app": "web"}',
            "ISTIO_META_WORKLOAD_NAME": "web",
            "CA_ADDR": "ca:15012",
        }
    )

    assert found is not None
    [server] = found.servers
    assert server.target == "istiod.prod:15012"
    assert server.credentials.token_file.endswith("istio-token")
    assert ("clusterid", "east") in server.credentials.metadata
    assert found.ca is not None
    assert found.ca.target == "ca:15012"
    assert found.node.id == "sidecar~10.0.0.7~web-1.shop~shop.svc.cluster.local"
    assert found.node.cluster == "web.shop"
    assert found.node.metadata["LABELS"] == {"app": "web"}
    assert found.node.metadata["SERVICE_ACCOUNT"] == "web"


@pytest.mark.parametrize("missing", sorted(POD))
def test_without_a_pod_there_is_no_istio(missing: str) -> None:
    assert from_istio_environment({k: v for k, v in POD.items() if k != missing}) is None


def test_a_proxy_config_that_is_no_json_is_refused() -> None:
    with pytest.raises(ConfigError, match="PROXY_CONFIG"):
        from_istio_environment({**POD, "PROXY_CONFIG": "a: b"})


def test_a_bootstrap_file_that_is_not_there_is_an_error_of_the_mesh(tmp_path: Path) -> None:
    for make in (Mesh.connect, Mesh.static):
        with pytest.raises(ConfigError, match=r"absent\.json"):
            make(tmp_path / "absent.json")


def test_without_a_word_of_a_control_plane_connect_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("GRPC_XDS_BOOTSTRAP", "GRPC_XDS_BOOTSTRAP_CONFIG", *POD):
        monkeypatch.delenv(name, raising=False)

    with pytest.raises(UsageError, match="GRPC_XDS_BOOTSTRAP"):
        Mesh.connect()


def test_the_environment_may_hold_the_bootstrap_or_name_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "bootstrap.json"
    file.write_text(json.dumps({"xds_servers": [SERVER], "node": {"id": "n"}}))
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP", str(file))
    Mesh.connect().close()
    monkeypatch.delenv("GRPC_XDS_BOOTSTRAP")
    monkeypatch.setenv("GRPC_XDS_BOOTSTRAP_CONFIG", "{}")

    with pytest.raises(ConfigError, match="GRPC_XDS_BOOTSTRAP_CONFIG"):
        Mesh.connect()
