"""Descriptors of rate limits; the answers are those of a real Envoy 1.40."""

from collections.abc import Mapping

import pytest

from meshsdk.call.address import Address
from meshsdk.call.connection import Connection
from meshsdk.call.context import CallContext
from meshsdk.call.headers import Headers
from meshsdk.call.message import Request
from meshsdk.clock import SystemClock, seeded
from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.rate_limit import parse_rate_limit

Config = Mapping[str, object]
FORMATS = "envoy.reloadable_features.enable_formatter_for_ratelimit_action_descriptor_value"
REQUEST = Request("GET", "a.com", "/p?q=1", Headers((("x-a", "1"), ("x-a", "2"))))


def parse(*actions: Config, runtime: Config | None = None, **more: object):  # type: ignore[no-untyped-def]  # as parsed
    extensions = Extensions(
        Registry("a"), Registry("b"), Registry("c"), runtime=runtime, service_cluster="me"
    )
    return parse_rate_limit(Reader({"actions": list(actions), **more}, "limit"), extensions)


def entries(*actions: Config, runtime: Config | None = None) -> object:
    context = CallContext(SystemClock(), seeded(1), Connection(Address("127.0.0.1", 80)))
    context.remote = Address("10.1.2.3", 1)
    context.cluster = "backend"
    context.metadata("ns", "a", {"b": "deep"})
    context.route_metadata = {"ns": {"a": "of the route"}}
    found = parse(*actions, runtime=runtime).descriptor(REQUEST, context)
    return None if found is None else found.entries


def key(*path: str) -> Config:
    return {"key": "ns", "path": [{"key": name} for name in path]}


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"generic_key": {"descriptor_value": "v"}}, ("generic_key", "v")),
        ({"generic_key": {"descriptor_value": "v", "descriptor_key": "k"}}, ("k", "v")),
        ({"generic_key": {"descriptor_value": "%REQ(x-a)%"}}, ("generic_key", "%REQ(x-a)%")),
        ({"source_cluster": {}}, ("source_cluster", "me")),
        ({"destination_cluster": {}}, ("destination_cluster", "backend")),
        ({"remote_address": {}}, ("remote_address", "10.1.2.3")),
        (
            {"masked_remote_address": {"v4_prefix_mask_len": 8}},
            ("masked_remote_address", "10.0.0.0/8"),
        ),
        ({"request_headers": {"header_name": "X-A", "descriptor_key": "a"}}, ("a", "1")),
        ({"request_headers": {"header_name": ":method", "descriptor_key": "m"}}, ("m", "GET")),
        ({"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q"}}, ("q", "1")),
        (
            {"header_value_match": {"descriptor_value": "v", "headers": [{"name": "x-a"}]}},
            ("header_match", "v"),
        ),
        (
            {
                "query_parameter_value_match": {
                    "descriptor_value": "v",
                    "query_parameters": [{"name": "z"}],
                    "expect_match": False,
                }
            },
            ("query_match", "v"),
        ),
        (
            {
                "remote_address_match": {
                    "descriptor_value": "v",
                    "address_matcher": {
                        "ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]
                    },
                }
            },
            ("remote_address_match", "v"),
        ),
        ({"metadata": {"descriptor_key": "m", "metadata_key": key("a", "b")}}, ("m", "deep")),
        (
            {"metadata": {"descriptor_key": "m", "metadata_key": key("a"), "source": "ROUTE_ENTRY"}},
            ("m", "of the route"),
        ),
        (
            {"dynamic_metadata": {"descriptor_key": "m", "metadata_key": key("z"),
                                  "default_value": "d"}},
            ("m", "d"),
        ),
    ],
)  # fmt: skip
def test_an_action_gives_an_entry(action: Config, expected: tuple[str, str]) -> None:
    assert entries(action) == (expected,)


@pytest.mark.parametrize(
    "action",
    [
        {"request_headers": {"header_name": "x-z", "descriptor_key": "z"}},
        {"query_parameters": {"query_parameter_name": "z", "descriptor_key": "z"}},
        {"header_value_match": {"descriptor_value": "v", "headers": [{"name": "x-z"}]}},
        {"metadata": {"descriptor_key": "m", "metadata_key": key("z")}},
    ],
)
def test_without_one_entry_there_is_no_descriptor(action: Config) -> None:
    assert entries({"remote_address": {}}, action) is None


def test_an_absent_field_may_be_left_out() -> None:
    absent = {"header_name": "x-z", "descriptor_key": "z", "skip_if_absent": True}

    assert entries({"request_headers": absent}, {"destination_cluster": {}}) == (
        ("destination_cluster", "backend"),
    )


def test_a_runtime_key_makes_values_formats() -> None:
    runtime: Config = {FORMATS: True}
    missing = {"descriptor_value": "%REQ(x-z)%", "default_value": "d"}

    assert entries({"generic_key": {"descriptor_value": "%REQ(x-a)%"}}, runtime=runtime) == (
        ("generic_key", "1"),
    )
    assert entries({"generic_key": missing}, runtime=runtime) == (("generic_key", "d"),)


def test_what_has_no_code_is_named() -> None:
    limit = parse({"extension": {"name": "x"}}, apply_on_stream_done=True)

    assert limit.not_built == ("limit.apply_on_stream_done", "limit.actions[0].extension")


NOTHING: Config = {}
REFUSED: list[Config] = [
    {"actions": []},
    {"actions": [NOTHING]},
    {"actions": [{"remote_address": NOTHING}], "stage": 11},
]


@pytest.mark.parametrize("config", REFUSED)
def test_what_envoy_refuses_is_refused(config: Config) -> None:
    with pytest.raises(ConfigError):
        parse_rate_limit(
            Reader(config, "limit"), Extensions(Registry("a"), Registry("b"), Registry("c"))
        )
