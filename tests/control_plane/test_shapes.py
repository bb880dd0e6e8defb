"""What the shapes make is what a real istiod sent, but for telemetry."""

from typing import Any, cast

import pytest

from meshsdk.control_plane.shapes import clusters, inbound, listeners, rbac, routes
from meshsdk.control_plane.shapes.tls import Json
from tests.recordings import state

SEED = state("01-seed-mesh", "frontend")
SERVICES = {
    "api-gateway.team-a.svc.cluster.local": "10.96.1.11",
    "api-service.team-a.svc.cluster.local": "10.96.1.12",
    "frontend.team-a.svc.cluster.local": "10.96.1.10",
    "istio-ingressgateway.istio-system.svc.cluster.local": "10.96.0.10",
    "order-service.orders.svc.cluster.local": "10.96.2.10",
    "payment-api.payments.svc.cluster.local": "10.96.3.11",
    "payment-service.payments.svc.cluster.local": "10.96.3.10",
    "user-service.users.svc.cluster.local": "10.96.4.10",
}
API = "api-service.team-a.svc.cluster.local"
USERS = "user-service.users.svc.cluster.local"


def without_telemetry(data: object) -> Any:
    if isinstance(data, list):
        return [without_telemetry(item) for item in cast("list[object]", data)]
    if not isinstance(data, dict):
        return data
    fields = cast("dict[str, object]", data)
    kept = fields.keys() - {"access_log", "tracing"}
    return {key: without_telemetry(fields[key]) for key in kept}


def recorded(kind: str, name: str) -> Any:
    return without_telemetry(SEED[kind][name])


def api_route() -> Json:
    weights = {clusters.cluster_name(API, 80, "stable"): 90}
    weights[clusters.cluster_name(API, 80, "canary")] = 10
    return routes.route(
        weights,
        operation="api-service:80/*",
        timeout="10s",
        retries=routes.retry_policy("5xx,reset,connect-failure", 3, "2s"),
        config="/apis/networking.istio.io/v1/namespaces/team-a/virtual-service/api-service",
    )


def test_a_route_configuration() -> None:
    def host(name: str, vip: str) -> Json:
        plain = routes.route(
            clusters.cluster_name(name, 80), operation=f"{name}:80/*", name="default"
        )
        found = api_route() if name == API else plain
        return routes.virtual_host(name, 80, vip, [found], caller_namespace="team-a")

    made = routes.route_configuration(
        "80", [host(name, vip) for name, vip in SERVICES.items()], allow_any=False
    )

    assert made == recorded("RDS", "80")


def test_a_cluster_with_auto_mtls() -> None:
    made = clusters.eds_cluster(
        USERS, 80, accounts=["spiffe://cluster.local/ns/users/sa/user-service"]
    )

    assert made == recorded("CDS", f"outbound|80||{USERS}")


def test_a_cluster_of_a_subset_with_a_destination_rule() -> None:
    made = clusters.eds_cluster(
        API,
        80,
        subset="canary",
        accounts=["spiffe://cluster.local/ns/team-a/sa/api-service"],
        config="/apis/networking.istio.io/v1/namespaces/team-a/destination-rule/api-service",
        max_connections=100,
        outlier_detection={
            "base_ejection_time": "30s",
            "consecutive_5xx": 5,
            "enforcing_consecutive_5xx": 100,
            "enforcing_success_rate": 0,
            "interval": "30s",
            "max_ejection_percent": 50,
        },
        http_protocol_options={
            "common_http_protocol_options": {"max_requests_per_connection": 10},
            "explicit_http_config": {"http_protocol_options": {}},
        },
    )

    assert made == recorded("CDS", f"outbound|80|canary|{API}")


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("inbound|8080||", clusters.inbound_cluster(8080, "frontend.team-a.svc.cluster.local")),
        ("PassthroughCluster", clusters.passthrough_cluster()),
        ("InboundPassthroughCluster", clusters.inbound_passthrough_cluster()),
        ("BlackHoleCluster", clusters.black_hole_cluster()),
    ],
)
def test_the_clusters_of_every_sidecar(name: str, made: Json) -> None:
    assert made == recorded("CDS", name)


def test_a_load_assignment() -> None:
    name = clusters.cluster_name(API, 80, "canary")

    made = clusters.load_assignment(
        name,
        [("10.1.1.13", 8080)],
        workload="api-service-v2-1;team-a;api-service;v2;Kubernetes",
    )

    assert made == recorded("EDS", name)


def test_outbound_listeners() -> None:
    assert listeners.outbound_listener(80, allow_any=False) == recorded("LDS", "0.0.0.0_80")
    assert listeners.virtual_outbound(allow_any=False) == recorded("LDS", "virtualOutbound")


def test_a_strict_virtual_inbound_with_policies() -> None:
    key = rbac.policy_key
    deny_all = {key("payments", "deny-all"): rbac.deny_all()}
    order_may = rbac.rule(
        principals=["spiffe://cluster.local/ns/orders/sa/order-service"],
        methods=["POST"],
        paths=["/api/v1/charges"],
    )
    policies = (rbac.allow({key("payments", "allow-order-to-payment"): order_may, **deny_all}),)

    made = inbound.virtual_inbound(
        [
            inbound.InboundPort(
                8080, 80, "payment-service.payments.svc.cluster.local", "STRICT", policies
            )
        ],
        policies=policies,
        tcp_policies=[rbac.allow_tcp(deny_all)],
    )

    payment = state("01-seed-mesh", "payment-service")
    assert made == without_telemetry(payment["LDS"]["virtualInbound"])


def test_permissive_chains() -> None:
    recorded_state = state("02-peer-authentication/mesh-permissive", "server-permissive")
    listener = without_telemetry(recorded_state["LDS"]["virtualInbound"])
    port = inbound.InboundPort(8080, 80, "server.permissive.svc.cluster.local", "PERMISSIVE")

    made = inbound.virtual_inbound([port], mode="PERMISSIVE")

    chains = [chain for chain in listener["filter_chains"] if is_of_port(chain, 8080)]
    made_chains: Any = made["filter_chains"]
    assert [chain for chain in made_chains if is_of_port(chain, 8080)] == chains
    rest = [chain for chain in listener["filter_chains"] if chain["name"].startswith("virtual")]
    assert [chain for chain in made_chains if chain["name"].startswith("virtual")][:4] == rest[:4]


def is_of_port(chain: Any, port: int) -> bool:
    return bool(chain["filter_chain_match"].get("destination_port") == port)
