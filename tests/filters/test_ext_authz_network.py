"""The network filter ext_authz: connections that it would be asked about are closed by name."""

from collections.abc import Mapping

import pytest

from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.clock import seeded
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.ext_authz_network import EXTENSION, NetworkExtAuthz
from tests.filters.filter_case import HERE, Clock, extensions

CONFIG: Mapping[str, object] = {
    "stat_prefix": "tcp.",
    "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "600s"},
    "transport_api_version": "V3",
}
KEY = "istio_ext_authz_shadow_effective_policy_id"


def parsed(**more: object) -> NetworkExtAuthz:
    found = EXTENSION.parse(Reader({**CONFIG, **more}), extensions())
    assert isinstance(found, NetworkExtAuthz)
    return found


def closed(network_filter: NetworkExtAuthz, **metadata: object) -> str:
    """Why the connection is closed; empty: it is not."""
    context = CallContext(Clock(), seeded(1), Connection(HERE))
    context.dynamic_metadata = {"envoy.filters.network.rbac": metadata}
    reply = network_filter.on_connection(context)
    assert reply is None or (reply.status, reply.flags, reply.close) == (403, ("UAEX",), True)
    return "" if reply is None else reply.details


@pytest.mark.parametrize("more", [{}, {"failure_mode_allow": True}, {"shadow_mode": True}])
def test_a_connection_that_would_be_asked_about_is_closed_by_name(
    more: Mapping[str, object],
) -> None:
    assert closed(parsed(**more)) == "meshsdk_not_built{envoy.filters.network.ext_authz}"


def test_a_connection_that_no_custom_policy_matched_goes_on() -> None:
    matcher = {
        "filter": "envoy.filters.network.rbac",
        "path": [{"key": KEY}],
        "value": {"string_match": {"prefix": "istio-ext-authz"}},
    }
    network_filter = parsed(filter_enabled_metadata=matcher)

    assert closed(network_filter) == ""
    assert closed(network_filter, **{KEY: "istio-ext-authz-ns[a]"}) != ""


def test_what_would_decide_otherwise_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="surprise"):
        parsed(surprise=True)
