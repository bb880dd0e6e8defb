"""Gateway: refusals, and what a proxy of type `router` gets."""

import pytest

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import message, messages
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.translate import NodeState, translate
from meshsdk.control_plane.shapes.tls import Json
from tests import recorded_inputs, recordings

_NODE = {
    "id": "router~10.0.0.1~gw.edge~edge.svc.cluster.local",
    "metadata": {"LABELS": {"istio": "gw"}},
}


def _text(servers: str) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gw, namespace: edge}}
spec: {{selector: {{istio: gw}}, servers: {servers}}}
---
"""


def _rule(spec: str) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs, namespace: edge}}
spec: {spec}
---
"""


def _state(*texts: str) -> NodeState:
    loaded = load({"a.yaml": "".join(texts)})
    assert not loaded.errors
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    return translate(config, parse_proxy(_NODE))


_HTTP = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.com], %s}"


@pytest.mark.parametrize(
    ("servers", "problem"),
    [
        ("[]", "spec.servers: expected at least 1"),
        ("[{port: {number: 80, name: a, protocol: X}, hosts: [a]}]", "unknown protocol 'X'"),
        ("[{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a]}]", "expected tls for"),
        (
            "[{port: {number: 443, name: a, protocol: HTTPS}, hosts: [a], tls: {mode: SIMPLE}}]",
            "expected credentialName, or serverCertificate",
        ),
        (
            "[{port: {number: 443, name: a, protocol: TLS}, hosts: [a],"
            " tls: {mode: AUTO_PASSTHROUGH}}]",
            "AUTO_PASSTHROUGH is not built",
        ),
        ("[{port: {number: 80, name: a, protocol: HTTP}}]", "expected hosts, found none"),
    ],
)
def test_what_istiod_refuses_is_refused(servers: str, problem: str) -> None:
    errors = load({"a.yaml": _text(servers)}).errors

    assert problem in "\n".join(map(str, errors))


def test_a_gateway_gets_what_istiod_gave_it() -> None:
    folder, node = "01-seed-mesh", "router-istio-ingressgateway"
    recorded = recordings.state(folder, node)
    loaded = load(recorded_inputs.inputs(folder))
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))

    found = translate(config, parse_proxy(recordings.node(folder, node)))

    assert found.listeners == recorded["LDS"]
    assert found.routes == recorded["RDS"]
    assert found.clusters.keys() == recorded["CDS"].keys()


def test_a_virtual_service_is_bound_by_its_gateway_and_hosts() -> None:
    rule = "{hosts: ['*.com'], gateways: [gw], http: [{route: [{destination: {host: b.com}}]}]}"

    state = _state(_text(f"[{_HTTP % 'bind: 0.0.0.0'}]"), _rule(rule))

    (host,) = messages(state.routes["http.80.0.0.0.0"]["virtual_hosts"])
    assert host["domains"] == ["a.com"]
    (route,) = messages(host["routes"])
    assert message(route["route"])["cluster"] == "outbound|80||b.com"


def test_a_redirect_to_https_needs_no_route() -> None:
    state = _state(_text(f"[{_HTTP % 'tls: {httpsRedirect: true}'}]"))

    (host,) = messages(state.routes["http.80"]["virtual_hosts"])
    assert (host["domains"], host["require_tls"]) == (["a.com"], "ALL")


def test_passed_tls_is_told_apart_by_server_names() -> None:
    server = "{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.com], tls: {}}"
    rule = """{hosts: [a.com], gateways: [gw], tls: [
        {match: [{sniHosts: [a.com]}], route: [{destination: {host: b.com, port: {number: 1}}}]}]}
    """

    state = _state(_text(f"[{server}]"), _rule(rule))

    (chain,) = messages(state.listeners["0.0.0.0_443"]["filter_chains"])
    assert chain["filter_chain_match"] == {"server_names": ["a.com"]}
    assert _cluster(chain) == "outbound|1||b.com"
    assert "transport_socket" not in chain


def test_a_gateway_is_not_given_the_routes_of_one_at_another_port() -> None:
    service = """\
apiVersion: v1
kind: Service
metadata: {name: gw, namespace: edge}
spec: {ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: gw, namespace: edge}
subsets:
- {ports: [{name: http, port: 8080}], addresses: [{ip: 10.0.0.1, targetRef: {name: gw}}]}
---
apiVersion: v1
kind: Pod
metadata: {name: gw, namespace: edge, labels: {istio: gw}}
status: {podIP: 10.0.0.1}
---
"""
    rule = "{hosts: ['*.com'], gateways: [gw], http: [{route: [{destination: {host: b.com}}]}]}"
    loaded = load({"a.yaml": service + _text(f"[{_HTTP % ''}]") + _rule(rule)})
    assert not loaded.errors
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    other = {**_NODE, "id": "router~10.0.0.2~gw-2.edge~edge.svc.cluster.local"}

    before = translate(config, parse_proxy(other), routes=["http.8080"])
    found = translate(config, parse_proxy(_NODE))

    assert list(before.listeners) == ["0.0.0.0_80"], "it is behind no Service"
    assert list(found.listeners) == ["0.0.0.0_8080"]
    (host,) = messages(found.routes["http.8080"]["virtual_hosts"])
    assert host["domains"] == ["a.com"]


def _cluster(chain: Json) -> object:
    return message(messages(chain["filters"])[-1]["typed_config"])["cluster"]
