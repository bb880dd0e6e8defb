"""ProxyConfig: the document's names, and the settings in a node's metadata."""

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import message, messages
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.observed import observed
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.proxy_settings import ProxySettings, proxy_settings
from meshsdk.control_plane.istio.registry_build import build_registry


def _settings(mesh: str = "", **metadata: object) -> ProxySettings:
    loaded = load({"mesh.yaml": mesh})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    node = {"id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local", "metadata": metadata}
    return proxy_settings(config, parse_proxy(node))


def test_an_unknown_field_is_refused() -> None:
    text = """\
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: a}
spec: {concurency: 1}
"""

    (error,) = load({"a.yaml": text}).errors

    assert str(error) == "a.yaml:4:8: spec.concurency: unknown field, did you mean concurrency?"


def test_a_nodes_own_settings_go_before_those_of_the_mesh() -> None:
    mesh = "defaultConfig: {proxyHeaders: {attemptCount: {disabled: true}}}"

    assert not _settings(mesh).counts_attempts
    assert _settings(mesh, PROXY_CONFIG={}).counts_attempts


def test_the_nodes_metadata_says_how_long_a_connection_may_be_idle() -> None:
    found = _settings(IDLE_TIMEOUT="30s")

    assert found.idle_timeout == "30s"
    assert found.fields["common_http_protocol_options"] == {"idle_timeout": "30s"}


def test_paths_are_normalized_as_the_mesh_says() -> None:
    mesh = "pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}"

    assert _settings(mesh).fields == {
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
    }


def test_a_gateway_believes_as_many_proxies_as_its_topology_says() -> None:
    topology = "{numTrustedProxies: 2, forwardClientCertDetails: SANITIZE}"
    mesh = f"defaultConfig: {{gatewayTopology: {topology}}}"

    assert _settings(mesh).gateway_fields == {
        "xff_num_trusted_hops": 2,
        "forward_client_cert_details": "SANITIZE",
    }


def test_envoys_own_headers_can_be_hidden() -> None:
    headers = "{envoyDebugHeaders: {disabled: true}}"
    loaded = load({"mesh.yaml": f"defaultConfig: {{proxyHeaders: {headers}}}"})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local"})
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": "router"}}

    manager = observed(config, proxy, "CLIENT").manager({"http_filters": [router]})

    (found,) = messages(message(manager["typed_config"])["http_filters"])
    assert found["typed_config"] == {"@type": "router", "suppress_envoy_headers": True}
