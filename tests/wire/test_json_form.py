import pytest

from meshsdk.errors import ConfigError
from meshsdk.wire.json_form import decode, from_json, normalize, to_json
from meshsdk.wire.pool import message_class

ROUTES = "envoy.config.route.v3.RouteConfiguration"
ROUTE = "envoy.config.route.v3.Route"
LISTENER = "envoy.config.listener.v3.Listener"
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HTTP_FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
RBAC = "envoy.extensions.filters.http.rbac.v3.RBAC"
LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
URL = "type.googleapis.com/"
EMPTY: dict[str, object] = {}


@pytest.mark.parametrize(
    ("message", "written", "canonical"),
    [
        pytest.param(ROUTE, {"route": {}}, {"route": {}}, id="an empty message is set"),
        pytest.param(ROUTE, {"route": None}, {}, id="null is unset"),
        pytest.param(
            ROUTE, {"match": {"prefix": ""}}, {"match": {"prefix": ""}}, id="an empty oneof member"
        ),
        pytest.param(
            "envoy.config.core.v3.SocketAddress",
            {"address": "", "portValue": 0},
            {"port_value": 0},
            id="zero in a oneof is set, an empty plain scalar is not",
        ),
        pytest.param(
            ROUTE,
            {"route": {"timeout": "0s", "max_stream_duration": {"max_stream_duration": "1.500s"}}},
            {"route": {"timeout": "0s", "max_stream_duration": {"max_stream_duration": "1.5s"}}},
            id="durations",
        ),
        pytest.param(
            "envoy.config.cluster.v3.OutlierDetection",
            {"consecutive5xx": 0, "baseEjectionTime": "0.025s"},
            {"consecutive_5xx": 0, "base_ejection_time": "0.025s"},
            id="wrappers are bare and keep their zero",
        ),
        pytest.param(
            "envoy.config.core.v3.Metadata",
            {"filterMetadata": {"Envoy.Lb": {"a": [1, None, {"bC": True}], "d": "x"}}},
            {"filter_metadata": {"Envoy.Lb": {"a": [1.0, None, {"bC": True}], "d": "x"}}},
            id="a Struct is data: its keys are not field names",
        ),
        pytest.param(
            "envoy.config.core.v3.DataSource",
            {"inline_bytes": "aGk"},
            {"inline_bytes": "aGk="},
            id="bytes",
        ),
        pytest.param(
            "envoy.config.route.v3.VirtualHost",
            {"require_tls": 7, "retry_policy": {"retriable_status_codes": [503.0, "429"]}},
            {"require_tls": 7, "retry_policy": {"retriable_status_codes": [503, 429]}},
            id="an enum number we do not know; integral doubles and digits are integers",
        ),
        pytest.param(
            "envoy.config.bootstrap.v3.Watchdog",
            {"multikill_threshold": {"value": 0.1}},
            {"multikill_threshold": {"value": 0.1}},
            id="a double",
        ),
        pytest.param(
            "envoy.config.route.v3.RouteMatch",
            {"prefix": "/", "cookies": [{"name": "a", "stringMatch": {"exact": "b"}}]},
            {"prefix": "/", "cookies": [{"name": "a", "string_match": {"exact": "b"}}]},
            id="cookies, a field of new Envoys",
        ),
        pytest.param(
            "envoy.config.route.v3.VirtualHost",
            {"name": "v", "domains": "*"},
            {"name": "v", "domains": ["*"]},
            id="one value for a list of one, as in Envoy",
        ),
    ],
)
def test_written_configuration_has_one_canonical_form(
    message: str, written: object, canonical: object
) -> None:
    once = normalize(message, written)

    assert once == canonical
    assert normalize(message, once) == once
    assert to_json(from_json(message, once)) == once


def test_an_any_inside_an_any_is_opened_and_its_type_url_is_whole() -> None:
    filters = [{"name": "r", "typed_config": {"@type": RBAC, "rules": EMPTY}}]
    hcm = {"@type": f"other.example/{HCM}", "httpFilters": filters}

    listener = normalize(LISTENER, {"filter_chains": [{"filters": [{"typed_config": hcm}]}]})

    assert listener["filter_chains"] == [
        {
            "filters": [
                {
                    "typed_config": {
                        "@type": URL + HCM,
                        "http_filters": [
                            {"name": "r", "typed_config": {"@type": URL + RBAC, "rules": EMPTY}}
                        ],
                    }
                }
            ]
        }
    ]


