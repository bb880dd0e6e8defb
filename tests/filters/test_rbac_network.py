"""envoy.filters.network.rbac: the same policies, asked of a connection."""

import pytest

from meshsdk.call.address import Address
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.rbac_network import parse
from tests.filters.policy_case import ANY, ENVOY, ID, Config, Given, header, peer, principal, rules


def denied(config: Config, given: Given) -> str | None:
    found = parse(Reader({"stat_prefix": "tcp.", **config}), ENVOY).on_connection(given.context())
    return None if found is None else found.details


def test_a_refused_connection_closes_with_its_policy_and_flag() -> None:
    network_filter = parse(Reader({"stat_prefix": "tcp.", "rules": rules(action="DENY")}), ENVOY)

    reply = network_filter.on_connection(Given().context())

    assert reply is not None
    assert reply.close
    assert reply.flags == ("UAEX",)
    assert reply.details == "rbac_access_denied_matched_policy[p]"


def test_connections_are_judged_by_peer_and_port() -> None:
    config: Config = {"rules": rules({"destination_port": 8080}, principal(exact=ID))}

    assert denied(config, peer(ID)) is None
    assert denied(config, Given()) == "rbac_access_denied_matched_policy[none]"
    assert (
        denied(config, Given(local=Address("127.0.0.1", 81), certificate=peer(ID).certificate))
        is not None
    )


@pytest.mark.parametrize(
    "permission",
    [
        header(":method", "GET"),
        header(":method", ""),
        header("x", ""),
        {"header": {"name": ":path", "string_match": {"safe_regex": {"regex": ".*"}}}},
        {"url_path": {"path": {"safe_regex": {"regex": ".*"}}}},
        {"header": {"name": ":authority", "present_match": True}},
    ],
)
def test_a_connection_has_nothing_of_a_request(permission: Config) -> None:
    assert denied({"rules": rules(permission)}, Given()) is not None
    assert denied({"rules": rules(permission, action="DENY")}, Given()) is None


def test_no_rules_do_nothing_and_empty_rules_refuse_all() -> None:
    assert denied({}, Given()) is None
    assert denied({"rules": {}}, Given()) is not None


def test_rulings_are_published_in_the_filters_own_namespace() -> None:
    context = Given().context()
    config = {
        "stat_prefix": "s",
        "rules": rules(ANY),
        "shadow_rules": rules(action="DENY", name="s"),
    }

    parse(Reader(config), ENVOY).on_connection(context)

    assert context.dynamic_metadata["envoy.filters.network.rbac"] == {
        "enforced_engine_result": "allowed",
        "enforced_effective_policy_id": "p",
        "shadow_engine_result": "denied",
        "shadow_effective_policy_id": "s",
    }


def test_a_filter_without_a_statistics_prefix_is_refused() -> None:
    with pytest.raises(ConfigError, match="stat_prefix"):
        parse(Reader({"rules": rules()}), ENVOY)
