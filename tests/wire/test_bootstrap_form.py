import pytest

from meshsdk.errors import ConfigError
from meshsdk.wire.bootstrap_form import read_resources, static_resources

URL = "type.googleapis.com/"
LISTENER = f"{URL}envoy.config.listener.v3.Listener"
CLUSTER = f"{URL}envoy.config.cluster.v3.Cluster"
ROUTES = f"{URL}envoy.config.route.v3.RouteConfiguration"
ENDPOINTS = f"{URL}envoy.config.endpoint.v3.ClusterLoadAssignment"
NONE: list[object] = []
SECRET = f"{URL}envoy.extensions.transport_sockets.tls.v3.Secret"


def test_a_bootstrap_gives_its_static_resources() -> None:
    found = static_resources(
        {
            "node": {"id": "x"},
            "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}},
            "static_resources": {
                "listeners": [{"name": "l"}, {"traffic_direction": "INBOUND"}],
                "clusters": [{"name": "c", "connectTimeout": "1s"}],
                "secrets": [{"name": "s"}],
            },
            "route_configurations": [{"name": "r", "virtualHosts": NONE}],
            "endpoints": [{"clusterName": "c"}],
        }
    )

    assert found == {
        LISTENER: {
            "l": {"name": "l"},
            "listeners[1]": {"name": "listeners[1]", "traffic_direction": "INBOUND"},
        },
        CLUSTER: {"c": {"name": "c", "connect_timeout": "1s"}},
        SECRET: {"s": {"name": "s"}},
        ROUTES: {"r": {"name": "r"}},
        ENDPOINTS: {"c": {"cluster_name": "c"}},
    }


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"static_resource": {}}, "file"),
        ({"static_resources": {"clusters": [{"nam": 1}]}}, "file.static_resources.clusters[0]"),
        ({"endpoints": [{}, {"cluster": "c"}]}, "file.endpoints[1]"),
        (
            {"static_resources": {"clusters": [{"name": "a"}, {"name": "a"}]}},
            "file.static_resources.clusters[1]",
        ),
        ({"CDS": {"a": {"nam": "a"}}}, "file.CDS[a]"),
        ({"CDS": {}, "XDS": {}}, "file"),
        ([], "file"),
    ],
)
def test_an_error_names_its_place_in_the_file(data: object, path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_resources(data, "file")

    assert caught.value.path == path


def test_a_recorded_state_keeps_its_names() -> None:
    table = {"table": {"a.b": {"ips": ["10.0.0.1"]}}}

    found = read_resources({"CDS": {"c": {"name": "c"}}, "NDS": {"": table}})

    assert found == {
        CLUSTER: {"c": {"name": "c"}},
        f"{URL}istio.networking.nds.v1.NameTable": {"": table},
    }


def test_a_config_dump_gives_what_is_in_force() -> None:
    cluster = {"@type": CLUSTER, "name": "c"}
    active = {"versionInfo": "1", "listener": {"@type": LISTENER, "name": "l"}}
    warming = {"listener": {"@type": LISTENER, "name": "w"}}
    inline = {"routeConfig": {"@type": ROUTES, "name": "in a listener"}}
    routes = {"routeConfig": {"@type": ROUTES, "name": "r"}}

    found = read_resources(
        {
            "configs": [
                {
                    "@type": f"{URL}envoy.admin.v3.ClustersConfigDump",
                    "dynamicActiveClusters": [
                        {"cluster": cluster, "lastUpdated": "2026-01-31T12:00:00Z"}
                    ],
                },
                {
                    "@type": f"{URL}envoy.admin.v3.ListenersConfigDump",
                    "dynamicListeners": [
                        {"name": "l", "activeState": active},
                        {"name": "w", "warmingState": warming},
                    ],
                },
                {
                    "@type": f"{URL}envoy.admin.v3.RoutesConfigDump",
                    "staticRouteConfigs": [inline],
                    "dynamicRouteConfigs": [routes],
                },
            ]
        }
    )

    assert found == {
        CLUSTER: {"c": {"name": "c"}},
        LISTENER: {"l": {"name": "l"}},
        ROUTES: {"r": {"name": "r"}},
    }
