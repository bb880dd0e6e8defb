"""Fields that a WSGI server has joined (THREATS H1 to H3, `wsgi-list-deny`)."""

from dataclasses import replace

import pytest

from meshsdk.call.message import LocalReply
from tests.filters.policy_case import ENVOY, STRICT, Config, Given, build, header, rules

ADMIN = header("x-role", "admin")
NOT_GUEST: Config = {
    "header": {"name": "x-role", "string_match": {"exact": "guest"}, "invert_match": True}
}
SUFFIX: Config = {"header": {"name": "x-role", "string_match": {"suffix": "min"}}}


def allowed(config: Config, value: str, *, joined: bool = True, strict: bool = True) -> bool:
    given = Given(headers=[("x-role", value)])
    context = given.context()
    context.connection = replace(context.connection, joins_fields=joined)
    http_filter = build({"rules": config}, STRICT if strict else ENVOY)
    return not isinstance(http_filter.on_request(given.request(), context), LocalReply)


@pytest.mark.parametrize(
    ("config", "value", "passes"),
    [
        (rules(ADMIN, action="DENY"), "guest,admin", False),
        (rules(ADMIN, action="DENY"), "guest, admin", False),
        (rules(ADMIN, action="DENY"), "guest", True),
        (rules(SUFFIX, action="DENY"), "admin,guest", False),
        (rules(ADMIN), "guest,admin", False),
        (rules(ADMIN), "admin", True),
        (rules({"not_rule": ADMIN}), "guest,admin", False),
        (rules({"not_rule": ADMIN}), "guest", True),
        (rules(NOT_GUEST), "admin,guest", False),
        (rules(NOT_GUEST), "admin", True),
        (rules({"not_rule": ADMIN}, action="DENY"), "guest,admin", False),
    ],
)
def test_a_part_of_a_joined_field_counts_where_that_is_the_safe_side(
    config: Config, value: str, passes: bool
) -> None:
    assert allowed(config, value) is passes


def test_where_lines_are_kept_apart_a_list_is_one_value_as_in_envoy() -> None:
    deny = rules(ADMIN, action="DENY")

    assert allowed(deny, "guest,admin", joined=False)
    assert allowed(deny, "guest,admin", strict=False)


def test_a_path_with_a_comma_is_no_list() -> None:
    deny = rules(header(":path", "/admin"), action="DENY")
    given = Given(path="/x,/admin")
    context = given.context()
    context.connection = replace(context.connection, joins_fields=True)

    assert not isinstance(
        build({"rules": deny}, STRICT).on_request(given.request(), context), LocalReply
    )
