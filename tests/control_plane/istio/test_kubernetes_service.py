"""Kubernetes' Service, with EndpointSlices, Endpoints and Pods."""

import pytest

from meshsdk.control_plane.istio.kubernetes_service import port_protocol
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.services import Service

SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: cart}
  ports:
  - {name: http, port: 80, targetPort: web}
  - {name: raw, port: 7000, protocol: TCP, appProtocol: tcp}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-x, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: cart-1}}
- {addresses: [10.0.0.2], conditions: {ready: false}}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: cart-1
  namespace: shop
  labels: {app: cart, version: v1, security.istio.io/tlsMode: istio}
spec:
  serviceAccountName: cart
  containers: [{name: app, ports: [{name: web, containerPort: 8080}]}]
status: {podIP: 10.0.0.1}
"""


def _service(*texts: str) -> Service:
    loaded = load({str(i): text for i, text in enumerate(texts)})
    assert not loaded.errors, loaded.errors
    [service] = build_registry(loaded).services
    return service


@pytest.mark.parametrize(
    ("number", "name", "protocol", "app_protocol", "expected"),
    [
        (80, "http", "TCP", "", "HTTP"),
        (80, "http-web", "TCP", "", "HTTP"),
        (80, "grpc-web-x", "TCP", "", "GRPC_WEB"),
        (80, "web", "TCP", "", "AUTO"),
        (80, "web", "TCP", "kubernetes.io/h2c", "HTTP2"),
        (80, "http", "TCP", "tcp", "TCP"),
        (53, "dns", "UDP", "http", "UDP"),
        (3306, "db", "TCP", "", "TCP"),
    ],
)
def test_the_protocol_of_a_port(
    number: int, name: str, protocol: str, app_protocol: str, expected: str
) -> None:
    assert port_protocol(number, name, protocol, app_protocol) == expected


def test_endpoints_come_from_slices_and_who_they_are_from_pods() -> None:
    service = _service(SERVICE, SLICE, POD)

    assert service.hostname == "cart.shop.svc.cluster.local"
    assert (service.name, service.addresses) == ("cart", ("10.96.0.1",))
    [endpoint] = service.endpoints
    assert (endpoint.address, endpoint.ports, endpoint.has_mtls) == ("10.0.0.1", {80: 8080}, True)
    assert service.service_accounts == (("shop", "cart"),)


def test_without_slices_the_ready_pods_are_the_endpoints() -> None:
    [endpoint] = _service(SERVICE, POD).endpoints

    assert endpoint.ports == {80: 8080, 7000: 7000}


def test_a_headless_service_is_what_the_caller_dialled() -> None:
    service = _service(SERVICE.replace("10.96.0.1", "None"), SLICE)

    assert (service.resolution, service.addresses, service.is_headless) == ("NONE", (), True)


def test_an_external_name_is_resolved() -> None:
    text = SERVICE.replace("clusterIP: 10.96.0.1", "type: ExternalName\n  externalName: db.example")
    service = _service(text)

    assert service.resolution == "DNS"
    assert [each.address for each in service.endpoints] == ["db.example"]
    assert service.is_external


def test_the_annotation_narrows_who_sees_it() -> None:
    text = SERVICE.replace(
        "namespace: shop}", "namespace: shop, annotations: {networking.istio.io/exportTo: .}}"
    )
    service = _service(text)

    assert service.is_visible_in("shop")
    assert not service.is_visible_in("front")
