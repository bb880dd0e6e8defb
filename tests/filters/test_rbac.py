"""envoy.filters.http.rbac: actions, shadow rules, metadata, overrides."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.message import LocalReply
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters import rbac
from tests.filters.policy_case import (
    ANY,
    ENVOY,
    STRICT,
    Config,
    Given,
    build,
    header,
    is_allowed,
    peer,
    principal,
    rules,
)

IS_GET = header(":method", "GET")
NONE = "rbac_access_denied_matched_policy[none]"


# FEED.md 3.9, THREATS B2 and B19.
@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        ({}, True),
        ({"rules": {}}, False),
        ({"rules": {"action": "DENY"}}, True),
        ({"rules": {"action": "LOG"}}, True),
        ({"rules": rules()}, True),
        ({"rules": rules(action="DENY")}, False),
        ({"rules": rules(action="LOG")}, True),
        ({"rules": rules(IS_GET)}, True),
        ({"rules": rules({"not_rule": IS_GET})}, False),
        ({"rules": rules({"not_rule": ANY}, {"not_id": ANY})}, False),
        ({"shadow_rules": rules(action="DENY")}, True),
    ],
)
def test_actions_and_empty_rules(config: Config, allowed: bool) -> None:
    assert is_allowed(build(config), Given()) is allowed


def test_a_denial_is_403_and_tells_the_caller_nothing() -> None:
    reply = build({"rules": rules(action="DENY", name="ns[x]-policy[a b]-rule[0]")}).on_request(
        Given().request(), Given().context()
    )

    assert reply == LocalReply(
        403,
        b"RBAC: access denied",
        details="rbac_access_denied_matched_policy[ns[x]-policy[a_b]-rule[0]]",
        grpc_status=7,
    )


def test_the_request_goes_on_as_it_is() -> None:
    request = Given().request()

    assert build({"rules": rules()}).on_request(request, Given().context()) == Continue(request)


def test_the_first_matching_policy_in_byte_order_of_names_is_named() -> None:
    one = {"permissions": [ANY], "principals": [ANY]}
    config: Config = {
        "rules": {"action": "DENY", "policies": {"b": one, "\u00e9": one, "Z": one, "a": one}}
    }

    reply = build(config).on_request(Given().request(), Given().context())
    assert isinstance(reply, LocalReply)
    assert reply.details == "rbac_access_denied_matched_policy[Z]"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"rules": rules()},
            {"enforced_engine_result": "allowed", "enforced_effective_policy_id": "p"},
        ),
        ({"rules": {}}, {"enforced_engine_result": "denied"}),
        (
            {"rules": rules(action="LOG")},
            {"enforced_engine_result": "allowed", "enforced_effective_policy_id": "p"},
        ),
        (
            {
                "shadow_rules": rules(action="DENY"),
                "shadow_rules_stat_prefix": "istio_dry_run_allow_",
            },
            {
                "istio_dry_run_allow_shadow_engine_result": "denied",
                "istio_dry_run_allow_shadow_effective_policy_id": "p",
            },
        ),
        (
            {"shadow_rules": {}, "shadow_rules_stat_prefix": "s_"},
            {"s_shadow_engine_result": "denied"},
        ),
        ({"rules": {}, "rules_stat_prefix": "r_"}, {"r_enforced_engine_result": "denied"}),
        ({"shadow_rules_stat_prefix": "s_"}, None),
    ],
)
def test_rulings_are_published_as_dynamic_metadata(config: Config, expected: object) -> None:
    context = Given().context()

    build(config).on_request(Given().request(), context)

    assert context.dynamic_metadata.get("envoy.filters.http.rbac") == expected


def test_filters_of_one_chain_add_to_the_same_metadata() -> None:
    context = Given().context()

    build({"rules": rules(name="first")}).on_request(Given().request(), context)
    build({"rules": {"action": "DENY"}}).on_request(Given().request(), context)

    assert context.dynamic_metadata["envoy.filters.http.rbac"] == {
        "enforced_engine_result": "allowed",
        "enforced_effective_policy_id": "first",
    }


@pytest.mark.parametrize(("method", "hint"), [("GET", True), ("POST", False)])
def test_log_hints_to_the_access_log(method: str, hint: bool) -> None:
    context = Given().context()

    build({"rules": rules(IS_GET, action="LOG")}).on_request(
        Given(method=method).request(), context
    )

    assert context.dynamic_metadata["envoy.common"] == {"access_log_hint": hint}


def test_a_route_replaces_the_policies_or_switches_them_off() -> None:
    deny_all = build({"rules": {}})

    def overridden(config: Config) -> bool:
        override = rbac.parse_override(Reader(config), ENVOY)
        replaced = override(deny_all)
        assert isinstance(replaced, rbac.Rbac)
        return is_allowed(replaced, Given())

    assert overridden({})
    assert overridden({"rbac": {}})
    assert overridden({"rbac": {"rules": rules()}})
    assert not overridden({"rbac": {"rules": rules(action="DENY")}})


# Observed on Envoy 1.40, by tests/conformance/test_differential_authz.py.
@pytest.mark.parametrize(
    ("own", "listeners", "key"),
    [("", "pre_", "pre_"), ("own_", "pre_", "own_"), ("own_", "", "own_"), ("", "", "")],
)
def test_a_routes_policies_publish_under_the_listeners_prefix_unless_they_have_one(
    own: str, listeners: str, key: str
) -> None:
    route: Config = {"rbac": {"rules": rules(), "rules_stat_prefix": own}}
    whole = build({"rules": rules(), "rules_stat_prefix": listeners})

    replaced = rbac.parse_override(Reader(route), ENVOY)(whole)

    context = Given().context()
    replaced.on_request(Given().request(), context)
    assert f"{key}enforced_engine_result" in context.dynamic_metadata[rbac.NAMESPACE]


# vectors: xds_poison; THREATS X4, X5.
@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (
            {"rules": {"policies": {"p": {"permissions": [], "principals": [ANY]}}}},
            "rbac.rules.policies[p].permissions: expected at least 1 item",
        ),
        (
            {"rules": {"policies": {"p": {"permissions": [ANY]}}}},
            "rbac.rules.policies[p].principals: expected at least 1 item",
        ),
        ({"rules": rules({})}, "rbac.rules.policies[p].permissions[0]: exactly one of and_rules"),
        ({"rules": rules(ANY, {})}, "rbac.rules.policies[p].principals[0]: exactly one of and_ids"),
        ({"rules": rules({"any": False})}, "permissions[0].any: expected true"),
        (
            {"rules": {"action": 99}},
            "rbac.rules.action: expected one of ALLOW, DENY, LOG, found 99",
        ),
        ({"rules": rules(), "audit": {}}, "rbac.audit: refused: unlisted"),
        (
            {"rules": rules({"url_path": {"path": {"safe_regex": {"regex": "(?=a)"}}}})},
            "permissions[0].url_path.path.safe_regex.regex: RE2 refuses",
        ),
        (
            {"rules": rules({"or_rules": {"rules": []}})},
            "permissions[0].or_rules.rules: expected at least 1",
        ),
        ({"rules": rules({"matcher": {"name": "x"}})}, "permissions[0].matcher: refused"),
        ({"rules": rules({"destination_port": 65536})}, "destination_port: expected at most 65535"),
        (
            {"rules": rules({"destination_port_range": {"start": 5, "end": 5}})},
            "destination_port_range.start: expected less than end 5",
        ),
        (
            {
                "rules": {
                    "policies": {"p": {"permissions": [ANY], "principals": [ANY], "condition": {}}}
                }
            },
            "rbac.rules.policies[p].condition: refused: CEL",
        ),
        ({"shadow_rules": rules({})}, "rbac.shadow_rules.policies[p].permissions[0]"),
    ],
)
def test_what_cannot_be_decided_is_refused_by_path(config: Config, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(config)

    assert problem in str(caught.value)


def test_an_override_is_refused_by_path() -> None:
    with pytest.raises(ConfigError, match=r"o\.rbac\.rules\.policies\[p\]\.permissions\[0\]"):
        rbac.parse_override(Reader({"rbac": {"rules": rules({})}}, "o"), ENVOY)


# THREATS section 12: host-dot-port and template-any-octet, both for DENY only.
@pytest.mark.parametrize(
    "authority", ["secret.test", "secret.test:8080", "secret.test.", "SECRET.test.:80"]
)
def test_a_strict_deny_sees_through_port_and_final_dot(authority: str) -> None:
    match = {
        "header": {
            "name": ":authority",
            "string_match": {"exact": "secret.test", "ignore_case": True},
        }
    }

    assert not is_allowed(
        build({"rules": rules(match, action="DENY")}, STRICT), Given(authority=authority)
    )
    assert is_allowed(build({"rules": rules(match)}, STRICT), Given(authority=authority)) is (
        authority == "secret.test"
    )
    assert is_allowed(
        build({"rules": rules(match, action="DENY")}), Given(authority="secret.test.")
    )


def test_a_strict_negation_inside_a_deny_is_not_widened() -> None:
    negated = {"not_rule": header(":authority", "ok.test")}

    assert not is_allowed(
        build({"rules": rules(negated, action="DENY")}, STRICT), Given(authority="ok.test:80")
    )


def test_a_strict_deny_template_holds_any_octet() -> None:
    template = {
        "uri_template": {
            "name": "t",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig",
                "path_template": "/api/*/view",
            },
        }
    }
    given = Given(path="/api/1[2]/view")

    assert not is_allowed(build({"rules": rules(template, action="DENY")}, STRICT), given)
    assert is_allowed(build({"rules": rules(template, action="DENY")}), given)
    assert not is_allowed(build({"rules": rules(template)}, STRICT), given)


# THREATS D4, B13, B14.
@pytest.mark.parametrize(
    ("given", "strict", "envoy"),
    [
        (Given(tls=True), False, True),
        (peer("spiffe://td/ns/bar/sa/x", subject="CN=/ns/foo/"), False, True),
        (peer("spiffe://td/ns/bar/sa/x", dns=["/ns/foo/"]), False, True),
        (peer("spiffe://td/ns/foo/sa/x"), True, True),
        (Given(), False, False),
    ],
)
def test_strict_takes_only_what_a_certificate_vouches_for(
    given: Given, strict: bool, envoy: bool
) -> None:
    allow = {"rules": rules(ANY, principal(safe_regex={"regex": "(.*/ns/foo/.*)?"}))}

    assert is_allowed(build(allow, STRICT), given) is strict
    assert is_allowed(build(allow, ENVOY), given) is envoy
