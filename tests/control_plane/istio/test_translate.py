"""What no recording shows: mesh settings, Kubernetes services, the limits of auto-mTLS."""

import gc
import weakref
from typing import Any

import pytest

from meshsdk.control_plane.istio.authn import KeySets
from meshsdk.control_plane.istio.clusters import outbound_clusters
from meshsdk.control_plane.istio.config import Config
from meshsdk.control_plane.istio.inbound import inbound_clusters
from meshsdk.control_plane.istio.loader import load
from meshsdk.control_plane.istio.proxies import parse_proxy
from meshsdk.control_plane.istio.registry_build import build_registry
from meshsdk.control_plane.istio.scope import scope_of
from meshsdk.control_plane.istio.translate import translate
from meshsdk.errors import ConfigError
from tests.call_counts import python_calls

CART = "cart.shop.svc.cluster.local"
CLUSTER = f"outbound|80||{CART}"
ENTRIES = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: cart}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart-1, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: cart}, serviceAccount: cart}
"""


def _peers(mode: str, *, selector: str = "", namespace: str = "shop") -> str:
    return f"""\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: p, namespace: {namespace}}}
spec: {{{selector} mtls: {{mode: {mode}}}}}
"""


def _dump(*texts: str, node: str = "cart-1", address: str = "10.0.0.1") -> Any:
    loaded = load({str(i): text for i, text in enumerate(texts)})
    assert not loaded.errors, [str(each) for each in loaded.errors]
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": f"sidecar~{address}~{node}.shop~shop.svc.cluster.local"})
    return translate(config, proxy).dump()


def _names(cluster: Any) -> list[str]:
    common = _context(cluster)["common_tls_context"]
    validation = common["combined_validation_context"]["default_validation_context"]
    return [each["exact"] for each in validation["match_subject_alt_names"]]


def _context(cluster: Any) -> Any:
    return cluster["transport_socket_matches"][0]["transport_socket"]["typed_config"]


def _tls_modes(assignment: Any) -> list[bool]:
    return [
        "envoy.transport_socket_match" in endpoint["metadata"]["filter_metadata"]
        for locality in assignment["endpoints"]
        for endpoint in locality["lb_endpoints"]
    ]


def test_accounts_of_every_trust_domain_may_answer_and_call() -> None:
    state = _dump(ENTRIES, "trustDomain: one\ntrustDomainAliases: [two]")

    assert _names(state["CDS"][CLUSTER]) == [
        "spiffe://one/ns/shop/sa/cart",
        "spiffe://two/ns/shop/sa/cart",
    ]
    [tls] = [
        chain["transport_socket"]["typed_config"]
        for chain in state["LDS"]["virtualInbound"]["filter_chains"]
        if chain["filter_chain_match"].get("destination_port") == 8080
        and "transport_socket" in chain
    ]
    validation = tls["common_tls_context"]["combined_validation_context"]
    assert validation["default_validation_context"]["match_subject_alt_names"] == [
        {"prefix": "spiffe://one/"},
        {"prefix": "spiffe://two/"},
    ]


def test_without_auto_mtls_there_is_no_tls() -> None:
    cluster = _dump(ENTRIES, "enableAutoMtls: false")["CDS"][CLUSTER]

    assert not {"transport_socket", "transport_socket_matches"} & set(cluster)


def test_a_namespace_without_mtls_is_called_without() -> None:
    state = _dump(ENTRIES, _peers("DISABLE"))

    assert "transport_socket_matches" not in state["CDS"][CLUSTER]
    assert _tls_modes(state["EDS"][CLUSTER]) == [False]


def test_a_workload_without_mtls_says_so_by_its_endpoint_only() -> None:
    selector = "selector: {matchLabels: {app: cart}},"
    state = _dump(ENTRIES, _peers("DISABLE", selector=selector))

    assert "transport_socket_matches" in state["CDS"][CLUSTER]
    assert _tls_modes(state["EDS"][CLUSTER]) == [False]


def test_the_mesh_names_the_least_version_of_tls() -> None:
    state = _dump(ENTRIES, "meshMTLS: {minProtocolVersion: TLSV1_3}")

    versions = {
        chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_params"][
            "tls_minimum_protocol_version"
        ]
        for chain in state["LDS"]["virtualInbound"]["filter_chains"]
        if "transport_socket" in chain
    }
    assert versions == {"TLSv1_3"}


def test_inbound_traffic_may_be_sent_to_loopback() -> None:
    cluster = _dump(ENTRIES, "inboundTrafficPolicy: {mode: LOCALHOST}")["CDS"]["inbound|8080||"]

    assert cluster["type"] == "STATIC"
    [locality] = cluster["load_assignment"]["endpoints"]
    address = locality["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "127.0.0.1", "port_value": 8080}


def test_keepalive_of_the_mesh_and_of_a_rule_are_one() -> None:
    rule = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 5s}}}}
"""
    cluster = _dump(ENTRIES, rule, "tcpKeepalive: {probes: 3, time: 60s}")["CDS"][CLUSTER]

    assert cluster["upstream_connection_options"]["tcp_keepalive"] == {
        "keepalive_probes": 3,
        "keepalive_time": 5,
    }


