"""The connection manager's options."""

import pytest

from meshsdk.config.extension import Extensions, Registry
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.resources.hcm_options import EscapedSlashes, parse_hcm_options


def _extensions(**more: object) -> Extensions:
    runtime = {str(key): value for key, value in more.items()}
    return Extensions(Registry("a"), Registry("b"), Registry("c"), runtime=runtime)


def test_an_empty_connection_manager_has_envoys_defaults() -> None:
    options = parse_hcm_options(Reader({}), _extensions())

    assert options.path_with_escaped_slashes_action is EscapedSlashes.KEEP_UNCHANGED
    assert options.max_request_headers_kb == 60
    assert options.generate_request_id
    assert options.reject_fragment


def test_the_runtime_layer_lets_fragments_be_cut_off() -> None:
    key = "envoy.reloadable_features.http_reject_path_with_fragment"

    options = parse_hcm_options(Reader({}), _extensions(**{key: False}))

    assert not options.reject_fragment


def test_both_ways_to_strip_a_port_exclude_each_other() -> None:
    both = {"strip_matching_host_port": True, "strip_any_host_port": True}

    with pytest.raises(ConfigError, match="exclude each other"):
        parse_hcm_options(Reader(both), _extensions())


def test_an_upgrade_with_its_own_filters_is_reported_by_its_path() -> None:
    config = {"upgrade_configs": [{"upgrade_type": "WebSocket", "filters": [{"name": "x"}]}]}

    options = parse_hcm_options(Reader(config), _extensions())

    assert options.not_built == ("config.upgrade_configs[0].filters",)
    assert options.allows_upgrade("websocket")
