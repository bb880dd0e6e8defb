"""envoy.config.core.v3.ConfigSource: where a resource that is named elsewhere comes from."""

from dataclasses import dataclass
from typing import Final

from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader

CONFIG_SOURCE: Final = MessageTable(
    "envoy.config.core.v3.ConfigSource",
    {
        **honoured("ads", "self", "initial_fetch_timeout"),
        "api_config_source": ignored(
            "secrets are found by their names; other types are not fetched"
        ),
        "path": refused("resources from files of their own"),
        "path_config_source": refused("resources from files of their own"),
        "authorities": refused("xdstp authorities"),
        "resource_api_version": ignored("there is v3 only"),
    },
)
DEFAULT_FETCH_TIMEOUT: Final = 15.0  # initial_fetch_timeout's default, config_source.proto


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where to ask."""

    is_ads: bool = True
    """The stream that brought the reference (`ads`, `self`); False: a source of its own."""
    fetch_timeout: float | None = DEFAULT_FETCH_TIMEOUT
    """Seconds until a resource that never came is given up; None: never (`0s`)."""


ADS: Final = ConfigSource()


def parse_config_source(reader: Reader) -> ConfigSource:
    """The source in a message. A v2 source is refused, as in Envoy."""
    reader.required("ads", "self", "api_config_source", "path", "path_config_source")
    check(reader, CONFIG_SOURCE)
    if reader.string("resource_api_version", "AUTO") == "V2":
        raise reader.error_at("resource_api_version", "expected V3, found V2")
    timeout = reader.duration("initial_fetch_timeout", DEFAULT_FETCH_TIMEOUT)
    return ConfigSource(reader.has("ads") or reader.has("self"), timeout if timeout > 0 else None)
