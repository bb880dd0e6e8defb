from typing import Any

from meshsdk.wire.json_form import decode, from_json
from meshsdk.wire.pool import message_class
from meshsdk.xds.messages import UnknownField

LISTENER = "envoy.config.listener.v3.Listener"
RBAC = "envoy.extensions.filters.network.rbac.v3.RBAC"
RULES = "envoy.config.rbac.v3.RBAC"
LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
NEW_FIELD = b"\xf8\x7f\x01"  # field 2047, a varint


def listener(*filters: dict[str, object]) -> Any:
    return from_json(LISTENER, {"name": "l", "filter_chains": [{}, {"filters": list(filters)}]})


def test_a_known_message_has_no_unknown_fields() -> None:
    raw = listener({"typed_config": {"@type": RBAC, "rules": {}}}).SerializeToString()

    assert decode(LISTENER, raw).unknown == ()


def test_an_unknown_field_is_reported_at_the_root() -> None:
    raw = listener().SerializeToString() + NEW_FIELD

    assert decode(LISTENER, raw).unknown == (UnknownField("", LISTENER, 2047),)


def test_an_unknown_field_deep_inside_an_any_is_reported_with_its_path() -> None:
    rules = message_class(RULES).FromString(NEW_FIELD)
    message = listener({}, {"typed_config": {"@type": RBAC}})
    rbac: Any = message_class(RBAC)()
    rbac.shadow_rules.CopyFrom(rules)
    message.filter_chains[1].filters[1].typed_config.value = rbac.SerializeToString()

    found = decode(LISTENER, message.SerializeToString())

    path = "filter_chains[1].filters[1].typed_config.shadow_rules"
    assert found.unknown == (UnknownField(path, RULES, 2047),)
    assert found.data["name"] == "l"


def test_an_unknown_field_in_a_map_entry_is_reported_under_its_key() -> None:
    policy: Any = message_class("envoy.config.rbac.v3.Policy").FromString(NEW_FIELD)
    rules: Any = message_class(RULES)()
    rules.policies["a"].SetInParent()
    rules.policies["b"].CopyFrom(policy)

    found = decode(RULES, rules.SerializeToString())

    assert found.unknown == (UnknownField("policies[b]", "envoy.config.rbac.v3.Policy", 2047),)


def test_an_unknown_name_in_a_typed_struct_is_reported_by_name() -> None:
    message = listener(
        {
            "typed_config": {
                "@type": "xds.type.v3.TypedStruct",
                "type_url": LOCAL_RATE_LIMIT,
                "value": {"stat_prefix": "x", "token_bucket": {"newer": 1}},
            }
        }
    )

    found = decode(LISTENER, message.SerializeToString())

    path = "filter_chains[1].filters[0].typed_config.token_bucket"
    assert found.unknown == (UnknownField(path, "envoy.type.v3.TokenBucket", 0, "newer"),)
