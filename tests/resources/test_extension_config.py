import pytest

from meshsdk.cli.coverage_extensions import registries
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError
from meshsdk.filters.rbac import Rbac
from meshsdk.resources.extension_config import ExtensionConfig, parse

HTTP = "type.googleapis.com/envoy.extensions.filters.http"


def parsed(config: dict[str, object]) -> ExtensionConfig:
    data = {"name": "policy", "typed_config": config}
    return parse(Reader(data, "typed_extension_config"), registries())


def test_the_config_of_a_known_filter_becomes_that_filter() -> None:
    found = parsed({"@type": f"{HTTP}.rbac.v3.RBAC", "rules": {}})

    assert found.name == "policy"
    assert isinstance(found.filter, Rbac)
    assert not found.is_unknown


def test_a_kind_that_cannot_be_run_is_kept_as_unknown() -> None:
    found = parsed({"@type": f"{HTTP}.wasm.v3.Wasm", "config": {}})

    assert found.filter is None
    assert found.is_unknown


def test_a_terminal_filter_cannot_come_by_discovery() -> None:
    with pytest.raises(ConfigError, match="terminal filter"):
        parsed({"@type": f"{HTTP}.router.v3.Router"})


def test_a_resource_without_a_config_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Reader({"name": "policy"}, "typed_extension_config"), registries())

    assert caught.value.path == "typed_extension_config.typed_config"


def test_a_discovered_filter_that_decides_access_is_never_skipped() -> None:
    with pytest.raises(ConfigError, match="no HTTP filter takes"):
        parsed({"@type": f"{HTTP}.oauth2.v3.OAuth2"})
