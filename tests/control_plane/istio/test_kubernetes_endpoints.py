"""Endpoints."""

from meshsdk.control_plane.istio.kubernetes_endpoints import KubernetesEndpoints
from meshsdk.control_plane.istio.loader import load

TEXT = """\
apiVersion: v1
kind: Endpoints
metadata: {name: cart, namespace: shop}
subsets:
- addresses: [{ip: 10.0.0.1, targetRef: {kind: Pod, name: cart-1}}]
  notReadyAddresses: [{ip: 10.0.0.2}]
  ports: [{name: http, port: 8080}]
"""


def test_a_subset_is_a_slice() -> None:
    [found] = load({"a.yaml": TEXT}).all(KubernetesEndpoints)

    [one] = found.slices
    assert (one.service, one.ports) == ("cart", {"http": 8080})
    assert [(each.addresses, each.is_ready) for each in one.endpoints] == [
        (("10.0.0.1",), True),
        (("10.0.0.2",), False),
    ]
