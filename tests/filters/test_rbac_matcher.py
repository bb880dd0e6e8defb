"""The `matcher` form of RBAC."""

import pytest

from meshsdk.call.address import Address
from meshsdk.call.message import LocalReply
from meshsdk.errors import ConfigError, UnknownExtensionError
from tests.filters.policy_case import Config, Given, build, is_allowed, peer, rules

HEADER = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
NETWORK = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3."
SSL = "type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3."
ACTION = "type.googleapis.com/envoy.config.rbac.v3.Action"


def act(name: str, action: str = "ALLOW") -> Config:
    return {
        "action": {"name": "a", "typed_config": {"@type": ACTION, "name": name, "action": action}}
    }


def when(input_config: Config, value: str, on_match: Config) -> Config:
    single = {"input": {"name": "i", "typed_config": input_config}, "value_match": {"exact": value}}
    return {
        "matcher_list": {
            "matchers": [{"predicate": {"single_predicate": single}, "on_match": on_match}]
        }
    }


@pytest.mark.parametrize(
    ("input_config", "value", "given"),
    [
        (
            {"@type": HEADER, "header_name": "X-A"},
            "1,2",
            Given(headers=[("x-a", "1"), ("x-a", "2")]),
        ),
        ({"@type": HEADER, "header_name": ":path"}, "/?q", Given(path="/?q")),
        (
            {"@type": NETWORK + "DestinationIPInput"},
            "10.0.0.1",
            Given(local=Address("10.0.0.1", 80)),
        ),
        ({"@type": NETWORK + "DestinationPortInput"}, "81", Given(local=Address("10.0.0.1", 81))),
        ({"@type": NETWORK + "SourceIPInput"}, "1.2.3.4", Given(remote="1.2.3.4")),
        ({"@type": NETWORK + "DirectSourceIPInput"}, "1.2.3.4", Given(direct="1.2.3.4")),
        ({"@type": NETWORK + "ServerNameInput"}, "a.com", Given(sni="a.com")),
        (
            {"@type": SSL + "UriSanInput"},
            "spiffe://a/b,spiffe://a/c",
            peer("spiffe://a/b", "spiffe://a/c"),
        ),
        ({"@type": SSL + "DnsSanInput"}, "a.com", peer(dns=["a.com"])),
        ({"@type": SSL + "SubjectInput"}, "CN=a", peer(subject="CN=a")),
    ],
)
def test_a_matcher_reads_its_inputs(input_config: Config, value: str, given: Given) -> None:
    http_filter = build({"matcher": when(input_config, value, act("p"))})

    assert is_allowed(http_filter, given)
    assert not is_allowed(http_filter, Given())


X_A: Config = {"@type": HEADER, "header_name": "x-a"}


def test_no_match_is_a_denial_even_beside_rules() -> None:
    http_filter = build({"rules": rules(), "matcher": when(X_A, "1", act("p"))})

    reply = http_filter.on_request(Given().request(), Given().context())
    assert isinstance(reply, LocalReply)
    assert reply.details == "rbac_access_denied_matched_policy[none]"


def test_an_action_denies_by_its_name() -> None:
    given = Given(headers=[("x-a", "1")])
    context = given.context()

    reply = build({"matcher": when(X_A, "1", act("no way", "DENY"))}).on_request(
        given.request(), context
    )

    assert isinstance(reply, LocalReply)
    assert reply.details == "rbac_access_denied_matched_policy[no_way]"
    assert context.dynamic_metadata["envoy.filters.http.rbac"] == {
        "enforced_engine_result": "denied",
        "enforced_effective_policy_id": "no way",
    }
    assert "envoy.common" not in context.dynamic_metadata


@pytest.mark.parametrize(("value", "hint"), [("1", True), ("2", False)])
def test_a_log_action_allows_and_hints(value: str, hint: bool) -> None:
    given = Given(headers=[("x-a", value)])
    context = given.context()

    build({"matcher": when(X_A, "1", act("l", "LOG"))}).on_request(given.request(), context)

    assert context.dynamic_metadata["envoy.common"] == {"access_log_hint": hint}


def test_a_shadow_matcher_only_publishes() -> None:
    context = Given().context()

    reply = build({"shadow_matcher": when(X_A, "1", act("p"))}).on_request(
        Given().request(), context
    )

    assert not isinstance(reply, LocalReply)
    assert context.dynamic_metadata["envoy.filters.http.rbac"] == {"shadow_engine_result": "denied"}


def test_inputs_that_envoy_does_not_allow_here_are_refused() -> None:
    cel: Config = {"@type": "type.googleapis.com/xds.type.matcher.v3.HttpAttributesCelMatchInput"}

    with pytest.raises(UnknownExtensionError, match="HttpAttributesCelMatchInput"):
        build({"matcher": when(cel, "1", act("p"))})


@pytest.mark.parametrize("action", [act(""), act("p", "MAYBE")])
def test_a_bad_action_is_refused(action: Config) -> None:
    with pytest.raises(ConfigError):
        build({"matcher": when(X_A, "1", action)})
