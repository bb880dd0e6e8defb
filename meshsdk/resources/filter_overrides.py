"""`typed_per_filter_config`: what a level of the route configuration changes at HTTP filters."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from meshsdk.config.extension import Extensions, HttpFilterExtension, Override
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError

Overrides: TypeAlias = "Mapping[str, Override | None]"
"""By filter name; None: the level switches the filter off."""

NO_OVERRIDES: Final[Overrides] = MappingProxyType({})
FILTER_CONFIG: Final = MessageTable(
    "envoy.config.route.v3.FilterConfig",
    honoured("config", "is_optional", "disabled"),
    security=True,
)
TABLES: Final = (FILTER_CONFIG,)
_FILTER_CONFIG_URL: Final = "type.googleapis.com/envoy.config.route.v3.FilterConfig"


def parse_filter_overrides(
    reader: Reader, extensions: Extensions, field: str = "typed_per_filter_config"
) -> Overrides:
    """The overrides of one level. An unknown type is a ConfigError unless it `is_optional`."""
    if not reader.has(field):
        return NO_OVERRIDES
    found: dict[str, Override | None] = {}
    for name, config in reader.entries(field):
        optional = False
        if config.type_url == _FILTER_CONFIG_URL:
            check(config, FILTER_CONFIG)
            if config.boolean("disabled"):
                found[name] = None
                continue
            optional = config.boolean("is_optional")
            inner = config.typed("config")
            if inner is None:
                if config.has("disabled"):
                    continue
                raise config.error_at("config", "expected a typed message, found none")
            config = inner
        try:
            found[name] = _override(config, extensions)
        except UnknownExtensionError:
            if not optional:
                raise
    return found


def _override(config: Reader, extensions: Extensions) -> Override:
    extension = find_override(extensions, config.type_url)
    if extension is None:
        raise UnknownExtensionError(
            config.path, f"no HTTP filter takes {config.type_url} in a route", config.type_url
        )
    if extension.parse_override is None:
        raise config.error(f"{extension.name} takes no override")
    return extension.parse_override(config, extensions)


def find_override(extensions: Extensions, type_url: str) -> HttpFilterExtension | None:
    """The HTTP filter whose override has this type."""
    for extension in extensions.http_filters:
        urls = extension.override_type_urls or extension.type_urls
        if type_url in urls:
            return extension
    return None
