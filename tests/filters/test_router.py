"""envoy.filters.http.router: its config."""

import pytest

from meshsdk.call.filter import Continue
from meshsdk.call.message import LocalReply
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.filters.router import EXTENSION, Router, parse
from tests.filters.policy_case import ENVOY, Config, Given

CODEC = "type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"


def upstream(type_url: str) -> Config:
    return {"upstream_http_filters": [{"name": "f", "typed_config": {"@type": type_url}}]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Router()),
        ({"suppress_envoy_headers": True}, Router(suppress_envoy_headers=True)),
        ({"respect_expected_rq_timeout": True}, Router(respect_expected_rq_timeout=True)),
        ({"start_child_span": True, "dynamic_stats": False, "upstream_log": []}, Router()),
        (upstream(CODEC), Router()),
    ],
)
def test_the_router_is_the_terminal_filter(config: Config, expected: Router) -> None:
    assert EXTENSION.is_terminal
    assert parse(Reader(config), ENVOY) == expected


def test_an_upstream_filter_is_refused_by_name() -> None:
    with pytest.raises(UnknownExtensionError, match="test/Wasm"):
        parse(Reader(upstream("test/Wasm")), ENVOY)


def test_calls_fail_by_name_where_the_config_asks_for_what_is_not_built() -> None:
    router = parse(Reader({"strict_check_headers": ["x-envoy-max-retries"]}, "router"), ENVOY)

    request = Given().request()
    reply = router.on_request(request, Given().context())
    assert isinstance(reply, LocalReply)
    assert reply.details == "meshsdk_not_built{router.strict_check_headers}"
    assert Router().on_request(request, Given().context()) == Continue(request)
