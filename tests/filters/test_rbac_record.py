"""Records of decisions: which conditions held, which policies were nearest, what stays hidden."""

import pytest

from meshsdk.call.certificate import Certificate
from meshsdk.call.decision_record import REDACTED, SHOWN, DecisionRecord, Shown
from meshsdk.filters import rbac_engine
from tests.filters.policy_case import (
    ANY,
    ID,
    STRICT,
    Config,
    Given,
    build,
    header,
    principal,
    rules,
)

POST = header(":method", "POST")
PAY: Config = {"url_path": {"path": {"exact": "/pay"}}}
CLAIM: Config = {
    "metadata": {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "payload"}, {"key": "realm"}, {"key": "role"}],
        "value": {"string_match": {"exact": "admin"}},
    }
}
PEER = Certificate((ID,))


def recorded(config: Config, given: Given, shown: Shown = SHOWN) -> DecisionRecord:
    context = given.context()
    build(config, STRICT).on_request(given.request(), context)
    [judgement] = context.judgements
    return judgement.explain(shown)


def policy(*permissions: Config, principals: Config = ANY) -> Config:
    return {"permissions": [{"and_rules": {"rules": permissions}}], "principals": [principals]}


def test_a_denial_names_policy_rule_and_the_conditions_that_held() -> None:
    deny = {"ns[a]-policy[b]-rule[7]": policy(POST, PAY, principals=principal(exact=ID))}

    found = recorded(
        {"rules": {"action": "DENY", "policies": deny}}, Given("POST", path="/pay?x", certificate=PEER)
    )  # fmt: skip

    assert (found.allowed, found.action, found.is_dry_run) == (False, "DENY", False)
    assert (found.policy, found.rule) == ("ns[a]-policy[b]-rule[7]", 7)
    assert [str(condition) for condition in found.conditions] == [
        "method: expected exact \"POST\", found 'POST'",
        "path: expected exact \"/pay\", found '/pay'",
        f"principal: expected exact \"{ID}\", found '{ID}'",
    ]


def test_of_alternatives_only_the_one_that_held_is_told() -> None:
    deny = rules({"or_rules": {"rules": [PAY, POST]}}, action="DENY")

    found = recorded({"rules": deny}, Given("POST"))

    assert [condition.what for condition in found.conditions] == ["method"]
    assert (found.policy, found.rule) == ("p", 0)


def test_without_a_match_the_three_nearest_policies_tell_their_first_failing_condition() -> None:
    policies = {
        "d-far": policy(POST, header("x-a", "1"), PAY),
        "a-near": policy(POST, {"any": True}),
        "b-next": policy(POST, header("x-a", "1")),
        "c-next": policy(header("x-a", "1"), POST),
    }

    found = recorded({"rules": {"policies": policies}}, Given("GET"))

    assert found.policies == 4
    assert [(near.policy, near.missing, near.failed.what) for near in found.nearest] == [
        ("a-near", 1, "method"),
        ("b-next", 2, "method"),
        ("c-next", 2, "header x-a"),
    ]


