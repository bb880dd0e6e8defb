"""The HTTP filters of a connection manager: parsed, skipped by name, or refused by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from meshsdk.call.context import CallContext
from meshsdk.call.filter import HttpFilter, Step
from meshsdk.call.message import LocalReply, Request
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored
from meshsdk.config.reader import Reader
from meshsdk.errors import ConfigError, UnknownExtensionError
from meshsdk.resources import istio_stats
from meshsdk.resources.config_source import ConfigSource, parse_config_source
from meshsdk.resources.istio_stats import IstioStats, parse_stats
from meshsdk.resources.skipped_filters import AUTHORIZATION, HTTP
from meshsdk.resources.typed_config import open_typed

HTTP_FILTER: Final = MessageTable(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    honoured("name", "typed_config", "config_discovery", "is_optional", "disabled"),
    security=True,
)
EXTENSION_CONFIG_SOURCE: Final = MessageTable(
    "envoy.config.core.v3.ExtensionConfigSource",
    {
        **honoured("config_source", "default_config", "type_urls"),
        "apply_default_config_without_warming": ignored("the default holds until a config comes"),
    },
    security=True,
)
TABLES: Final = (HTTP_FILTER, EXTENSION_CONFIG_SOURCE)


@dataclass(frozen=True, slots=True)
class Discovery:
    """A filter whose config is a resource of its own (ECDS), by the filter's name."""

    path: str
    source: ConfigSource
    type_urls: tuple[str, ...]
    """What may come."""
    default: HttpFilter | None = None
    has_default: bool = False


@dataclass(frozen=True, slots=True)
class NamedFilter:
    """One entry of http_filters, in its place."""

    name: str
    filter: HttpFilter | None
    """None: skipped; then `skipped` says why."""
    type_url: str
    disabled: bool = False
    """Off, unless a route's override switches it on."""
    skipped: str = ""
    is_unknown: bool = False
    """An optional filter that nobody knows."""
    discovery: Discovery | None = None
    """Set where the config comes by ECDS: `xds/assemble.py` puts it in."""
    stats: IstioStats | None = None
    """Of Istio's stats filter, which is skipped and tells telemetry what to count."""

    @property
    def decides_access(self) -> bool:
        """Whether this filter decides who may pass."""
        return self.type_url in AUTHORIZATION


@dataclass(frozen=True, slots=True)
class NoFilterConfig:
    """Stands for a filter whose config never came: every request is answered 500, as in Envoy."""

    name: str

    def on_request(self, request: Request, context: CallContext) -> Step:
        """Fail closed."""
        del request, context
        return LocalReply(500, flags=("NFCF",))


def parse_http_filters(reader: Reader, extensions: Extensions) -> tuple[NamedFilter, ...]:
    """The `http_filters` of a connection manager; the router is the last and nothing else is."""
    entries = reader.messages("http_filters")
    found: list[NamedFilter] = []
    for i, entry in enumerate(entries):
        found.append(_filter(entry, extensions))
        _check_terminal(found[i], entry, extensions, is_last=i == len(entries) - 1)
    if not found:
        raise reader.error_at("http_filters", "expected a router as the last filter, found none")
    _check_positions(entries, found, extensions)
    return tuple(found)


def _filter(entry: Reader, extensions: Extensions) -> NamedFilter:
    check(entry, HTTP_FILTER)
    name = entry.required_string("name")
    disabled = entry.boolean("disabled")
    if entry.one_of("typed_config", "config_discovery") == "config_discovery":
        discovery = _discovery(entry.required_message("config_discovery"), extensions)
        # Until a config comes; for ever where nothing can come (static configuration).
        waiting = discovery.default if discovery.has_default else NoFilterConfig(name)
        return NamedFilter(name, waiting, "", disabled, discovery=discovery)
    typed = entry.typed("typed_config")
    if typed is None:
        return _without_config(entry, name, disabled)
    config = open_typed(typed)
    url = config.type_url
    extension = extensions.http_filters.find(url)
    if extension is not None:
        parsed = extension.parse(config, extensions)
        skipped = "" if parsed is not None else "its configuration has no effect"
        return NamedFilter(name, parsed, url, disabled, "" if extension.is_terminal else skipped)
    if url in HTTP:
        stats = parse_stats(config) if url == istio_stats.TYPE_URL else None
        return NamedFilter(name, None, url, disabled, HTTP[url], stats=stats)
    # Envoy knows the filters that decide access: to it such an entry is not optional.
    if entry.boolean("is_optional") and url not in AUTHORIZATION:
        return NamedFilter(name, None, url, disabled, "optional and unknown", is_unknown=True)
    raise UnknownExtensionError(typed.path, f"no HTTP filter takes {url} (filter {name!r})", url)


def _without_config(entry: Reader, name: str, disabled: bool) -> NamedFilter:
    if entry.boolean("is_optional"):
        return NamedFilter(name, None, "", disabled, "optional, without config", is_unknown=True)
    raise entry.error_at("typed_config", f"expected the config of filter {name!r}, found none")


def _check_terminal(
    found: NamedFilter, entry: Reader, extensions: Extensions, *, is_last: bool
) -> None:
    extension = extensions.http_filters.find(found.type_url)
    is_terminal = extension is not None and extension.is_terminal
    if is_terminal and not is_last:
        raise entry.error(f"terminal filter {found.name!r} must be the last HTTP filter")
    if is_last and not is_terminal:
        raise entry.error(f"expected a router as the last HTTP filter, found {found.name!r}")
    if is_terminal and found.disabled:
        raise entry.error_at("disabled", "the router cannot be disabled")


def _check_positions(
    entries: Sequence[Reader], found: Sequence[NamedFilter], extensions: Extensions
) -> None:
    """What we cannot run is not skipped where it may decide who passes (THREATS X2, FEED 1.14)."""
    if extensions.compat != "strict":
        return
    last = max((i for i, one in enumerate(found) if one.decides_access), default=0)
    for entry, one in zip(entries[:last], found[:last], strict=True):
        if one.is_unknown:
            raise UnknownExtensionError(
                entry.path,
                f"filter {one.name!r} is not known; before or among filters that decide who may"
                " pass it is refused although it is optional",
                one.type_url,
            )
        if one.discovery is not None:
            raise entry.error_at(
                "config_discovery",
                f"filter {one.name!r} comes by discovery; before or among filters that decide who"
                " may pass it is refused",
            )


def _discovery(reader: Reader, extensions: Extensions) -> Discovery:
    check(reader, EXTENSION_CONFIG_SOURCE)
    urls = reader.strings("type_urls")
    if not urls:
        raise reader.error_at("type_urls", "expected at least one type URL, found none")
    source = reader.message("config_source")
    default = reader.typed("default_config")
    parsed = None
    if default is not None:
        parsed = parse_discovered(open_typed(default), extensions)
    return Discovery(
        reader.path,
        ConfigSource() if source is None else parse_config_source(source),
        tuple(url.rpartition("/")[2] for url in urls),
        parsed,
        default is not None,
    )


def parse_discovered(config: Reader, extensions: Extensions) -> HttpFilter | None:
    """The filter of a discovered config; None: it has no effect, or it is of a kind that we cannot
    run (Wasm), which is skipped with a report."""
    extension = extensions.http_filters.find(config.type_url)
    if extension is None:
        if config.type_url in AUTHORIZATION:
            raise UnknownExtensionError(
                config.path, f"no HTTP filter takes {config.type_url}", config.type_url
            )
        return None
    if extension.is_terminal:
        raise ConfigError(config.path, "a terminal filter cannot come by discovery")
    return extension.parse(config, extensions)
