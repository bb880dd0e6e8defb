"""WorkloadEntry: refusals, whom services select, and which node it is."""

from collections.abc import Mapping

import pytest

from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import Proxy, parse_proxy
from meshsdk.control_plane.istio.registry import Registry
from meshsdk.control_plane.istio.registry_build import build_registry

SERVICE = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: cart}}
"""


def _entry(name: str, spec: str) -> str:
    return f"""\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: {name}, namespace: shop}}
spec: {spec}
"""


def _registry(entries: Mapping[str, str]) -> Registry:
    loaded = load({"s": SERVICE, **{name: _entry(name, spec) for name, spec in entries.items()}})
    assert not loaded.errors
    return build_registry(loaded)


def _proxy(name: str, address: str = "127.0.0.1") -> Proxy:
    return parse_proxy({"id": f"sidecar~{address}~{name}.shop~shop.svc.cluster.local"})


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("{labels: {}}", "expected address, found none"),
        ("{address: a b}", "expected an IP address"),
        ("{address: unix://x}", "expected an absolute path"),
        ("{address: unix:///x, ports: {a: 1}}", "a unix socket has no ports"),
        ("{address: 1.1.1.1, ports: {a: 0}}", "expected at least 1"),
        ("{adress: 1.1.1.1}", "unknown field, did you mean address?"),
    ],
)
def test_what_istiod_refuses_is_refused(spec: str, problem: str) -> None:
    errors = load({"a.yaml": _entry("a", spec)}).errors

    assert problem in "\n".join(map(str, errors))


def test_its_own_port_goes_before_the_services_target_port() -> None:
    labels = "labels: {app: cart}"
    registry = _registry(
        {
            "a": f"{{address: 10.0.0.1, {labels}}}",
            "b": f"{{address: 10.0.0.2, {labels}, ports: {{http: 9090}}}}",
            "c": "{address: 10.0.0.3, labels: {app: other}}",
        }
    )

    endpoints = registry.services[0].endpoints

    assert {each.address: each.ports[80] for each in endpoints} == {
        "10.0.0.1": 8080,
        "10.0.0.2": 9090,
    }


def test_an_account_counts_as_mtls_unless_the_label_denies_it() -> None:
    registry = _registry(
        {
            "a": "{address: 10.0.0.1, labels: {app: cart}, serviceAccount: cart}",
            "b": "{address: 10.0.0.2, labels: {app: cart}}",
            "c": "{address: 10.0.0.3, serviceAccount: cart,"
            " labels: {app: cart, security.istio.io/tlsMode: disabled}}",
        }
    )

    endpoints = registry.services[0].endpoints

    assert [each.has_mtls for each in endpoints] == [True, False, False]


def test_nodes_that_share_an_address_are_told_apart_by_name() -> None:
    registry = _registry(
        {
            "cart-1": "{address: 127.0.0.1, labels: {app: cart}, ports: {http: 9001}}",
            "cart-2": "{address: 127.0.0.1, labels: {app: cart}, ports: {http: 9002}}",
        }
    )

    ports = {
        name: [target.target_port for target in registry.targets_of(_proxy(name))]
        for name in ("cart-1", "cart-2")
    }

    assert ports == {"cart-1": [9001], "cart-2": [9002]}


def test_an_address_counts_where_one_entry_has_it() -> None:
    registry = _registry({"cart-1": "{address: 10.0.0.1, labels: {app: cart}}"})

    known = registry.known(_proxy("another", "10.0.0.1"))

    assert known.labels == {"app": "cart"}
    assert registry.workload_of(_proxy("another", "10.0.0.2")) is None
