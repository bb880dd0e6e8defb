"""Outbound listeners and routes: what a real istiod 1.29.6 made of the same YAML."""

import json
from functools import cache
from typing import cast

import pytest

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.envoy_json import message, messages
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.outbound import outbound_listeners, outbound_routes
from meshsdk.control_plane.istio.proxies import Proxy, parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.scope import scope_of
from meshsdk.control_plane.istio.translate import translate
from meshsdk.control_plane.shapes.tls import Json
from tests import recorded_inputs, recordings
from tests.call_counts import python_calls

_ALLOCATING = "07-service-entry-egress/no-ip-autoallocate"  # its addresses are istiod's own hash
_NOT_BUILT = ("wasm", "wasm-authn")
_STATES = [
    (folder, node)
    for folder, node, _ in recordings.states()
    if node.startswith("sidecar-")
    and node.removeprefix("sidecar-") not in _NOT_BUILT
    and not folder.startswith(("11-updates", "12-ca", "14-debug", _ALLOCATING))
]


@pytest.mark.parametrize(("folder", "node"), _STATES)
def test_outbound_listeners_and_routes_are_those_of_istiod(folder: str, node: str) -> None:
    recorded = recordings.state(folder, node)
    config = _config(folder)
    proxy = config.registry.known(_proxy(folder, node))
    scope = scope_of(config, proxy)

    listeners = outbound_listeners(config, proxy, scope)
    routes = outbound_routes(config, proxy, scope, recorded["RDS"])

    expected = {
        name: listener
        for name, listener in recorded["LDS"].items()
        if listener["traffic_direction"] == "OUTBOUND"
    }
    assert _sorted(listeners) == _sorted(expected)
    assert _sorted(routes) == _sorted(recorded["RDS"])


@cache
def _config(folder: str) -> Config:
    texts = dict(recorded_inputs.inputs(folder))
    if folder.endswith("/mesh-defaults"):
        shared = recorded_inputs.inputs(folder.removesuffix("/mesh-defaults"))
        texts |= {name: text for name, text in shared.items() if name != "mesh.yaml"}
    loaded = load(texts)
    return Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))


def _proxy(folder: str, node: str) -> Proxy:
    return parse_proxy(recordings.node(folder, node))


def _sorted(value: object, field: str = "") -> object:
    """The same without an order that means nothing."""
    if isinstance(value, dict):
        return {
            name: _sorted(inner, name) for name, inner in message(cast("object", value)).items()
        }
    if isinstance(value, list):
        items = [_sorted(inner) for inner in cast("list[object]", value)]
        is_set = field in ("domains", "filter_chains", "virtual_hosts", "server_names")
        return sorted(items, key=_canonical) if is_set else items
    return value


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: shop}
spec: {hosts: [%s], addresses: [%s], ports: [{number: %d, name: p, protocol: %s}],
       resolution: STATIC}
