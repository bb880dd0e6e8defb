"""EndpointSlice."""

from meshsdk.control_plane.istio.endpoint_slice import EndpointSlice
from meshsdk.control_plane.istio.loader import load

TEXT = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-x, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: cart-1}, zone: a}
- {addresses: [10.0.0.2], conditions: {ready: false}}
"""


def test_readiness_is_true_unless_it_is_said_to_be_false() -> None:
    [found] = load({"a.yaml": TEXT}).all(EndpointSlice)

    assert (found.service, found.ports) == ("cart", {"http": 8080})
    assert [(each.is_ready, each.pod) for each in found.endpoints] == [
        (True, "cart-1"),
        (False, ""),
    ]


def test_an_unknown_field_of_the_document_is_an_error() -> None:
    errors = load({"a.yaml": TEXT.replace("endpoints:", "endpoint:")}).errors

    assert "did you mean endpoints?" in str(errors[0])