def test_an_any_of_a_well_known_type_stands_under_value() -> None:
    config = {"@type": f"{URL}google.protobuf.StringValue", "value": "x"}

    assert normalize(HTTP_FILTER, {"typed_config": config}) == {"typed_config": config}


@pytest.mark.parametrize("typed_struct", ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"])
def test_a_typed_struct_of_a_known_type_is_that_type(typed_struct: str) -> None:
    config = {
        "@type": URL + typed_struct,
        "type_url": URL + LOCAL_RATE_LIMIT,
        "value": {"stat_prefix": "x", "tokenBucket": {"maxTokens": 100.0, "fill_interval": "60s"}},
    }

    found = normalize(HTTP_FILTER, {"typed_config": config})

    assert found["typed_config"] == {
        "@type": URL + LOCAL_RATE_LIMIT,
        "stat_prefix": "x",
        "token_bucket": {"max_tokens": 100, "fill_interval": "60s"},
    }


def test_a_typed_struct_of_an_unknown_type_stays_data() -> None:
    config = {
        "@type": f"{URL}udpa.type.v1.TypedStruct",
        "type_url": f"{URL}io.istio.http.peer_metadata.Config",
        "value": {"upstream_discovery": [{"istio_headers": EMPTY}]},
    }

    assert normalize(HTTP_FILTER, {"typed_config": config}) == {"typed_config": config}


def test_written_configuration_of_an_unknown_type_becomes_a_typed_struct() -> None:
    config = {"@type": "acme.example/acme.Filter", "level": 3}

    found = normalize(HTTP_FILTER, {"typed_config": config})

    assert found["typed_config"] == {
        "@type": f"{URL}xds.type.v3.TypedStruct",
        "type_url": f"{URL}acme.Filter",
        "value": {"level": 3.0},
    }


def test_bytes_of_an_unknown_type_survive_both_ways() -> None:
    config = {"@type": f"{URL}acme.Filter", "@raw": "CAE="}

    assert normalize(HTTP_FILTER, {"typed_config": config}) == {"typed_config": config}


def test_the_json_of_a_message_is_the_message_again() -> None:
    message = from_json(
        ROUTES,
        {
            "name": "r",
            "virtual_hosts": [
                {
                    "domains": ["*"],
                    "typed_per_filter_config": {"f": {"@type": RBAC, "rules": {"action": "DENY"}}},
                }
            ],
        },
    )

    again = from_json(ROUTES, to_json(message))

    assert again.SerializeToString(deterministic=True) == message.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(
    ("data", "path", "problem"),
    [
        pytest.param(
            {"virtual_hosts": [{"routes": [{"match": {"prefx": "/"}}]}]},
            "rc.virtual_hosts[0].routes[0].match",
            "unknown field 'prefx' of envoy.config.route.v3.RouteMatch; did you mean 'prefix'?",
            id="a typo",
        ),
        pytest.param(
            {"virtual_hosts": [{"routes": [{"match": {"prefix": "/", "path": "/a"}}]}]},
            "rc.virtual_hosts[0].routes[0].match",
            "expected only one of prefix, path, found both",
            id="two of a oneof",
        ),
        pytest.param(
            {"maxDirectResponseBodySizeBytes": 1, "max_direct_response_body_size_bytes": 2},
            "rc",
            "expected max_direct_response_body_size_bytes once, found both spellings",
            id="one field twice",
        ),
        pytest.param(
            {"virtual_hosts": [{"routes": [{"route": {"timeout": 5}}]}]},
            "rc.virtual_hosts[0].routes[0].route.timeout",
            'expected a duration such as "1.5s", found the number 5',
            id="a number for a duration",
        ),
        pytest.param(
            {"virtual_hosts": [{"require_tls": "al"}]},
            "rc.virtual_hosts[0].require_tls",
            "unknown envoy.config.route.v3.VirtualHost.TlsRequirementType 'al'; did you mean ALL?",
            id="an enum name",
        ),
        pytest.param(
            {"virtual_hosts": [{"domains": ["a", True]}]},
            "rc.virtual_hosts[0].domains[1]",
            "expected a string, found true",
            id="YAML's yes",
        ),
        pytest.param(
            {"virtual_hosts": [{"retry_policy": {"num_retries": -1}}]},
            "rc.virtual_hosts[0].retry_policy.num_retries",
            "expected an integer from 0 to 4294967295, found -1",
            id="out of range",
        ),
        pytest.param(
            {"virtual_hosts": [{"retry_policy": {"num_retries": 1.5}}]},
            "rc.virtual_hosts[0].retry_policy.num_retries",
            "expected an integer, found the number 1.5",
            id="a fraction",
        ),
        pytest.param(
            {"validate_clusters": "true"},
            "rc.validate_clusters",
            "expected true or false, found 'true'",
            id="text for a boolean",
        ),
        pytest.param(
            {"virtual_hosts": [{"typed_per_filter_config": {"x": {"rules": EMPTY}}}]},
            "rc.virtual_hosts[0].typed_per_filter_config[x]",
            'expected a typed message with "@type", found nothing',
            id="an Any without a type",
        ),
        pytest.param(
            {"virtual_hosts": [{"typed_per_filter_config": {"x": {"@type": RBAC, "rule": EMPTY}}}]},
            "rc.virtual_hosts[0].typed_per_filter_config[x]",
            f"unknown field 'rule' of {RBAC}; did you mean 'rules'?",
            id="inside an Any",
        ),
        pytest.param(
            {
                "virtual_hosts": [
                    {
                        "typed_per_filter_config": {
                            "x": {
                                "@type": "xds.type.v3.TypedStruct",
                                "type_url": LOCAL_RATE_LIMIT,
                                "value": {"token_bucket": {"tokens": 1}},
                            }
                        }
                    }
                ]
            },
            "rc.virtual_hosts[0].typed_per_filter_config[x].token_bucket",
            "unknown field 'tokens' of envoy.type.v3.TokenBucket; did you mean 'max_tokens'?",
            id="inside a TypedStruct",
        ),
    ],
)
def test_an_error_names_the_path_and_what_was_expected(
    data: object, path: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        normalize(ROUTES, data, "rc")

    assert (caught.value.path, caught.value.problem) == (path, problem)


def nested_permission(levels: int) -> dict[str, object]:
    rule: dict[str, object] = {"any": True}
    for _ in range(levels):
        rule = {"not_rule": rule}
    return rule


def nested_permission_bytes(levels: int) -> bytes:
    raw = b"\x18\x01"  # any: true
    for _ in range(levels):
        length, prefix = len(raw), b""
        while length >= 0x80:
            prefix, length = prefix + bytes([length & 0x7F | 0x80]), length >> 7
        raw = b"\x42" + prefix + bytes([length]) + raw  # not_rule
    return raw


PERMISSION = "envoy.config.rbac.v3.Permission"


def test_nesting_as_deep_as_protobuf_takes_is_read_both_ways() -> None:
    data = nested_permission(100)

    raw = from_json(PERMISSION, data).SerializeToString()

    assert decode(PERMISSION, raw).data == data


@pytest.mark.parametrize("levels", [101, 10_000])
def test_deeper_nesting_is_refused_both_ways(levels: int) -> None:
    with pytest.raises(ConfigError, match="nested"):
        from_json(PERMISSION, nested_permission(levels))
    with pytest.raises(ConfigError, match=r"expected a envoy\.config\.rbac\.v3\.Permission"):
        decode(PERMISSION, nested_permission_bytes(levels))


def test_any_within_any_without_end_is_refused() -> None:
    config: dict[str, object] = {"@type": RBAC}
    for _ in range(2_000):
        config = {
            "@type": "envoy.config.core.v3.TypedExtensionConfig",
            "typed_config": config,
        }

    with pytest.raises(ConfigError, match="nested too deeply"):
        from_json(HTTP_FILTER, {"typed_config": config})


def test_a_struct_is_refused_before_it_is_too_deep_to_send() -> None:
    value: object = 1
    for _ in range(40):
        value = {"a": value}

    with pytest.raises(ConfigError, match="nested more than 100 levels"):
        from_json("envoy.config.core.v3.Metadata", {"filter_metadata": {"x": value}})


def test_broken_bytes_inside_an_any_are_named_by_their_path() -> None:
    message = message_class(HTTP_FILTER)(
        name="x", typed_config={"type_url": RBAC, "value": b"\x0f"}
    )

    with pytest.raises(ConfigError) as caught:
        decode(HTTP_FILTER, message.SerializeToString())

    assert caught.value.path == "typed_config"
    assert caught.value.problem == f"expected a {RBAC}, found bytes that are none"