def test_a_secret_is_for_the_callers_that_a_rule_selects() -> None:
    rule = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  workloadSelector: {matchLabels: {app: cart}}
  trafficPolicy: {tls: {mode: MUTUAL, credentialName: partner}}
"""
    other = rule.replace("  workloadSelector: {matchLabels: {app: cart}}\n", "")

    selected, rest = (_dump(ENTRIES, each)["CDS"][CLUSTER] for each in (rule, other))

    common = selected["transport_socket"]["typed_config"]["common_tls_context"]
    secrets = common["tls_certificate_sds_secret_configs"]
    assert [each["name"] for each in secrets] == ["kubernetes://partner"]
    assert secrets[0]["sds_config"]["ads"] == {}
    assert "transport_socket" not in rest


def test_entries_of_one_host_are_one_service() -> None:
    second = (
        ENTRIES.split("---")[0]
        .replace("name: cart,", "name: more,")
        .replace("number: 80, name: http", "number: 81, name: other")
    )

    state = _dump(ENTRIES, second)

    assert {CLUSTER, f"outbound|81||{CART}"} <= set(state["CDS"])


def test_a_kubernetes_service_has_both_sides() -> None:
    service = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web, security.istio.io/tlsMode: istio}}
spec: {serviceAccountName: web}
status: {podIP: 10.0.0.7}
"""
    host = "web.shop.svc.cluster.local"
    state = _dump(service, node="web-1", address="10.0.0.7")

    assert _names(state["CDS"][f"outbound|80||{host}"]) == ["spiffe://cluster.local/ns/shop/sa/web"]
    assert _tls_modes(state["EDS"][f"outbound|80||{host}"]) == [True]
    assert "inbound|8080||" in state["CDS"]
    assert state["NDS"][""]["table"][host] == {
        "ips": ["10.96.0.9"],
        "registry": "Kubernetes",
        "shortname": "web",
        "namespace": "shop",
    }


def test_nobody_can_take_the_name_of_a_kubernetes_service() -> None:
    squatter = ENTRIES.replace("cart.shop.svc", "web.shop.svc").replace("shop}", "aaa}")
    service = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}
"""

    state = _dump(squatter, service)

    metadata = state["CDS"]["outbound|80||web.shop.svc.cluster.local"]["metadata"]
    assert metadata["filter_metadata"]["istio"]["services"][0]["namespace"] == "shop"


def test_a_remembered_service_keeps_its_id_for_itself() -> None:
    sidecar = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s, namespace: shop}
spec: {egress: [{port: {number: 80, protocol: HTTP}, hosts: ["*/*"]}]}
"""
    loaded = load({"a.yaml": ENTRIES, "b.yaml": sidecar})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": "sidecar~10.0.0.1~a.shop~shop.svc.cluster.local"})
    scope = scope_of(config, proxy)
    outbound_clusters(config, proxy, scope)
    [narrowed] = (weakref.ref(each) for each in scope.services)

    del scope
    gc.collect()

    assert narrowed() is not None


@pytest.mark.parametrize(
    "node_id",
    [
        "",
        "sidecar~1.1.1.1~a.b",
        "ztunnel~1.1.1.1~a.b~c",
        "sidecar~~a.b~c",
        "sidecar~x~a.b~c",
        f"sidecar~fe80::1%{'z' * 99}~a.b~c",
    ],
)
def test_a_node_id_that_istiod_would_refuse_is_refused(node_id: str) -> None:
    with pytest.raises(ConfigError, match=r"node\.id"):
        parse_proxy({"id": node_id})


@pytest.mark.parametrize(
    ("ips", "addresses"),
    [
        ("10.0.0.2,::2", ("10.0.0.2", "::2")),
        (",", ("10.0.0.1",)),
        ("10.0.0.2,x", ("10.0.0.1",)),
        ("", ("10.0.0.1",)),
    ],
)
def test_a_node_has_the_addresses_of_its_id_where_it_names_no_good_others(
    ips: str, addresses: tuple[str, ...]
) -> None:
    node = {"id": "sidecar~10.0.0.1~a.b~c", "metadata": {"INSTANCE_IPS": ips}}

    assert parse_proxy(node).addresses == addresses


def _calls_for_ports(count: int) -> int:
    """Python calls that the inbound clusters of a pod take, each port behind its own Service."""
    services = "".join(
        f"""\
apiVersion: v1
kind: Service
metadata: {{name: web-{i}, namespace: shop}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: {8000 + i}}}]}}
---
"""
        for i in range(count)
    )
    pod = """\
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
status: {podIP: 10.0.0.1}
"""
    loaded = load({"a.yaml": services + pod})
    config = Config(loaded, build_registry(loaded), KeySets(lambda _: None, "{}"))
    proxy = parse_proxy({"id": "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local"})
    scope = scope_of(config, proxy)
    found: dict[str, Any] = {}

    calls = python_calls(lambda: found.update(inbound_clusters(config, proxy, scope)))

    assert len(found) == count
    return calls


def test_inbound_clusters_cost_no_square_of_the_services_of_a_pod() -> None:
    assert _calls_for_ports(40) < 5 * _calls_for_ports(10)
