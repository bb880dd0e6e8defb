"""`meshsdk check`: a connection that a network filter closes."""

from meshsdk.cli.check.checker import Checker


def test_a_connection_that_is_closed_before_any_request_has_no_flags_of_one() -> None:
    rbac: dict[str, object] = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
        "stat_prefix": "tcp.",
        "rules": {},
    }
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]
    hosts = [{"name": "v", "domains": ["*"], "routes": routes}]
    config: dict[str, object] = {
        "route_config": {"virtual_hosts": hosts},
        "network_filters": [{"name": "envoy.filters.network.rbac", "typed_config": rbac}],
    }

    [outcome] = Checker(config).run([{"id": "1", "authority": "a", "path": "/"}])

    # Envoy's access log is the connection manager's, which never saw it.
    assert (outcome["error"], outcome["flags"]) == ("connection_closed", "-")
