"""A filter chain: TLS, network filters, and the terminal filter that takes the bytes."""

from dataclasses import dataclass
from typing import Final, TypeAlias

from meshsdk.call.filter import NetworkFilter
from meshsdk.config.extension import Extensions
from meshsdk.config.fields import MessageTable, check, honoured, ignored, refused
from meshsdk.config.reader import Reader
from meshsdk.errors import UnknownExtensionError
from meshsdk.resources import hcm, tcp_proxy
from meshsdk.resources.filter_chain_match import FilterChainMatch, parse_filter_chain_match
from meshsdk.resources.hcm import HttpConnectionManager, parse_hcm
from meshsdk.resources.skipped_filters import NETWORK
from meshsdk.resources.tcp_proxy import TcpProxy, parse_tcp_proxy
from meshsdk.resources.tls import DownstreamTls, UpstreamTls, parse_transport_socket
from meshsdk.resources.typed_config import open_typed

FILTER_CHAIN: Final = MessageTable(
    "envoy.config.listener.v3.FilterChain",
    {
        **honoured("filter_chain_match", "filters", "transport_socket", "name"),
        "use_proxy_proto": refused("PROXY protocol"),
        "metadata": ignored("telemetry"),
        "transport_socket_connect_timeout": ignored("a matter of sockets"),
    },
    security=True,
)
FILTER: Final = MessageTable(
    "envoy.config.listener.v3.Filter",
    {
        **honoured("name", "typed_config"),
        "config_discovery": refused("network filters by discovery"),
    },
    security=True,
)
TABLES: Final = (FILTER_CHAIN, FILTER)

Terminal: TypeAlias = HttpConnectionManager | TcpProxy


@dataclass(frozen=True, slots=True, eq=False)
class FilterChain:
    """What happens to the connections that match."""

    name: str
    match: FilterChainMatch
    tls: DownstreamTls | None
    """None: plaintext, or TLS that is passed through."""
    network_filters: tuple[NetworkFilter, ...]
    """What the extensions parsed, in order; filters without effect are left out."""
    terminal: Terminal


def parse_filter_chain(reader: Reader, extensions: Extensions) -> FilterChain:
    """A FilterChain message; ConfigError names the filter that cannot be run."""
    check(reader, FILTER_CHAIN)
    filters = reader.messages("filters", at_least=1)
    before: list[NetworkFilter] = []
    for entry in filters[:-1]:
        parsed = _network_filter(entry, extensions)
        if parsed is not None:
            before.append(parsed)
    return FilterChain(
        reader.string("name"),
        parse_filter_chain_match(reader.message("filter_chain_match")),
        _tls(reader, extensions),
        tuple(before),
        _terminal(filters[-1], extensions),
    )


def _tls(reader: Reader, extensions: Extensions) -> DownstreamTls | None:
    socket = reader.message("transport_socket")
    parsed = None if socket is None else parse_transport_socket(socket, extensions)
    if isinstance(parsed, UpstreamTls):
        raise reader.error_at("transport_socket", "expected DownstreamTlsContext")
    return parsed


def _config(entry: Reader) -> Reader:
    check(entry, FILTER)
    typed = entry.typed("typed_config")
    if typed is None:
        raise entry.error_at("typed_config", "expected a filter's config, found none")
    return open_typed(typed)


def _network_filter(entry: Reader, extensions: Extensions) -> NetworkFilter | None:
    """What a filter before the last one parsed to; None: it has no effect."""
    config = _config(entry)
    url = config.type_url
    if url in (hcm.TYPE_URL, tcp_proxy.TYPE_URL):
        raise entry.error(f"terminal filter {entry.string('name')!r} must be the last")
    extension = extensions.network_filters.find(url)
    if extension is not None:
        parsed = extension.parse(config, extensions)
        # An object that is no filter would be a filter that is not asked.
        assert isinstance(parsed, NetworkFilter)
        return parsed
    if url in NETWORK:
        return None
    raise _unknown(entry, url)


def _terminal(entry: Reader, extensions: Extensions) -> Terminal:
    config = _config(entry)
    url = config.type_url
    if url == hcm.TYPE_URL:
        return parse_hcm(config, extensions)
    if url == tcp_proxy.TYPE_URL:
        return parse_tcp_proxy(config, extensions)
    if url in NETWORK or extensions.network_filters.find(url) is not None:
        raise entry.error(
            "expected a connection manager or tcp_proxy as the last filter,"
            f" found {entry.string('name')!r}"
        )
    raise _unknown(entry, url)


def _unknown(entry: Reader, url: str) -> UnknownExtensionError:
    name = entry.string("name")
    return UnknownExtensionError(
        f"{entry.path}.typed_config", f"no network filter takes {url} (filter {name!r})", url
    )
