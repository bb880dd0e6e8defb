"""TypedExtensionConfig (ECDS): the config of one HTTP filter, as a resource of its own."""

from dataclasses import dataclass
from typing import Final

from meshsdk.call.filter import HttpFilter
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured
from meshsdk.config.reader import Reader
from meshsdk.resources.http_filters import parse_discovered
from meshsdk.resources.typed_config import open_typed

TYPE_URL: Final = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
TYPED_EXTENSION_CONFIG: Final = MessageTable(
    "envoy.config.core.v3.TypedExtensionConfig", honoured("name", "typed_config"), security=True
)
TABLES: Final = (TYPED_EXTENSION_CONFIG,)


@dataclass(frozen=True, slots=True, eq=False)
class ExtensionConfig:
    """What an entry of http_filters with `config_discovery` of this name becomes."""

    name: str
    type_url: str
    filter: HttpFilter | None
    """None: skipped; we cannot run its kind (Wasm), or it has no effect."""
    is_unknown: bool


def parse(reader: Reader, extensions: Extensions) -> ExtensionConfig:
    """A TypedExtensionConfig message."""
    check(reader, TYPED_EXTENSION_CONFIG)
    typed = reader.typed("typed_config")
    if typed is None:
        raise reader.error_at("typed_config", "expected a filter's config, found none")
    config = open_typed(typed)
    url = config.type_url
    return ExtensionConfig(
        reader.required_string("name"),
        url,
        parse_discovered(config, extensions),
        extensions.http_filters.find(url) is None,
    )
