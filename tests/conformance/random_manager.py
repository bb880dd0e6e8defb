"""Random connection managers: their options, filters and local replies."""

from tests.conformance.random_words import (
    FIELDS,
    FORMATS,
    Dice,
    Json,
    added,
    header_match,
)


def manager(dice: Dice) -> Json:
    found: Json = {}
    for name, share in (
        ("normalize_path", 0.5), ("merge_slashes", 0.4), ("strip_any_host_port", 0.2),
        ("strip_trailing_host_dot", 0.2), ("skip_xff_append", 0.1),
    ):  # fmt: skip
        if dice.chance(share):
            found[name] = True
    if dice.chance(0.5):
        found["use_remote_address"] = dice.chance(0.5)
        found["xff_num_trusted_hops"] = dice.upto(2)
    if dice.chance(0.3):
        found["path_with_escaped_slashes_action"] = dice.one(
            ("KEEP_UNCHANGED", "REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD")
        )
    if dice.chance(0.2):
        found["via"] = "meshed"
    if dice.chance(0.3):
        found["forward_client_cert_details"] = dice.one(
            ("SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET", "ALWAYS_FORWARD_ONLY")
        )
        names = ("subject", "uri", "dns", "cert", "chain")[: dice.upto(3)]
        found["set_current_client_cert_details"] = dict.fromkeys(names, True)
    if dice.chance(0.1):
        found["scheme_header_transformation"] = {"scheme_to_overwrite": dice.one(("http", "https"))}
    if dice.chance(0.2):
        # Which of two refusals comes first depends on the order of the fields: one at a time.
        action, count = dice.one(
            (("ALLOW", 5), ("DROP_HEADER", 6), ("REJECT_REQUEST", 100), ("ALLOW", 6))
        )
        found["common_http_protocol_options"] = {
            "max_headers_count": count,
            "headers_with_underscores_action": action,
        }
    if dice.chance(0.2):
        found["local_reply_config"] = _local_replies(dice)
    if dice.chance(0.1):
        found["internal_address_config"] = {
            "cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
        }
    return found


def filters(dice: Dice) -> list[Json]:
    """Some of those whose decisions need no time and no chance, in any order."""
    url = "type.googleapis.com/envoy.extensions.filters.http"
    fixed = {"numerator": 100, "denominator": "HUNDRED"}
    enabled = {"filter_enabled": {"default_value": fixed}}
    # A content type that a filter changes is told late to what asks whether this is gRPC.
    mutation = added(dice)
    if mutation["header"]["key"] == "content-type":
        mutation["header"]["key"] = "x-new"
    append = {"append": mutation}
    made: tuple[tuple[str, Json], ...] = (
        ("cors", {"@type": f"{url}.cors.v3.Cors"}),
        ("csrf", {"@type": f"{url}.csrf.v3.CsrfPolicy", **enabled}),
        (
            "header_mutation",
            {
                "@type": f"{url}.header_mutation.v3.HeaderMutation",
                "mutations": {
                    "request_mutations": [append, {"remove": dice.one(FIELDS)}],
                    "response_mutations": [append],
                },
            },
        ),
        ("buffer", {"@type": f"{url}.buffer.v3.Buffer", "max_request_bytes": dice.one((3, 100))}),
        (
            "fault",
            {
                "@type": f"{url}.fault.v3.HTTPFault",
                "abort": {"http_status": 418, "percentage": fixed},
                "headers": [header_match(dice)],
            },
        ),
    )
    if dice.chance(0.5):
        return []
    chosen = dice.some(made, 3)
    return [{"name": f"envoy.filters.http.{n}", "typed_config": config} for n, config in chosen]


def _local_replies(dice: Dice) -> Json:
    found: Json = {"mappers": dice.times(2, lambda: _mapper(dice))}
    if dice.chance(0.5):
        found["body_format"] = _body_format(dice)
    return found


def _mapper(dice: Dice) -> Json:
    value = {"default_value": dice.one((404, 500, 503)), "runtime_key": "k"}
    comparison = {"op": dice.one(("EQ", "GE", "LE")), "value": value}
    found: Json = {"filter": {"status_code_filter": {"comparison": comparison}}}
    if dice.chance(0.2):
        found["filter"] = {"response_flag_filter": {"flags": ["NR"]}}
    if dice.chance(0.5):
        found["status_code"] = dice.one((299, 418, 503))
    if dice.chance(0.5):
        found["body"] = {"inline_string": dice.one(("mapped", "é"))}
    if dice.chance(0.5):
        found["headers_to_add"] = [added(dice)]
    if dice.chance(0.4):
        found["body_format_override"] = _body_format(dice)
    return found


def _body_format(dice: Dice) -> Json:
    if dice.chance(0.5):
        members = {"b": "%LOCAL_REPLY_BODY%", "c": "%RESPONSE_CODE%", "p": dice.one(FORMATS)}
        return {"json_format": members}
    found: Json = {"text_format": f"{dice.one(FORMATS)}:%LOCAL_REPLY_BODY%"}
    if dice.chance(0.5):
        found["content_type"] = "text/html"
    return found