@pytest.mark.parametrize(
    ("permission", "who", "given", "what"),
    [
        (POST, ANY, Given("GET"), "method"),
        (PAY, ANY, Given(path="/other"), "path"),
        (ANY, principal(exact="spiffe://td/other"), Given(certificate=PEER), "principal"),
        (ANY, CLAIM, Given(), "claim realm.role"),
        ({"not_rule": header(":method", "GET")}, ANY, Given("GET"), "method"),
        ({"destination_port": 1}, ANY, Given(), "destination port"),
        (ANY, {"remote_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, Given(), "remote ip"),
    ],
)
def test_the_one_change_that_would_have_allowed_it_is_named(
    permission: Config, who: Config, given: Given, what: str
) -> None:
    found = recorded({"rules": rules(permission, who)}, given)

    assert found.change is not None
    assert found.change.what == what


def test_where_two_things_are_missing_no_change_is_named() -> None:
    found = recorded({"rules": rules(POST, CLAIM)}, Given("GET"))

    assert found.change is None


def test_a_denial_by_one_condition_alone_names_it_as_the_change() -> None:
    alone = recorded({"rules": rules(POST, action="DENY")}, Given("POST"))
    both = {"a": policy(POST), "b": policy(ANY)}
    twice = recorded({"rules": {"action": "DENY", "policies": both}}, Given("POST"))

    assert alone.change is not None
    assert alone.change.expected == 'not exact "POST"'
    assert twice.change is None


def test_values_of_other_fields_and_claims_are_redacted() -> None:
    secret = header("x-api-key", "s3cret")
    deny = rules({"and_rules": {"rules": [secret, header("user-agent", "curl")]}}, action="DENY")
    given = Given(headers=[("x-api-key", "s3cret"), ("user-agent", "curl")])

    found = recorded({"rules": deny}, given)
    open_ = recorded({"rules": deny}, given, Shown(headers={"x-api-key"}))

    assert [c.actual for c in found.conditions] == [REDACTED, "'curl'"]
    assert "s3cret" not in str(found)
    assert [c.actual for c in open_.conditions] == ["'s3cret'", REDACTED]


def test_claims_are_redacted_unless_they_are_listed() -> None:
    metadata: dict[str, dict[str, object]] = {
        "envoy.filters.http.jwt_authn": {"payload": {"realm": {"role": "user"}}}
    }
    config = {"rules": rules(ANY, CLAIM)}

    found = recorded(config, Given(metadata=metadata))
    shown = recorded(config, Given(metadata=metadata), Shown(claims={"realm.role"}))

    assert "user" not in str(found)
    assert shown.nearest[0].failed.actual == "'user'"


def test_metadata_of_other_filters_is_always_redacted() -> None:
    asked: Config = {
        "metadata": {
            "filter": "envoy.filters.http.ext_authz",
            "path": [{"key": "user"}],
            "value": {"string_match": {"exact": "admin"}},
        }
    }
    metadata: dict[str, dict[str, object]] = {"envoy.filters.http.ext_authz": {"user": "alice"}}
    everything = Shown(headers={"user"}, claims={"user"})

    found = recorded({"rules": rules(ANY, asked)}, Given(metadata=metadata), everything)

    assert found.nearest[0].failed.actual == REDACTED
    assert "admin" not in str(found)
    assert "alice" not in str(found)


def test_control_characters_and_long_values_cannot_break_a_log_line() -> None:
    found = recorded({"rules": rules(PAY)}, Given(path="/a\nb" + "x" * 1000))

    text = str(found)
    assert "\n" not in text
    assert len(text) < 700


def test_dry_runs_are_judged_too_and_refuse_nothing() -> None:
    found = recorded({"shadow_rules": rules(POST)}, Given("GET"))

    assert found.is_dry_run
    assert not found.allowed
    assert found.nearest[0].failed.what == "method"


def test_an_allowed_request_leaves_nothing_to_explain() -> None:
    context = Given().context()

    build({"rules": rules()}).on_request(Given().request(), context)

    assert context.judgements == ()


def test_a_matcher_tree_names_its_action() -> None:
    action = {
        "@type": "type.googleapis.com/envoy.config.rbac.v3.Action",
        "name": "no",
        "action": "DENY",
    }
    config = {"matcher": {"on_no_match": {"action": {"name": "a", "typed_config": action}}}}

    found = recorded(config, Given())

    assert (found.action, found.policy) == ("matcher", "no")


def test_only_so_many_policies_are_looked_through() -> None:
    far = {f"p{i:05}": policy(header("x-a", str(i)), POST) for i in range(2999)}
    many = {**far, "p02999": policy(POST)}
    given = Given()
    context = given.context()
    build({"rules": {"policies": many}}).on_request(given.request(), context)

    found = context.judgements[0].explain(SHOWN)

    assert found.policies == 3000
    assert [near.policy for near in found.nearest] == ["p00000", "p00001", "p00002"]
    assert isinstance(build({"rules": rules()}).enforced, rbac_engine.RuleEngine)