---
"""


def _listeners(*services: tuple[str, str, int, str]) -> dict[str, Json]:
    text = "".join(
        _SERVICE % (f"s{i}", host, address, port, protocol)
        for i, (host, address, port, protocol) in enumerate(services)
    )
    loaded = load({"a.yaml": text})
    assert not loaded.errors
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local"})
    return outbound_listeners(config, proxy, scope_of(config, proxy))


def _clusters(listener: Json) -> list[object]:
    ends = [messages(chain["filters"])[-1] for chain in messages(listener["filter_chains"])]
    return [message(end["typed_config"]).get("cluster") for end in ends]


def test_the_older_of_two_services_has_the_address() -> None:
    found = _listeners(("a.com", "10.1.1.1", 90, "TCP"), ("b.com", "10.1.1.1", 90, "TCP"))

    assert _clusters(found["10.1.1.1_90"]) == ["outbound|90||a.com"]


def test_http_and_bytes_on_one_address_are_told_apart_by_the_first_bytes() -> None:
    found = _listeners(("a.com", "", 90, "HTTP"), ("b.com", "0.0.0.0/1", 90, "TCP"))

    listener = found["0.0.0.0_90"]

    chains = messages(listener["filter_chains"])
    assert [sorted(message(chain["filter_chain_match"])) for chain in chains] == [
        ["application_protocols", "transport_protocol"],
        ["prefix_ranges"],
    ]


def _domains(dns_domain: str, *services: tuple[str, str, int, str]) -> dict[str, list[str]]:
    text = "".join(
        _SERVICE % (f"s{i}", host, address, port, protocol)
        for i, (host, address, port, protocol) in enumerate(services)
    )
    loaded = load({"a.yaml": text})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": f"sidecar~10.0.0.1~a.shop~{dns_domain}"})
    found = outbound_routes(config, proxy, scope_of(config, proxy), ["80"])["80"]
    hosts = messages(found["virtual_hosts"])
    return {str(host["name"]): cast("list[str]", host["domains"]) for host in hosts}


def test_short_names_are_those_of_the_callers_own_search_path() -> None:
    service = ("a.shop.svc.cluster.local", "10.1.1.1", 80, "HTTP")

    near = _domains("shop.svc.cluster.local", service)["a.shop.svc.cluster.local:80"]
    far = _domains("other.svc.cluster.local", service)["a.shop.svc.cluster.local:80"]

    whole = ["a.shop.svc.cluster.local", "a.shop.svc.cluster.local."]
    assert near == [*whole, "a", "a.shop.svc", "a.shop", "10.1.1.1"]
    assert far == [*whole, "a.shop", "a.shop.svc", "10.1.1.1"]


def test_a_domain_is_the_first_ones_alone() -> None:
    found = _domains(
        "shop.svc.cluster.local",
        ("a.com", "10.1.1.1", 80, "HTTP"),
        ("b.com", "10.1.1.1", 80, "HTTP"),
    )

    assert found["a.com:80"] == ["a.com", "a.com.", "10.1.1.1"]
    assert found["b.com:80"] == ["b.com", "b.com."]


def test_services_without_protocol_on_one_address_share_its_listener() -> None:
    found = _listeners(("a.com", "10.1.1.1", 90, "TCP"), ("b.com", "10.1.1.1", 90, "''"))

    chains = messages(found["10.1.1.1_90"]["filter_chains"])
    assert len(chains) == 1, "HTTP of b.com by its first bytes"
    default = message(found["10.1.1.1_90"]["default_filter_chain"])
    end = messages(default["filters"])[-1]
    assert message(end["typed_config"])["cluster"] == "outbound|90||a.com"


def test_two_documents_of_one_host_are_one_service_with_the_ports_of_both() -> None:
    documents = "".join(
        _SERVICE % (f"s{port}", "a.com", address, port, protocol)
        for address, port, protocol in (("10.1.1.1", 80, "HTTP"), ("10.1.1.1", 90, "TCP"))
    )
    loaded = load({"a.yaml": documents})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local"})

    state = translate(config, proxy)

    assert {"outbound|80||a.com", "outbound|90||a.com"} <= state.clusters.keys()
    assert {"0.0.0.0_80", "10.1.1.1_90"} <= state.listeners.keys()


def _calls_for_sniffed(count: int) -> int:
    """Python calls that the route configurations of services without protocol take."""
    text = "".join(_SERVICE % (f"s{i}", f"s{i}.com", f"10.1.1.{i}", 90, "''") for i in range(count))
    loaded = load({"a.yaml": text})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local"})
    scope = scope_of(config, proxy)
    names = [f"s{i}.com:90" for i in range(count)]
    found: dict[str, Json] = {}

    calls = python_calls(lambda: found.update(outbound_routes(config, proxy, scope, names)))

    hosts = [messages(each["virtual_hosts"]) for each in found.values()]
    assert [(one["name"], one["domains"]) for [one] in hosts] == [(name, ["*"]) for name in names]
    return calls


def test_routes_of_sniffed_services_cost_no_square_of_their_number() -> None:
    assert _calls_for_sniffed(40) < 5 * _calls_for_sniffed(10)
