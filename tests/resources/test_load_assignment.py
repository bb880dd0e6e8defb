"""Load assignments."""

import pytest

from meshsdk.call.address import Address
from meshsdk.call.endpoint import HealthStatus, Locality
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.load_assignment import DropOverload, LoadAssignment, parse
from tests.lb_policies.clusters import EXTENSIONS, group, lb_endpoint


def assignment(*groups: dict[str, object], **fields: object) -> LoadAssignment:
    config = {"cluster_name": "c", "endpoints": list(groups), **fields}
    return parse(Reader(config, "load_assignment"), EXTENSIONS)


def test_an_endpoint_says_everything_that_balancing_needs() -> None:
    labels = {"envoy.transport_socket_match": {"tlsMode": "istio"}}
    place = {"region": "r", "zone": "z", "sub_zone": "s"}
    endpoint = lb_endpoint(
        8080,
        load_balancing_weight=3,
        health_status="DEGRADED",
        metadata={"filter_metadata": labels},
    )

    found = assignment(
        {
            "locality": place,
            "lb_endpoints": [endpoint],
            "load_balancing_weight": 7,
            "priority": 1,
        }
    ).endpoints[0]

    assert found.address == Address("127.0.0.1", 8080)
    assert (found.weight, found.locality_weight, found.priority) == (3, 7, 1)
    assert found.health is HealthStatus.DEGRADED
    assert found.locality == Locality("r", "z", "s")
    assert found.metadata == labels


def test_the_careful_way_reads_what_the_fast_way_reads() -> None:
    usual = lb_endpoint(1, load_balancing_weight=2, health_status="HEALTHY")
    unusual = lb_endpoint(1, load_balancing_weight=2.0, health_status="HEALTHY")

    assert assignment(group(usual)).endpoints == assignment(group(unusual)).endpoints


def test_an_empty_assignment_and_a_locality_without_endpoints_are_fine() -> None:
    assert assignment().endpoints == ()
    assert assignment(group(zone="a", load_balancing_weight=1)).endpoints == ()


def test_an_address_that_is_listed_twice_counts_once() -> None:
    found = assignment(group(lb_endpoint(1), lb_endpoint(1)), group(lb_endpoint(1), zone="b"))

    assert len(found.endpoints) == 1


def test_weights_of_a_locality_that_is_not_named_do_not_count() -> None:
    assert (
        assignment(group(lb_endpoint(1), load_balancing_weight=5)).endpoints[0].locality_weight == 0
    )


def test_named_endpoints_are_found() -> None:
    body = lb_endpoint(1)["endpoint"]

    found = assignment(group({"endpoint_name": "a"}), named_endpoints={"a": body})

    assert found.endpoints[0].address.port == 1


def test_the_policy_is_read() -> None:
    drop = {"category": "shed", "drop_percentage": {"numerator": 5, "denominator": "TEN_THOUSAND"}}
    policy = {
        "overprovisioning_factor": 200,
        "weighted_priority_health": True,
        "drop_overloads": [drop],
    }

    found = assignment(policy=policy)

    assert found.overprovisioning_factor == 200
    assert found.weighted_priority_health
    assert found.drop_overload == DropOverload("shed", 5, 10_000)


def test_internal_addresses_are_reported_not_dialled() -> None:
    tunnel = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "h"}}}}

    found = assignment(group(tunnel, lb_endpoint(1)))

    assert [e.address.port for e in found.endpoints] == [1]
    assert len(found.not_built) == 1
    assert found.not_built[0].endswith("envoy_internal_address")


def named(host: str) -> dict[str, object]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": 1}}}}


# Each was refused by a running Envoy 1.40 (the sums: with a hashing policy).
REFUSED: list[tuple[str, list[dict[str, object]], dict[str, object]]] = [
    (
        "endpoints[0].lb_endpoints[0].load_balancing_weight",
        [group(lb_endpoint(1, load_balancing_weight=0))],
        {},
    ),
    (
        "endpoints[0].load_balancing_weight",
        [group(lb_endpoint(1), zone="a", load_balancing_weight=0)],
        {},
    ),
    ("endpoints[0].priority", [group(lb_endpoint(1), priority=129)], {}),
    (
        "endpoints[0].lb_endpoints",
        [group(*(lb_endpoint(p, load_balancing_weight=4294967295) for p in (1, 2)))],
        {},
    ),
    (
        "endpoints",
        [group(lb_endpoint(1), zone=z, load_balancing_weight=4294967295) for z in ("a", "b")],
        {},
    ),
    (
        "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address",
        [group(named("a.example"))],
        {},
    ),
    (
        "endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address",
        [group(named("127.1"))],
        {},
    ),
    ("endpoints[0].lb_endpoints[0].endpoint", [group({})], {}),
    ("endpoints[0].lb_endpoints[0].endpoint_name", [group({"endpoint_name": "x"})], {}),
    (
        "endpoints[0].lb_endpoints[0].health_status",
        [group(lb_endpoint(1, health_status="ILL"))],
        {},
    ),
    ("policy.overprovisioning_factor", [], {"policy": {"overprovisioning_factor": 0}}),
    ("cluster_name", [], {"cluster_name": ""}),
]


@pytest.mark.parametrize(("path", "groups", "fields"), REFUSED)
def test_what_envoy_refuses_is_refused_with_its_path(
    path: str, groups: list[dict[str, object]], fields: dict[str, object]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        assignment(*groups, **fields)

    assert refusal.value.path == f"load_assignment.{path}"
