"""What nodes that see the mesh alike have in common is worked out once."""

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.translate import NodeState, translate

_ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.7}]
"""
_CLUSTER = "outbound|80||cart.shop.svc.cluster.local"


def config() -> Config:
    loaded = load({"a.yaml": _ENTRY})
    assert not loaded.errors
    return Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))


def state(
    given: Config, name: str, ip: str = "10.0.0.1", namespace: str = "shop", **metadata: object
) -> NodeState:
    domain = f"{namespace}.svc.cluster.local"
    node = {
        "id": f"sidecar~{ip}~{name}.{namespace}~{domain}",
        "metadata": {"NAMESPACE": namespace, "NAME": name, "INSTANCE_IPS": ip, **metadata},
    }
    return translate(given, parse_proxy(node))


def test_pods_of_a_workload_share_what_they_see() -> None:
    shared = config()

    one, two = state(shared, "a-1", "10.0.0.1"), state(shared, "a-2", "10.0.0.2")

    assert one.clusters[_CLUSTER] is two.clusters[_CLUSTER]
    assert one.endpoints[_CLUSTER] is two.endpoints[_CLUSTER]
    assert one.routes["80"] is two.routes["80"]
    assert two == state(config(), "a-2", "10.0.0.2"), "the first one's view is no other"


def test_what_a_node_says_of_itself_gives_it_a_view_of_its_own() -> None:
    shared = config()
    state(shared, "a-1")

    state(shared, "b-1", namespace="other")
    state(shared, "b-1", LABELS={"app": "b"})
    state(shared, "b-1", "fd00::1")
    state(shared, "b-1", CLUSTER_ID="west")
    state(shared, "b-1", NETWORK="west")

    assert len(shared.views) == 6


def test_routes_that_one_asks_for_are_not_pushed_on_the_others() -> None:
    shared = config()
    node = {"id": "sidecar~10.0.0.1~a-1.shop~shop.svc.cluster.local"}
    asking = translate(shared, parse_proxy(node), routes=["9999"])

    assert "9999" in asking.routes
    assert "9999" not in translate(shared, parse_proxy(node)).routes
