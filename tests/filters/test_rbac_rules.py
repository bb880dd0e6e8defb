"""Every kind of permission and principal."""

import pytest

from meshsdk.call.address import Address
from meshsdk.config.reader import Reader
from meshsdk.filters.rbac_nodes import Always, describe
from meshsdk.filters.rbac_rules import Scope, parse_policy
from tests.filters.policy_case import (
    ANY,
    ID,
    Config,
    Given,
    build,
    header,
    is_allowed,
    peer,
    principal,
    rules,
)

TEN = {"address_prefix": "10.0.0.0", "prefix_len": 8}
V = {"string_match": {"exact": "v"}}
METADATA = {"filter": "ns", "path": [{"key": "k"}], "value": V}
GET = header(":method", "GET")
MTLS = "type.googleapis.com/envoy.extensions.rbac.principals.mtls_authenticated.v3.Config"
TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"


def _custom(**config: object) -> Config:
    return {"custom": {"name": "m", "typed_config": {"@type": MTLS, **config}}}


SHARED: list[tuple[Config, Given, Given]] = [
    (GET, Given(), Given(method="POST")),
    (header("x-role", "admin"), Given(headers=[("x-role", "guest"), ("x-role", "admin")]), Given(headers=[("x-role", "guest,admin")])),
    (header(":path", "/?q"), Given(path="/?q"), Given(path="/")),
    ({"header": {"name": "x", "present_match": True}}, Given(headers=[("x", "")]), Given()),
    ({"url_path": {"path": {"exact": "/a"}}}, Given(path="/a?x"), Given(path="/a/")),
    ({"url_path": {"path": {"prefix": "/a"}}}, Given(path="/ab"), Given(path="/A")),
    ({"url_path": {"path": {"exact": "/a"}}}, Given(path="/a;x", ignore_path_parameters=True), Given(path="/a;x")),
    ({"metadata": METADATA}, Given(metadata={"ns": {"k": "v"}}), Given(metadata={"ns": {"k": ["v"]}})),
    ({"sourced_metadata": {"metadata_matcher": METADATA}}, Given(metadata={"ns": {"k": "v"}}), Given()),
    (
        {"sourced_metadata": {"metadata_matcher": METADATA, "metadata_source": "ROUTE"}},
        Given(route_metadata={"ns": {"k": "v"}}),
        Given(metadata={"ns": {"k": "v"}}),
    ),
]  # fmt: skip
PERMISSIONS: list[tuple[Config, Given, Given]] = [
    *SHARED,
    ({"and_rules": {"rules": [GET, header("x", "1")]}}, Given(headers=[("x", "1")]), Given()),
    ({"or_rules": {"rules": [GET, header("x", "1")]}}, Given(), Given(method="PUT")),
    ({"not_rule": GET}, Given(method="PUT"), Given()),
    ({"not_rule": {"not_rule": GET}}, Given(), Given(method="PUT")),
    ({"destination_ip": TEN}, Given(local=Address("10.1.1.1", 80)), Given()),
    ({"destination_port": 8080}, Given(), Given(local=Address("127.0.0.1", 80))),
    ({"destination_port_range": {"start": 80, "end": 8081}}, Given(), Given(local=Address("a", 8081))),
    ({"requested_server_name": {"suffix": ".com"}}, Given(sni="a.com"), Given()),
    (
        {"uri_template": {"name": "t", "typed_config": {"@type": TEMPLATE, "path_template": "/a/*"}}},
        Given(path="/a/b?x"),
        Given(path="/a"),
    ),
]  # fmt: skip
PRINCIPALS: list[tuple[Config, Given, Given]] = [
    *SHARED,
    ({"and_ids": {"ids": [GET, principal(exact=ID)]}}, peer(ID), Given()),
    ({"or_ids": {"ids": [principal(exact="x"), principal(exact=ID)]}}, peer(ID), peer("y")),
    ({"not_id": principal(exact=ID)}, Given(), peer(ID)),
    (principal(exact=ID), peer(ID), peer(ID + "x")),
    (principal(prefix="spiffe://td/"), peer(ID), peer("spiffe://td.evil/x")),
    (principal(safe_regex={"regex": ".*/ns/foo/.*"}), peer(ID), peer("spiffe://td/ns/foox/sa/a")),
    (principal(exact="b.com"), peer("u", dns=["a.com", "b.com"]), peer("u")),
    (principal(exact="CN=x"), peer("u", subject="CN=x"), peer("u", subject="CN=xy")),
    ({"authenticated": {}}, peer(ID), Given()),
    (_custom(san_matcher={"san_type": "URI", "matcher": {"exact": ID}}), peer(ID), peer("x", dns=[ID])),
    (_custom(san_matcher={"san_type": "DNS", "matcher": {"exact": "a"}}), peer("x", dns=["a"]), peer("a")),
    (_custom(san_matcher={"san_type": "IP_ADDRESS", "matcher": {"exact": "1.2.3.4"}}), peer("x", ips=["1.2.3.4"]), peer("x")),
    (_custom(any_validated_client_certificate={}), peer(ID), Given(tls=True)),
    ({"source_ip": TEN}, Given(source="10.0.0.1"), Given(direct="10.0.0.1")),
    ({"direct_remote_ip": TEN}, Given(direct="10.0.0.1"), Given(remote="10.0.0.1")),
    ({"remote_ip": TEN}, Given(remote="10.0.0.1"), Given(source="10.0.0.1")),
    ({"filter_state": {"key": "k", **V}}, Given(filter_state={"k": "v"}), Given(filter_state={"k": "w"})),
    (
        {"filter_state": {"key": "k", "address_match": {"ranges": [TEN]}}},
        Given(filter_state={"k": "10.0.0.1"}),
        Given(filter_state={"k": "text"}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("config", "matching", "other"), PERMISSIONS)
def test_a_permission_matches(config: Config, matching: Given, other: Given) -> None:
    http_filter = build({"rules": rules(config)})

    assert is_allowed(http_filter, matching)
    assert not is_allowed(http_filter, other)


@pytest.mark.parametrize(("config", "matching", "other"), PRINCIPALS)
def test_a_principal_matches(config: Config, matching: Given, other: Given) -> None:
    http_filter = build({"rules": rules(ANY, config)})

    assert is_allowed(http_filter, matching)
    assert not is_allowed(http_filter, other)


def test_a_policy_needs_any_permission_and_any_principal() -> None:
    policy = {
        "permissions": [header("x", "1"), header("x", "2")],
        "principals": [header("y", "1"), header("y", "2")],
    }
    http_filter = build({"rules": {"policies": {"p": policy}}})

    assert is_allowed(http_filter, Given(headers=[("x", "2"), ("y", "1")]))
    assert not is_allowed(http_filter, Given(headers=[("x", "2")]))
    assert not is_allowed(http_filter, Given(headers=[("y", "2")]))


# A caller without identity is not "x": FEED.md 3.9.
def test_not_a_principal_matches_a_plaintext_caller() -> None:
    assert is_allowed(build({"rules": rules(ANY, {"not_id": principal(exact="x")})}), Given())


def test_a_policy_can_be_told_to_people() -> None:
    istio = {
        "permissions": [
            {
                "and_rules": {
                    "rules": [{"or_rules": {"rules": [GET, header(":method", "PUT")]}}, ANY]
                }
            }
        ],
        "principals": [
            {
                "and_ids": {
                    "ids": [
                        {"or_ids": {"ids": [principal(exact=ID)]}},
                        {"not_id": header("x", "1")},
                    ]
                }
            }
        ],
    }

    policy = parse_policy("p", Reader(istio), Scope())

    assert describe(policy.permission) == ':method exact "GET" or :method exact "PUT"'
    assert describe(policy.principal) == f'principal exact "{ID}" and not x exact "1"'
    assert (
        parse_policy("q", Reader({"permissions": [ANY], "principals": [GET]}), Scope()).permission
        == Always()
    )
